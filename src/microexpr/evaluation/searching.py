"""Carries out the search of one experiment on all its labelled clips: `microexpr search`.

In a run every fold searches for itself, on persons set aside of its own training clips. Here the
choices are wanted themselves: the phases up to the last search are done once, and configurations
are judged as tasks, in processes or on a cluster. Killed and started again, it goes on: at the
phase it was in, a search at its last trial.
"""

from __future__ import annotations

import csv
import io
import shutil
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import tomli_w
import torch

from microexpr.cluster import Cluster, spread, wait_for
from microexpr.errors import UserError
from microexpr.evaluation.bench import build_model, open_sets
from microexpr.evaluation.choices import note_choices, write_choices
from microexpr.evaluation.experiment import Experiment, difference, parse, to_table
from microexpr.evaluation.selection import load_halfway, save_halfway
from microexpr.files import write_text
from microexpr.models.base import Adaptive, Classifier
from microexpr.training.checkpoint import Checkpoint, save_checkpoint
from microexpr.training.data import TrainingSet
from microexpr.training.fit import epochs
from microexpr.training.judging import Exam, Judges, judge_elsewhere
from microexpr.training.search import Judge, read_trials

Watch = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Task:
    """One phase that learns, for a worker."""

    out: Path
    data: Path | None
    phase: int


def search_experiment(
    experiment: Experiment,
    data: Path | None,
    out: Path,
    seed: int = 0,
    jobs: int = 1,
    watch: Watch = lambda what, done, of: None,
    on: Cluster | None = None,
) -> Path:
    """Does an experiment's phases up to its last search, on all labelled clips.

    Writes ``model.safetensors`` (the model as chosen), ``search.csv`` and ``search.png`` (what was
    chosen) and ``trials.csv`` (what was judged). The result depends neither on `jobs` nor on `on`.

    Args:
        experiment: One whose recipe has a phase of mode ``search``; its protocol is not used.
        data: Folder of the data set, or of several below it.
        out: Folder of the results. One that holds the same search is gone on with.
        seed: For everything random.
        jobs: Processes that judge.
        watch: Called with (what, done, of).
        on: A cluster that trains and judges in place of this machine.

    Returns:
        Path of trials.csv.

    Raises:
        UserError: Bad input, nothing to search, or `out` holds something else.
    """
    phases = experiment.recipe.phases
    searches = [index for index, phase in enumerate(phases) if phase.mode == "search"]
    if not searches:
        raise UserError("this experiment searches nothing: no phase of its recipe has mode search")
    clips, others = open_sets(experiment, data)
    _claim(replace(experiment, run=replace(experiment.run, seeds=(seed,))), out)
    trials = out / "trials.csv"
    if not trials.exists():
        torch.set_num_threads(1)
        model, first = _reached(experiment, out, seed)
        for index in range(first, searches[-1] + 1):
            if phases[index].mode == "search":
                judges = partial(_elsewhere, experiment, clips.scheme.labels, out, index, jobs, on)
                sets = (clips, others)
                for generation in _generations(experiment, model, sets, out, index, seed, judges):
                    watch("generations", generation, phases[index].epochs)
            else:
                watch("phases", index, searches[-1])
                folders = [out] if data is None else [out, data]
                list(spread(do_phase, [Task(out, data, index)], jobs, on, folders))
                wait_for([_state(out, index)])
                model, _ = _reached(experiment, out, seed)
                watch("phases", index + 1, searches[-1])
        _write(experiment, model, clips.scheme.labels, seed, out)
    shutil.rmtree(out / "work", ignore_errors=True)
    return trials


def _generations(
    experiment: Experiment,
    model: Classifier,
    sets: tuple[TrainingSet, dict[str, TrainingSet]],
    out: Path,
    index: int,
    seed: int,
    judges: Judges,
) -> Iterator[int]:
    """Does a phase that searches, leaves its best chosen, and keeps what it has reached."""
    once, journal = range(index, index + 1), out / "work" / "journal"
    clips, others = sets
    for epoch in epochs(model, clips, experiment.recipe, seed, others, once, journal, judges):
        yield epoch.number
    save_halfway(_state(out, index), index + 1, model, {})


def do_phase(task: Task) -> None:
    """Trains one phase and keeps what it has reached. For worker processes."""
    torch.set_num_threads(1)
    experiment = parse(tomllib.loads((task.out / "experiment.toml").read_text(encoding="utf-8")))
    clips, others = open_sets(experiment, task.data)
    (seed,) = experiment.run.seeds
    model, _ = _reached(experiment, task.out, seed)
    once = range(task.phase, task.phase + 1)
    for epoch in epochs(model, clips, experiment.recipe, seed, others, once):
        model = epoch.model
    save_halfway(_state(task.out, task.phase), task.phase + 1, model, {})


def _claim(experiment: Experiment, out: Path) -> None:
    path = out / "experiment.toml"
    if path.exists():
        differs = difference(tomllib.loads(path.read_text("utf-8")), to_table(experiment))
        if differs:
            raise UserError(f"{out} holds another experiment: {differs}; choose another --out")
    if (out / "predictions.csv").exists():
        raise UserError(f"{out} holds a run; choose another --out")
    write_text(tomli_w.dumps(to_table(experiment)), path)


def _state(out: Path, phase: int) -> Path:
    return out / "work" / f"phase{phase}.safetensors"


def _reached(experiment: Experiment, out: Path, seed: int) -> tuple[Classifier, int]:
    """The model after the phases that are done, and how many those are."""
    torch.manual_seed(seed)
    model = build_model(experiment)
    for index in reversed(range(len(experiment.recipe.phases))):
        done = load_halfway(_state(out, index), model, {})
        if done:
            return model, done
    return model, 0


def _elsewhere(
    experiment: Experiment,
    labels: tuple[str, ...],
    out: Path,
    phase: int,
    jobs: int,
    on: Cluster | None,
    exam: Exam,
) -> Judge:
    folder = out / "work" / f"exam{phase}"
    precision, name = experiment.recipe.precision, experiment.model.name
    return judge_elsewhere(exam, name, labels, precision, folder, jobs, on)


def _write(
    experiment: Experiment, model: Classifier, labels: tuple[str, ...], seed: int, out: Path
) -> None:
    """The files of the result, trials.csv last: a folder that has it is finished."""
    assert isinstance(model, Adaptive)
    journals = sorted((out / "work").glob("journal.*"), key=lambda path: int(path.suffix[1:]))
    rows: list[dict[str, Any]] = [
        {"phase": experiment.recipe.phases[int(path.suffix[1:])].name, **row}
        for path in journals
        for row in read_trials(path)
    ]
    best = min(row["loss"] for row in rows if row["phase"] == rows[-1]["phase"]) if rows else 0.0
    note = out / "work" / "chosen.json"
    note_choices(note, model, seed=seed, fold="all", selection="last", loss=best)
    write_choices([note], out)
    save_checkpoint(
        out / "model.safetensors", Checkpoint(model.eval(), experiment.model.name, labels)
    )
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]) if rows else ["phase"], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(text.getvalue(), out / "trials.csv")
