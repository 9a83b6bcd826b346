"""The one thing a run leaves behind: who was shown, what is true, what was predicted.

``predictions.csv`` has the columns ``clip, person, fold, seed, selection, true, pred`` and then
``p_<class>`` for each class; ``true`` and ``pred`` index the classes in that order. Rows join on
``clip`` (with ``seed`` and ``selection``), never by their order.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from microexpr.errors import UserError
from microexpr.files import replacing
from microexpr.labels import LabelScheme

COLUMNS = ("clip", "person", "fold", "seed", "selection", "true", "pred")
SELECTIONS = ("last", "inner", "oracle")
TOLERANCE = 1e-3  # how far the probabilities of a row may be from summing to 1

Words = NDArray[np.str_]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Columns of one length n; a row is one clip, predicted by one seed under one selection.

    Attributes:
        labels: Class names; `true`, `pred` and the columns of `probabilities` index them.
        clip: `Clip.id`, str ``(n,)``.
        person: `Clip.person`, str ``(n,)``.
        fold: `Fold.name`, str ``(n,)``.
        seed: Int64 ``(n,)``.
        selection: Which epoch predicts: one of `SELECTIONS`, str ``(n,)``.
        true: Int64 ``(n,)``.
        pred: Int64 ``(n,)``; a model's own rule, not always the largest probability.
        probabilities: Float64 ``(n, classes)``; each row sums to 1.
    """

    labels: tuple[str, ...]
    clip: Words
    person: Words
    fold: Words
    seed: Indices
    selection: Words
    true: Indices
    pred: Indices
    probabilities: NDArray[np.float64]


def take(predictions: Predictions, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Predictions:
    """The rows of a mask or of an index, in its order."""
    columns = {f.name: getattr(predictions, f.name) for f in fields(predictions)}
    labels = columns.pop("labels")
    return Predictions(labels=labels, **{name: column[rows] for name, column in columns.items()})


def selected(predictions: Predictions, selection: str) -> Predictions:
    """The rows of one selection.

    Raises:
        UserError: There is none.
    """
    rows = predictions.selection == selection
    if not rows.any():
        there = ", ".join(sorted(set(predictions.selection.tolist())))
        raise UserError(f"no predictions of the selection '{selection}' (there are: {there})")
    return take(predictions, rows)


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """The rows of several (one per fold, say) in the stable order of `write_predictions`.

    Raises:
        UserError: Their labels differ.
    """
    labels = parts[0].labels
    for part in parts:
        if part.labels != labels:
            raise UserError(f"predictions of different labels: {labels} and {part.labels}")
    names = [f.name for f in fields(Predictions) if f.name != "labels"]
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return _ordered(Predictions(labels=labels, **joined))


def datasets_of(predictions: Predictions) -> Words:
    """The data set of each row: the first part of the clip's id, str ``(n,)``."""
    return np.array([clip.split("/", 1)[0] for clip in predictions.clip.tolist()], dtype=np.str_)


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Writes the table: probabilities to six places, rows by seed, selection, fold and clip.

    The same predictions give the same bytes, in whatever order their rows come.

    Raises:
        UserError: The rows break a rule of `read_predictions`.
    """
    problem = _first_problem(predictions)
    if problem is not None:
        raise UserError(f"predictions, row {problem[0]}: {problem[1]}")
    p = _ordered(predictions)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *(f"p_{label}" for label in p.labels)])
        keys = zip(*(getattr(p, name).tolist() for name in COLUMNS), strict=True)
        for key, row in zip(keys, p.probabilities.tolist(), strict=True):
            writer.writerow([*key, *(f"{value:.6f}" for value in row)])


def read_predictions(path: Path) -> Predictions:
    """Reads the table of a run.

    Args:
        path: The file, or the run's folder that holds ``predictions.csv``.

    Raises:
        UserError: No such file, not such a table, or a row with a label out of range, an unknown
            selection, probabilities that do not sum to 1, a person who does not belong to the
            clip, a clip that has another truth elsewhere, or a clip that occurs twice for a seed
            and selection. The message names the file and the line.
    """
    path = path / "predictions.csv" if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"no predictions at {path}: name a run's folder or its predictions.csv")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            predictions, lines = _parse(csv.reader(file), path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a text table: {error}") from None
    problem = _first_problem(predictions)
    if problem is not None:
        raise UserError(f"{path}, line {lines[problem[0]]}: {problem[1]}")
    return _ordered(predictions)


def check_labels(predictions: Predictions, scheme: LabelScheme) -> None:
    """Refuses predictions of other classes, or the same in another order.

    Raises:
        UserError: The labels differ.
    """
    if predictions.labels != scheme.labels:
        have, want = ", ".join(predictions.labels), ", ".join(scheme.labels)
        raise UserError(f"the predictions are of {have}; the scheme {scheme.name} is {want}")


def in_common(a: Predictions, b: Predictions) -> tuple[Predictions, Predictions]:
    """The rows of both whose clip every seed of both has predicted, joined by `Clip.id`.

    Raises:
        UserError: Different labels, no clip in common, or a clip whose truth differs.
    """
    if a.labels != b.labels:
        raise UserError(f"cannot compare predictions of {a.labels} with those of {b.labels}")
    clips = _clips_of_every_seed(a) & _clips_of_every_seed(b)
    if not clips:
        raise UserError("the two have no clip in common: compare runs on the same data set")
    truth = dict(zip(a.clip.tolist(), a.true.tolist(), strict=True))
    for clip, true in zip(b.clip.tolist(), b.true.tolist(), strict=True):
        if clip in clips and truth[clip] != true:
            raise UserError(
                f"{clip} is {a.labels[truth[clip]]} in one and {b.labels[true]} in the other: "
                "compare runs whose clips have the same labels"
            )
    shared = np.array(sorted(clips))
    return take(a, np.isin(a.clip, shared)), take(b, np.isin(b.clip, shared))


def _clips_of_every_seed(predictions: Predictions) -> set[str]:
    seeds = np.unique(predictions.seed)
    return set.intersection(*(set(predictions.clip[predictions.seed == s].tolist()) for s in seeds))


def _ordered(p: Predictions) -> Predictions:
    rank = np.array([SELECTIONS.index(name) for name in p.selection.tolist()])
    return take(p, np.lexsort((p.clip, p.fold, rank, p.seed)))


def _parse(reader: Iterator[list[str]], path: Path) -> tuple[Predictions, list[int]]:
    """The columns as they stand in the file, and the line of each row."""
    header = next(reader, [])
    for name in COLUMNS:
        if header.count(name) != 1:
            raise UserError(f"{path}, line 1: the column '{name}' must stand there once")
    others = [name for name in header if name not in COLUMNS]
    labels = tuple(name[2:] for name in others if name.startswith("p_"))
    if len(labels) < len(others) or len(set(labels)) < len(labels) or len(labels) < 2:
        raise UserError(f"{path}, line 1: after the seven columns come p_<class>, each class once")
    place = [header.index(name) for name in (*COLUMNS, *(f"p_{label}" for label in labels))]
    keys: list[tuple[str, str, str, int, str, int, int]] = []
    probabilities: list[list[float]] = []
    lines: list[int] = []
    for line, row in enumerate(reader, start=2):
        if len(row) != len(header):
            raise UserError(f"{path}, line {line}: {len(row)} values for {len(header)} columns")
        clip, person, fold, seed, selection, true, pred, *rest = (row[i] for i in place)
        try:
            keys.append((clip, person, fold, int(seed), selection, int(true), int(pred)))
            probabilities.append([float(value) for value in rest])
        except ValueError as error:
            raise UserError(f"{path}, line {line}: {error}") from None
        lines.append(line)
    if not keys:
        raise UserError(f"{path} holds no row")
    columns = {
        name: np.array(column)
        for name, column in zip(COLUMNS, zip(*keys, strict=True), strict=True)
    }
    return Predictions(labels=labels, probabilities=np.array(probabilities), **columns), lines


def _first_problem(p: Predictions) -> tuple[int, str] | None:
    """The first row that breaks a rule, and what is wrong with it."""
    classes = len(p.labels)
    sums = p.probabilities.sum(axis=1)
    seen: set[tuple[str, int, str]] = set()
    truth: dict[str, int] = {}
    rows = zip(*(getattr(p, name).tolist() for name in COLUMNS), strict=True)
    for i, (clip, person, _, seed, selection, true, pred) in enumerate(rows):
        if not (0 <= true < classes and 0 <= pred < classes):
            return (
                i,
                f"label {true if not 0 <= true < classes else pred} is not in 0..{classes - 1}",
            )
        if not (p.probabilities[i].min() >= 0 and abs(sums[i] - 1) <= TOLERANCE):
            return (
                i,
                f"the probabilities of {clip} must be at least 0 and sum to 1, not {sums[i]:g}",
            )
        if selection not in SELECTIONS:
            return i, f"selection '{selection}' is none of {', '.join(SELECTIONS)}"
        if not clip.startswith(f"{person}/"):
            return i, f"the clip {clip} is not of the person {person}"
        if truth.setdefault(clip, true) != true:
            return i, f"the truth of {clip} is {true} here and {truth[clip]} before"
        if (clip, seed, selection) in seen:
            return i, f"{clip} occurs twice for seed {seed} and selection {selection}"
        seen.add((clip, seed, selection))
    return None
