"""What a configuration of a search is worth: the model's loss on persons set aside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file, save_file
from torch import Tensor

from microexpr.cluster import Cluster, spread
from microexpr.files import replacing
from microexpr.models.base import Adaptive
from microexpr.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from microexpr.training.search import Judge


@dataclass(frozen=True, slots=True, eq=False)
class Exam:
    """All that decides the loss of a configuration.

    Attributes:
        fabric: Device and precision.
        model: Its weights stay, its choices are what is judged.
        x: Clips, as `Classifier.forward` eats them.
        mass: ``(n, classes)`` target mass.
        batch: Clips at a time.
    """

    fabric: Fabric
    model: Adaptive
    x: Tensor
    mass: Tensor
    batch: int


Judges = Callable[[Exam], Judge]


def judge_here(exam: Exam) -> Judge:
    """Judges one configuration after the other, in this process; the last stays chosen."""
    fabric, model = exam.fabric, exam.model
    fabric.to_device(model.eval())

    @torch.no_grad()
    def loss(values: Mapping[str, float]) -> float:
        model.choose(values)
        total = 0.0
        pieces = (torch.split(tensor, exam.batch) for tensor in (exam.x, exam.mass))
        for x, mass in zip(*pieces, strict=True):
            with fabric.autocast():
                found = model.loss(x.to(fabric.device), mass.to(fabric.device), 1.0)
            total += float(found) * len(x)
        return total / len(exam.x)

    return lambda many: map(loss, many)


@dataclass(frozen=True, slots=True)
class Trial:
    """One configuration for a worker: `folder` holds the exam, written by `judge_elsewhere`."""

    folder: Path
    precision: str
    batch: int
    number: int
    values: Mapping[str, float]


def judge_elsewhere(
    exam: Exam,
    name: str,
    labels: tuple[str, ...],
    precision: str,
    folder: Path,
    jobs: int,
    on: Cluster | None,
) -> Judge:
    """Judges configurations as tasks of processes or of a cluster. The losses are those of here.

    Args:
        exam: What to judge by; it is written to `folder`.
        name: Of the model.
        labels: Of its classes.
        precision: Of the recipe.
        folder: New for each exam: workers keep what they have read.
        jobs: Processes.
        on: The cluster, if any.
    """
    save_checkpoint(folder / "model.safetensors", Checkpoint(exam.model, name, labels))
    with replacing(folder / "clips.safetensors") as unfinished:
        save_file({"x": exam.x.contiguous(), "mass": exam.mass.contiguous()}, unfinished)

    def judge(many: Sequence[Mapping[str, float]]) -> Iterator[float]:
        trials = [Trial(folder, precision, exam.batch, i, dict(v)) for i, v in enumerate(many)]
        losses: dict[int, float] = {}
        following = 0
        for trial, loss in spread(do_trial, trials, jobs, on, [folder]):
            losses[trial.number] = loss
            while following in losses:
                yield losses[following]
                following += 1

    return judge


def do_trial(trial: Trial) -> float:
    """Judges one configuration. For worker processes."""
    torch.set_num_threads(1)
    judge = judge_here(_exam(trial.folder, trial.precision, trial.batch))
    return next(judge([trial.values]))


@lru_cache(maxsize=1)
def _exam(folder: Path, precision: str, batch: int) -> Exam:
    """What `judge_elsewhere` wrote, read once in each process."""
    fabric = Fabric(accelerator="auto", devices=1, precision=precision)
    model = load_checkpoint(folder / "model.safetensors").model
    assert isinstance(model, Adaptive)
    clips = load_file(folder / "clips.safetensors")
    return Exam(fabric, model, clips["x"], clips["mass"], batch)
