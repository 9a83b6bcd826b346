"""What experiments cost: core-hours of runs that were made, and an extrapolation to others.

Measured: the time of all trainings of a run, one thread each, from its ``environment.json``.
Extrapolated: a training step of each phase is timed on this processor and its multiplications are
counted, both on random flow; times the steps, folds, seeds and columns of the experiment. Hours on
a GPU are multiplications over a rate that is assumed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from microexpr.evaluation.bench import build_model
from microexpr.evaluation.experiment import Experiment
from microexpr.evaluation.plan import MOST_NUMBERS, phase_steps, step_seconds
from microexpr.files import write_text
from microexpr.models.base import Classifier, input_shape
from microexpr.training.recipe import Phase

RATE = 10e12  # floating-point operations a second that a GPU is assumed to do, in float32
LEAST = 0.005  # seconds that a step is assumed to take there at least: its kernels are launched
CORES = 64


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an experiment would take.

    Attributes:
        name: Of the experiment.
        times: Its folds, seeds and columns, in words.
        trainings: How many models are trained.
        core_hours: On one thread of the processor that measured.
        gpu_hours: Of a GPU that does `RATE`, a step taking `LEAST` at least.
    """

    name: str
    times: str
    trainings: int
    core_hours: float
    gpu_hours: float


def estimate(
    name: str, experiment: Experiment, folds: int, clips: int, others: Mapping[str, int]
) -> Estimate:
    """Extrapolates from a few steps of each phase.

    Args:
        name: For the table.
        experiment: What would be run; its data need not be here.
        folds: Of its protocol.
        clips: Training clips of a fold.
        others: Clips of each further set.
    """
    run, model = experiment.run, build_model(experiment)
    columns = [column for column in run.selections if column != "oracle"]
    trainings = folds * len(run.seeds) * len(columns)
    core = gpu = 0.0
    leading = True
    for phase in experiment.recipe.phases:
        leading = leading and phase.on != "train"  # what all folds share is done once a seed
        steps = phase_steps(phase, clips if phase.on == "train" else others[phase.on])
        steps *= len(run.seeds) if leading else trainings
        core += steps * step_seconds(model, phase)
        gpu += steps * max(LEAST, step_operations(model, phase) / RATE)
    times = f"{folds} x {len(run.seeds)} x {len(columns)}"
    return Estimate(name, times, trainings, core / 3600, gpu / 3600)


def step_operations(model: Classifier, phase: Phase) -> float:
    """Multiplications and additions of a training step; a search only looks. Scans do not count."""
    batch = phase.batch + (phase.replay_batch if phase.replay else 0)
    shape = input_shape(model.eats)
    few = max(2, min(batch, MOST_NUMBERS // math.prod(shape)))
    x, y = torch.randn(few, *shape), torch.randint(model.classes, (few,))
    with FlopCounterMode(display=False) as counter:
        with torch.set_grad_enabled(phase.mode != "search"):
            loss = model.loss(x, y, 0.5)
        if loss.requires_grad:
            torch.autograd.backward(loss)
    return float(counter.get_total_flops()) * batch / few


def write_estimates(estimates: Sequence[Estimate], processor: str, path: Path) -> None:
    """Writes what `read_estimates` reads."""
    rows = [asdict(row) for row in estimates]
    write_text(json.dumps({"processor": processor, "estimates": rows}, indent=1) + "\n", path)


def read_estimates(path: Path) -> tuple[list[Estimate], str]:
    """Estimates, and the processor that measured the steps."""
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return [Estimate(**row) for row in told["estimates"]], told["processor"]


def cost_to_markdown(runs: Mapping[str, Path], estimates: Sequence[Estimate]) -> str:
    """Two tables in one: what was measured, and what is extrapolated, with the two side by side.

    Args:
        runs: Folders of runs by name; those without ``environment.json`` are left out.
        estimates: Of any experiments; one of the name of a run shows how far off they are.
    """
    measured = {}
    for name, folder in runs.items():
        if (folder / "environment.json").exists():
            measured[name] = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    rows = [
        "| experiment | folds x seeds x columns | trainings | core-hours measured | core-hours "
        f"extrapolated | hours on {CORES} cores | GPU-hours extrapolated |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in estimates:
        spent = measured.get(row.name, {}).get("core_seconds", math.nan) / 3600
        rows.append(
            f"| `{row.name}` | {row.times} | {row.trainings} | {_hours(spent)} | "
            f"{_hours(row.core_hours)} | {_hours(_wall(row, spent))} | {_hours(row.gpu_hours)} |"
        )
    return "\n".join(rows) + "\n"


def _wall(row: Estimate, spent: float) -> float:
    """Trainings are dealt out whole: fewer than there are cores leave cores idle."""
    whole = row.core_hours if math.isnan(spent) else spent
    return whole / row.trainings * -(-row.trainings // CORES)


def _hours(value: float) -> str:
    """Two digits that mean something.

    >>> _hours(0.0123), _hours(4.26), _hours(1234.5), _hours(math.nan)
    ('0.012', '4.3', '1200', '')
    """
    if math.isnan(value):
        return ""
    digits = 1 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{round(value, digits):.{max(0, digits)}f}"
