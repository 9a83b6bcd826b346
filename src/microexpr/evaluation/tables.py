"""What a report says of one run, as values.

All scores are pooled over folds. With several seeds a score is the mean over seeds, and intervals
resample persons (`microexpr.evaluation.statistics`). Reads two small files and `predictions.csv`;
imports neither torch nor video.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from microexpr.errors import UserError
from microexpr.evaluation.metrics import METRICS, Counts, Floats, accuracy, flags, per_class
from microexpr.evaluation.predictions import (
    SELECTIONS,
    Predictions,
    check_labels,
    datasets_of,
    read_predictions,
    selected,
    take,
)
from microexpr.evaluation.statistics import (
    bootstrap_interval,
    person_confusions,
)
from microexpr.labels import label_scheme

TITLES = {"last": "last epoch", "inner": "inner validation", "oracle": "oracle (leaky)"}
FEW_PERSONS = 10  # below, an interval over persons is rough
WORST_CLIPS = 3  # a person with fewer clips is not listed among the worst


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder, read.

    Attributes:
        name: The folder's name.
        predictions: Its rows.
        experiment: ``experiment.toml`` as nested dictionaries; empty if absent.
        environment: ``environment.json``; empty if absent.
    """

    name: str
    predictions: Predictions
    experiment: Mapping[str, Any]
    environment: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Score:
    """Mean over seeds with the 95 % interval over persons (nan for one person).

    Attributes:
        value: Mean over seeds.
        low: Lower end.
        high: Upper end.
        median: Median over seeds.
        per_seed: In ascending order of the seeds.
    """

    value: float
    low: float
    high: float
    median: float
    per_seed: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Scores of one class, means over the seeds where they are defined, else nan."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class Part:
    """All clips, or those of one data set.

    Attributes:
        name: ``"combined"`` or the data set.
        clips: Number of clips.
        persons: Number of persons.
        scores: By the names of `METRICS`.
        classes: One per label.
        confusion: Counts summed over seeds, rows = true.
        flags: What a reader must know about these scores; mostly empty.
    """

    name: str
    clips: int
    persons: int
    scores: Mapping[str, Score]
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One selection of epochs: `parts` starts with the combined one."""

    selection: str
    title: str
    seeds: tuple[int, ...]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class PersonScore:
    """Accuracy on one person, mean over seeds."""

    person: str
    clips: int
    accuracy: float


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a report shows of one run.

    Attributes:
        name: Of the run.
        about: Model, protocol, data and labels in one line, as far as known.
        experiment: The run's settings.
        environment: Versions and machine.
        labels: Class names.
        clips: Number of clips.
        persons: Number of persons.
        folds: Number of folds.
        columns: One per selection that was recorded; the first is the headline.
        worst: Persons of the headline with the lowest accuracy.
        flags: About the run as a whole.
    """

    name: str
    about: str
    experiment: Mapping[str, Any]
    environment: Mapping[str, Any]
    labels: tuple[str, ...]
    clips: int
    persons: int
    folds: int
    columns: tuple[Column, ...]
    worst: tuple[PersonScore, ...]
    flags: tuple[str, ...]


def read_run(path: Path) -> Run:
    """Reads a run's folder, or the folder around a ``predictions.csv``.

    Raises:
        UserError: No or bad predictions, unreadable settings, or settings of other labels.
    """
    predictions = read_predictions(path)
    folder = path if path.is_dir() else path.parent
    experiment = _load(folder / "experiment.toml", tomllib.loads)
    environment = _load(folder / "environment.json", json.loads)
    scheme = _setting(experiment, "data", "labels")
    if isinstance(scheme, str):
        check_labels(predictions, label_scheme(scheme))
    return Run(folder.resolve().name, predictions, experiment, environment)


def table(source: Path | Predictions | Run, *, resamples: int = 2000) -> Report:
    """Scores a run: combined and per data set, a column per selection.

    Args:
        source: A run's folder, its ``predictions.csv``, or what these hold.
        resamples: Of the bootstrap.

    Raises:
        UserError: As `read_run`.
    """
    if isinstance(source, Predictions):
        source = Run("predictions", source, {}, {})
    run = source if isinstance(source, Run) else read_run(source)
    p = run.predictions
    recorded = [name for name in SELECTIONS if (p.selection == name).any()]
    return Report(
        name=run.name,
        about=about(run.experiment),
        experiment=run.experiment,
        environment=run.environment,
        labels=p.labels,
        clips=_count(p.clip),
        persons=_count(p.person),
        folds=_count(p.fold),
        columns=tuple(column(selected(p, name), name, resamples) for name in recorded),
        worst=_worst(selected(p, recorded[0])),
        flags=_run_flags(p, recorded),
    )


def column(rows: Predictions, selection: str, resamples: int) -> Column:
    """Scores the rows of one selection: all, and where there are several data sets each of them."""
    sets = datasets_of(rows)
    names = sorted(set(sets.tolist()))
    parts = [_part("combined", rows, resamples)]
    if len(names) > 1:
        parts += [_part(name, take(rows, sets == name), resamples) for name in names]
    seeds = tuple(sorted(set(rows.seed.tolist())))
    return Column(selection, TITLES[selection], seeds, tuple(parts))


def _part(name: str, rows: Predictions, resamples: int) -> Part:
    confusions = person_confusions(rows)
    pooled = confusions.sum(axis=1)
    scores = {}
    for key, function in METRICS.items():
        interval = bootstrap_interval(confusions, function, resamples=resamples)
        values = function(pooled)
        scores[key] = Score(
            value=interval.value,
            low=interval.low,
            high=interval.high,
            median=float(np.median(values)),
            per_seed=tuple(values.tolist()),
        )
    persons = confusions.shape[1]
    few = (f"only {persons} person(s): the interval is rough",) if persons < FEW_PERSONS else ()
    total = pooled.sum(axis=0)
    return Part(
        name=name,
        clips=_count(rows.clip),
        persons=persons,
        scores=scores,
        classes=_class_scores(rows, pooled),
        confusion=tuple(tuple(row) for row in total.tolist()),
        flags=flags(total, rows.labels) + few,
    )


def _class_scores(rows: Predictions, pooled: Counts) -> tuple[ClassScore, ...]:
    """Means over seeds of the scores of each class, from matrices ``(seeds, c, c)``."""
    found = per_class(pooled)
    _, first = np.unique(rows.clip, return_index=True)
    support = np.bincount(rows.true[first], minlength=len(rows.labels))
    columns = [_defined_mean(f).tolist() for f in (found.precision, found.recall, found.f1)]
    return tuple(
        ClassScore(label, precision, recall, f1, clips)
        for label, precision, recall, f1, clips in zip(
            rows.labels, *columns, support.tolist(), strict=True
        )
    )


def _defined_mean(scores: Floats) -> Floats:
    """Mean over the first axis of what is not nan; nan where nothing is left."""
    defined = np.count_nonzero(~np.isnan(scores), axis=0)
    return np.where(defined > 0, np.nansum(scores, axis=0) / np.maximum(defined, 1), np.nan)


def _worst(rows: Predictions, most: int = 5) -> tuple[PersonScore, ...]:
    """Persons with several clips, lowest accuracy first, among equals those with more clips."""
    by_person = person_confusions(rows).sum(axis=0)
    scores = accuracy(by_person).tolist()
    found = []
    for person, score in zip(np.unique(rows.person).tolist(), scores, strict=True):
        clips = _count(rows.clip[rows.person == person])
        if clips >= WORST_CLIPS:
            found.append(PersonScore(person, clips, score))
    return tuple(sorted(found, key=lambda p: (p.accuracy, -p.clips, p.person))[:most])


def _run_flags(p: Predictions, recorded: Sequence[str]) -> tuple[str, ...]:
    """A selection or seed that lacks clips which another has."""
    clips, seeds = _count(p.clip), np.unique(p.seed).tolist()
    lines = []
    for selection in recorded:
        for seed in seeds:
            there = _count(p.clip[(p.selection == selection) & (p.seed == seed)])
            if there < clips:
                lines.append(
                    f"{TITLES[selection]}, seed {seed}: {there} of {clips} clips predicted"
                )
    if recorded[0] != "last":
        lines.append(f"no predictions of the last epoch; the headline is {TITLES[recorded[0]]}")
    return tuple(lines)


def about(experiment: Mapping[str, Any]) -> str:
    """Model, protocol, data and labels of a run in one line, as far as the settings name them."""
    keys = (("model", "name"), ("protocol", "name"), ("data", "dataset"), ("data", "labels"))
    words = [_setting(experiment, section, key) for section, key in keys]
    return ", ".join(word for word in words if isinstance(word, str))


def _setting(experiment: Mapping[str, Any], section: str, key: str) -> Any:
    found = experiment.get(section)
    return found.get(key) if isinstance(found, Mapping) else None


def _load(path: Path, parse: Callable[[str], Any]) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of TOML, JSON and Unicode alike
        raise UserError(f"cannot read {path}: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} must hold a table of settings")
    return found


def _count(column: np.ndarray[Any, Any]) -> int:
    return len(np.unique(column))
