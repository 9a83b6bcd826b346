"""Carries out an experiment: every fold and seed, in parallel, resumable, to one predictions.csv.

A fold is done when its part of the table stands in ``folds/``; parts are written whole or not at
all, so a run that was killed goes on where it was and ends with the same bytes. What the folds
share (arrays, and pre-training on other data) is made once, in ``cache/``. Both go at the end. A
training of several phases goes on at the phase in which it was killed, a search at its last trial.

Columns. ``last``: trained on all training persons, last epoch. ``inner``: a second training without
a fifth of the training persons, whose best epoch on those predicts. ``oracle``: for each test
person the epoch of the ``last`` training with the best accuracy on that person's clips (the latest
among equals), which is what much of the field reports; leaky, for comparison only.
"""

from __future__ import annotations

import copy
import re
import shutil
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import tomli_w
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from microexpr import jobs as processes
from microexpr.clip import Clip
from microexpr.cluster import Cluster, spread, wait_for
from microexpr.errors import UserError
from microexpr.evaluation.bench import Bench, build_model, open_sets
from microexpr.evaluation.choices import note_choices, write_choices
from microexpr.evaluation.environment import environment
from microexpr.evaluation.experiment import Experiment, difference, parse, to_table
from microexpr.evaluation.predictions import (
    Predictions,
    concatenate,
    read_predictions,
    write_predictions,
)
from microexpr.evaluation.protocols import Fold, make_folds
from microexpr.evaluation.selection import Inner, Kept, Oracle, load_halfway, save_halfway
from microexpr.files import replacing, write_text
from microexpr.models.base import Adaptive, Classifier
from microexpr.training.checkpoint import Checkpoint, save_checkpoint
from microexpr.training.data import ArrayFile, TrainingSet, tensors, without
from microexpr.training.devices import is_first, is_shared
from microexpr.training.fit import epochs
from microexpr.training.persons import split_persons

INNER_SHARE = 0.2
Watch = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Task:
    """One training: ``kind`` is ``last`` (with the oracle's rows, if asked for) or ``inner``."""

    out: Path
    data: Path | None
    seed: int
    fold: str
    kind: str

    @property
    def part(self) -> Path:
        """Where its rows of the table go."""
        fold = re.sub(r"[^A-Za-z0-9_.-]", "-", self.fold)
        return self.out / "folds" / f"seed{self.seed}" / f"{fold}.{self.kind}.csv"

    @property
    def note(self) -> Path:
        """Where it says what its search has chosen."""
        return self.part.with_suffix(".chosen.json")


def run_experiment(
    experiment: Experiment,
    data: Path | None,
    out: Path,
    jobs: int = 1,
    watch: Watch = lambda what, done, of: None,
    on: Cluster | None = None,
) -> Path:
    """Trains and tests every fold for every seed.

    Args:
        experiment: What to do.
        data: Folder of the data set, or of several below it; None where none is needed.
        out: Folder of the results. One that holds an unfinished run of the same experiment is
            completed; one that holds the finished run is left as it is.
        jobs: Processes, of one thread each. The result does not depend on it.
        watch: Called with (what, done, of).
        on: A cluster whose machines do the work in place of processes here. The result does not
            depend on it either, where processors and versions are the same.

    Returns:
        Path of predictions.csv.

    Raises:
        UserError: Bad input; or `out` holds another experiment (the message names the difference).
    """
    processes.check_jobs(jobs)
    if is_shared(experiment.recipe):
        raise UserError(
            "[recipe] devices and torchrun: a run spreads its folds over processes or a cluster, "
            "one device each; several devices for one training are for `microexpr train`"
        )
    _refuse_another(out, experiment)
    table = out / "predictions.csv"
    if not table.exists():
        _prepare(experiment, data, out)
        bench = _bench(out, data)
        _lead(bench, out, data, jobs, watch, on)
        tasks = _tasks(bench, out, data)
        left = [task for task in tasks if not _whole(task.part)]
        watch("folds", len(tasks) - len(left), len(tasks))
        for done, _ in enumerate(spread(do_task, left, jobs, on, _folders(out, data)), start=1):
            watch("folds", len(tasks) - len(left) + done, len(tasks))
        if on:
            wait_for([task.part for task in left])
        times = [task.part.with_suffix(".seconds") for task in tasks]
        times += [_lead_file(out, s).with_suffix(".seconds") for s in experiment.run.seeds]
        seconds = sum(float(path.read_text()) for path in times if path.exists())
        told = environment(on.cores if on else jobs, len(tasks), seconds, "ray" if on else "")
        write_text(told, out / "environment.json")
        write_choices([task.note for task in tasks], out)
        write_predictions(concatenate([read_predictions(task.part) for task in tasks]), table)
    for leftover in ("folds", "cache"):
        shutil.rmtree(out / leftover, ignore_errors=True)
    return table


def train_on_all(
    experiment: Experiment, data: Path | None, path: Path, seed: int, watch: Watch
) -> None:
    """Trains one model on every labelled clip and saves it as a checkpoint."""
    clips, others = open_sets(experiment, data)
    torch.manual_seed(seed)
    model = build_model(experiment)
    phases = experiment.recipe.phases
    for epoch in epochs(model, clips, experiment.recipe, seed, others):
        watch(phases[epoch.phase].name, epoch.number, phases[epoch.phase].epochs)
        model = epoch.model
    if is_first():  # the other devices' processes hold the same
        checkpoint = Checkpoint(model.eval(), experiment.model.name, clips.scheme.labels)
        save_checkpoint(path, checkpoint)


def _refuse_another(out: Path, experiment: Experiment) -> None:
    path = out / "experiment.toml"
    if path.exists():
        old = tomllib.loads(path.read_text(encoding="utf-8"))
        differs = difference(old, to_table(experiment))
        if differs:
            raise UserError(f"{out} holds another experiment: {differs}; choose another --out")
    elif (out / "predictions.csv").exists():
        raise UserError(f"{out} holds predictions without experiment.toml; choose another --out")


def _prepare(experiment: Experiment, data: Path | None, out: Path) -> None:
    """Claims the folder once all is known to be well, and writes the arrays to ``cache/``.

    Every process maps them from there.
    """
    clips, others = open_sets(experiment, data)
    _folds(experiment, clips)
    write_text(tomli_w.dumps(to_table(experiment)), out / "experiment.toml")
    for name, part in {"main": clips, **{f"other-{n}": o for n, o in others.items()}}.items():
        path = out / "cache" / f"{name}.npy"
        if not path.exists():
            array = part.source.read_many(part.clips, part.wants)
            with replacing(path) as unfinished:
                np.save(unfinished, np.ascontiguousarray(array, np.float32))


def _folds(experiment: Experiment, clips: TrainingSet) -> dict[str, Fold]:
    protocol = experiment.protocol
    folds = make_folds(protocol.name, clips.clips, clips.scheme, protocol.settings)
    return {fold.name: fold for fold in folds}


@lru_cache(maxsize=2)
def _bench(out: Path, data: Path | None) -> Bench:
    """The shared part as a worker sees it: read from the folder, arrays mapped, not copied."""
    experiment = parse(tomllib.loads((out / "experiment.toml").read_text(encoding="utf-8")))
    clips, others = open_sets(experiment, data)
    mapped = partial(_mapped, out)
    return Bench(
        experiment,
        mapped("main", clips),
        _folds(experiment, clips),
        {name: mapped(f"other-{name}", other) for name, other in others.items()},
    )


def _mapped(out: Path, name: str, part: TrainingSet) -> TrainingSet:
    return replace(part, source=ArrayFile(out / "cache" / f"{name}.npy", part.clips))


def _tasks(bench: Bench, out: Path, data: Path | None) -> list[Task]:
    run = bench.experiment.run
    kinds = [kind for kind in ("last", "inner") if kind in run.selections]
    return [
        Task(out, data, seed, fold, kind)
        for seed in run.seeds
        for kind in kinds
        for fold in bench.folds
    ]


def _whole(part: Path) -> bool:
    """Whether a fold's rows are there; what is not readable is removed and done again."""
    if not part.exists():
        return False
    try:
        read_predictions(part)
    except UserError:
        part.unlink()
        return False
    return True


def _lead(
    bench: Bench, out: Path, data: Path | None, jobs: int, watch: Watch, on: Cluster | None
) -> None:
    """Does the phases that all folds share, once for each seed."""
    if not bench.lead:
        return
    seeds = bench.experiment.run.seeds
    left = [Task(out, data, s, "", "lead") for s in seeds if not _lead_file(out, s).exists()]
    watch("pre-training", len(seeds) - len(left), len(seeds))
    for done, _ in enumerate(spread(do_lead, left, jobs, on, _folders(out, data)), start=1):
        watch("pre-training", len(seeds) - len(left) + done, len(seeds))


def _folders(out: Path, data: Path | None) -> list[Path]:
    """What the machines of a cluster must see."""
    return [out] if data is None else [out, data]


def _lead_file(out: Path, seed: int) -> Path:
    return out / "cache" / f"lead-seed{seed}.safetensors"


def do_lead(task: Task) -> None:
    """Runs the shared phases of one seed and keeps the weights. For worker processes."""
    torch.set_num_threads(1)
    processes.keep_memory()
    start = time.perf_counter()
    bench = _bench(task.out, task.data)
    model = _start(bench, task.seed)
    nobody = replace(bench.clips, clips=())
    recipe = bench.experiment.recipe
    for epoch in epochs(model, nobody, recipe, task.seed, bench.others, range(bench.lead)):
        model = epoch.model
    path = _lead_file(task.out, task.seed)
    write_text(f"{time.perf_counter() - start:.1f}", path.with_suffix(".seconds"))
    with replacing(path) as unfinished:
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, unfinished)


def do_task(task: Task) -> None:
    """Trains and tests one fold and writes its rows. For worker processes."""
    torch.set_num_threads(1)
    processes.keep_memory()
    start = time.perf_counter()
    bench = _bench(task.out, task.data)
    fold = bench.folds[task.fold]
    model = _start(bench, task.seed)
    if bench.lead:
        model.load_state_dict(load_file(_lead_file(task.out, task.seed)))
    chosen = _inner(bench, model, fold, task) if task.kind == "inner" else None
    rows = chosen or _last(bench, model, fold, task)
    seconds = task.part.with_suffix(".seconds")
    write_predictions(rows, task.part)
    task.part.with_suffix(".halfway.safetensors").unlink(missing_ok=True)
    write_text(f"{time.perf_counter() - start:.1f}", seconds)


def _start(bench: Bench, seed: int) -> Classifier:
    torch.manual_seed(seed)
    return build_model(bench.experiment)


def _trained(
    bench: Bench, model: Classifier, clips: tuple[Clip, ...], fold: Fold, task: Task, kept: Kept
) -> Iterator[tuple[bool, Classifier]]:
    """After each epoch: whether it was one on the fold's own clips, and the model to keep.

    Between two phases all that is known is saved, `kept` too, and taken up again if it is there.
    """
    held = {clip.person for clip in fold.test}
    others = {name: without(other, held) for name, other in bench.others.items()}
    recipe = bench.experiment.recipe
    train, count = replace(bench.clips, clips=clips), len(recipe.phases)
    if bench.lead == count:
        yield False, model
    halfway, journal = (task.part.with_suffix(end) for end in (".halfway.safetensors", ".journal"))
    first = max(bench.lead, load_halfway(halfway, model, kept))
    for epoch in epochs(model, train, recipe, task.seed, others, range(first, count), journal):
        phase, model = recipe.phases[epoch.phase], epoch.model
        yield phase.on == "train", model
        if phase.mode == "search":
            kept["search_loss"] = torch.tensor(epoch.loss, dtype=torch.float64)
        if epoch.number == phase.epochs and epoch.phase + 1 < count:
            save_halfway(halfway, epoch.phase + 1, model, kept)
    if "search_loss" in kept and isinstance(model, Adaptive):
        about = {"seed": task.seed, "fold": fold.name, "selection": task.kind}
        note_choices(task.note, model, **about, loss=float(kept["search_loss"]))


def _last(bench: Bench, model: Classifier, fold: Fold, task: Task) -> Predictions:
    """The rows of the last epoch and, where asked for, of the oracle's."""
    x, true = tensors(replace(bench.clips, clips=fold.test))
    kept: Kept = {}
    oracle = Oracle(fold, true, kept) if "oracle" in bench.experiment.run.selections else None
    for own, current in _trained(bench, model, fold.train, fold, task, kept):
        model = current
        if oracle and own:
            oracle.look(predict(current, x))
    last = predict(model, x)
    rows = [_rows(bench, fold, task.seed, "last", last, true)]
    if oracle:
        rows.append(_rows(bench, fold, task.seed, "oracle", oracle.chosen or last, true))
    return concatenate(rows)


def _inner(bench: Bench, model: Classifier, fold: Fold, task: Task) -> Predictions:
    """The rows of the epoch that is best on training persons set aside (the first among equals)."""
    scheme = bench.clips.scheme
    rest, held = split_persons(fold.train, scheme, INNER_SHARE, task.seed)
    x_held, y_held = tensors(replace(bench.clips, clips=held))
    x, true = tensors(replace(bench.clips, clips=fold.test))
    kept: Kept = {}
    inner = Inner(y_held, len(scheme.labels), kept)
    for _, current in _trained(bench, model, rest, fold, task, kept):
        if inner.better(predict(current, x_held)[0]):
            inner.keep(predict(current, x))
    if inner.chosen is None:
        raise UserError(f"fold {fold.name}: the recipe has no epoch")
    return _rows(bench, fold, task.seed, "inner", inner.chosen, true)


def predict(model: Classifier, x: Tensor, batch: int = 256) -> tuple[Tensor, Tensor]:
    """Labels and probabilities by a copy in eval mode; model and random state stay as they were."""
    with torch.random.fork_rng(devices=[]):
        still = copy.deepcopy(model).eval()
        device = next((p.device for p in still.parameters()), torch.device("cpu"))
        parts = [still.predict(piece.to(device)) for piece in torch.split(x, batch)]
    return torch.cat([p[0] for p in parts]).cpu(), torch.cat([p[1] for p in parts]).cpu()


def _rows(
    bench: Bench,
    fold: Fold,
    seed: int,
    selection: str,
    predicted: tuple[Tensor, Tensor],
    true: Tensor,
) -> Predictions:
    n = len(fold.test)
    return Predictions(
        labels=bench.clips.scheme.labels,
        clip=np.array([clip.id for clip in fold.test]),
        person=np.array([clip.person for clip in fold.test]),
        fold=np.array([fold.name] * n),
        seed=np.full(n, seed, np.int64),
        selection=np.array([selection] * n),
        true=true.numpy(),
        pred=predicted[0].numpy().astype(np.int64),
        probabilities=predicted[1].numpy().astype(np.float64),
    )
