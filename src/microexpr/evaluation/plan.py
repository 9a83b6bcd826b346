"""What a run would do, without doing it: folds, classes, steps, and an estimate of the time."""

from __future__ import annotations

import math
import time
from collections import Counter
from pathlib import Path

import torch

from microexpr.evaluation.bench import Bench, build_model, open_sets
from microexpr.evaluation.experiment import Experiment
from microexpr.evaluation.protocols import make_folds
from microexpr.jobs import keep_memory
from microexpr.models.base import Classifier, ClosedForm, input_shape
from microexpr.training.recipe import Phase

MOST_NUMBERS = 2**19  # in the tensor of a trial step


def plan(experiment: Experiment, data: Path | None, arm: str = "") -> str:
    """A few lines about a run; the time is extrapolated from three training steps on random flow.

    Args:
        experiment: What would be done.
        data: Folder of the data, as for a run.
        arm: Name of the arm of a grid, for the first line.

    Raises:
        UserError: Whatever would stop the run before its first fold.
    """
    clips, others = open_sets(experiment, data)
    model = build_model(experiment)
    folds = make_folds(
        experiment.protocol.name, clips.clips, clips.scheme, experiment.protocol.settings
    )
    counts = Counter(clips.scheme(clip) for clip in clips.clips)
    size = sum(p.numel() for p in model.parameters())
    trainings = len(folds) * len(experiment.run.seeds)
    trainings *= 1 + ("inner" in experiment.run.selections)
    lines = [
        f"{experiment.model.name}{' ' + arm if arm else ''}: {size:,} parameters, "
        f"{len(clips.clips)} clips of {len(clips.persons)} persons "
        f"({', '.join(f'{label} {counts[label]}' for label in clips.scheme.labels)})",
        f"{experiment.protocol.name}: {len(folds)} folds, {trainings} trainings",
    ]
    bench = Bench(experiment, clips, {fold.name: fold for fold in folds}, others)
    seconds, largest = 0.0, max(len(fold.train) for fold in folds)
    for index, phase in enumerate(experiment.recipe.phases):
        here = largest if phase.on == "train" else len(others[phase.on].clips)
        steps = phase_steps(phase, here)
        what = f"{phase.epochs} epochs, {steps} steps"
        if phase.mode == "search":
            what = f"search, {phase.epochs} generations of {phase.population}, {steps} batches"
        lines.append(f"phase {phase.name} on {phase.on}: {what}")
        times = len(experiment.run.seeds) if index < bench.lead else trainings
        seconds += steps * step_seconds(model, phase) * times
    if not isinstance(model, ClosedForm) or model.learns:
        lines.append(f"about {seconds / 3600:.2f} core-hours at most")
    return "\n".join(lines)


def phase_steps(phase: Phase, clips: int) -> int:
    """Batches of the phase, whole clips assumed to divide as asked between persons."""
    held = round(clips * phase.hold_out)
    if phase.mode == "search":
        return phase.epochs * phase.population * -(-held // phase.batch)
    return phase.epochs * -(-(clips - held) // phase.batch)


def step_seconds(model: Classifier, phase: Phase) -> float:
    """Processor time of a training step on random flow, the best of three; a search only looks.

    Of large pictures a few stand for the batch, which might not fit into memory here.
    """
    if phase.mode == "solve" or (isinstance(model, ClosedForm) and not model.learns):
        return 0.0
    batch = phase.batch + (phase.replay_batch if phase.replay else 0)
    shape = input_shape(model.eats)
    few = max(2, min(batch, MOST_NUMBERS // math.prod(shape)))
    x = torch.randn(few, *shape)
    y = torch.randint(model.classes, (few,))
    keep_memory()  # as the run itself will
    seconds = math.inf
    for _ in range(3):
        start = time.process_time()
        with torch.set_grad_enabled(phase.mode != "search"):
            loss = model.loss(x, y, 0.5)
        if loss.requires_grad:
            torch.autograd.backward(loss)
        seconds = min(seconds, time.process_time() - start)
    return seconds * batch / few
