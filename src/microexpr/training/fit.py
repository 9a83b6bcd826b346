"""Training. `fit` is given training clips and nothing else: no argument could carry a test clip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Generator, Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.models.base import Adaptive, Classifier, ClosedForm
from microexpr.training import augment
from microexpr.training.data import TrainingSet, tensors, unit_mass, without
from microexpr.training.devices import open_fabric, share
from microexpr.training.judging import Exam, Judges, judge_here
from microexpr.training.persons import split_persons
from microexpr.training.recipe import Phase, Recipe, learning_rate
from microexpr.training.search import fingerprint, search

Parts = tuple[Tensor, ...] | list[Tensor]  # of one type


@dataclass(frozen=True, slots=True)
class Epoch:
    """What `epochs` yields.

    Attributes:
        phase: Index of the phase in the recipe.
        number: Epochs done in this phase; generations of a search.
        model: What would be kept if training ended here (the average of the weights where the
            phase keeps one). It is alive: copy it before you use it.
        loss: Mean training loss of the epoch; of a search, the best loss so far.
    """

    phase: int
    number: int
    model: Classifier
    loss: float


def fit(
    model: Classifier,
    train: TrainingSet,
    recipe: Recipe,
    seed: int,
    others: Mapping[str, TrainingSet] | None = None,
) -> Classifier:
    """Trains a model on training clips and returns it in eval mode.

    Class weights and whatever else is estimated come from `train` alone. On a CPU the result is
    the same to the bit for the same seed, thread count and machine.

    Args:
        model: Its weights are the start; it is changed.
        train: The fold's training clips.
        recipe: The phases.
        seed: For order, augmentation and dropout.
        others: Further data sets that phases name in `on` or `replay`.

    Raises:
        UserError: A phase names a set that is not in `others`; no training clips.
    """
    last = model
    for epoch in epochs(model, train, recipe, seed, others):
        last = epoch.model
    return last.eval()


def epochs(
    model: Classifier,
    train: TrainingSet,
    recipe: Recipe,
    seed: int,
    others: Mapping[str, TrainingSet] | None = None,
    phases: range | None = None,
    journal: Path | None = None,
    judges: Judges = judge_here,
) -> Iterator[Epoch]:
    """`fit`, epoch by epoch, so that a caller may look at the model in between.

    Every phase has its own random stream, so leaving out phases that are done (`phases`) and
    starting from their result gives what the whole would have given.

    Args:
        model: Its weights are the start; it is changed.
        train: The fold's training clips.
        recipe: The phases.
        seed: For order, augmentation and dropout.
        others: Further data sets that phases name.
        phases: Which of the recipe's phases to do; all if None.
        journal: Where a search keeps its trials, so that it can be gone on with; the index of its
            phase is added to the name. None: in memory.
        judges: Where a search has its configurations judged.
    """
    others = others or {}
    fabric = open_fabric(recipe)
    for index in phases if phases is not None else range(len(recipe.phases)):
        phase = recipe.phases[index]
        data = train if phase.on == "train" else _other(phase.on, others)
        replay = _other(phase.replay, others) if phase.replay else None
        if phase.mode == "solve" or (isinstance(model, ClosedForm) and not model.learns):
            yield Epoch(index, 1, _solve(model, data, phase, seed), 0.0)
            continue
        data, held = _set_aside(data, phase, seed)
        replay = replay and without(replay, held.persons)
        torch.manual_seed(seed * 1009 + index)
        if phase.mode == "search":
            file = journal and journal.with_name(f"{journal.name}.{index}")
            losses = _search(fabric, model, phase, held, seed * 1009 + index, file, judges)
            for number, loss in enumerate(losses, start=1):
                yield Epoch(index, number, model, loss)
            continue
        _adapting(model, phase)
        run = _Training(fabric, model, phase, data, replay, seed * 1009 + index)
        for number in range(1, phase.epochs + 1):
            loss = run.epoch(number - 1)
            yield Epoch(index, number, run.kept, loss)
        model = run.kept
        if isinstance(model, Adaptive):
            model.adapting = False


def _other(name: str, others: Mapping[str, TrainingSet]) -> TrainingSet:
    if name not in others:
        raise UserError(
            f"a phase uses the data set '{name}': describe it under [data.others.{name}] "
            f"(known: {', '.join(sorted(others)) or 'none'})"
        )
    return others[name]


def _set_aside(data: TrainingSet, phase: Phase, seed: int) -> tuple[TrainingSet, TrainingSet]:
    """What the phase learns from, and the persons it leaves out: the same for every phase."""
    if not phase.hold_out:
        return data, replace(data, clips=())
    rest, held = split_persons(data.clips, data.scheme, phase.hold_out, seed)
    return replace(data, clips=rest), replace(data, clips=held)


def _adapting(model: Classifier, phase: Phase) -> None:
    if isinstance(model, Adaptive):
        model.adapting = phase.mode == "adapt"
    elif phase.mode == "adapt":
        raise UserError(
            f"phase '{phase.name}' has mode 'adapt', but this model leaves nothing to choose: "
            "use mode 'train'"
        )


def _search(
    fabric: Fabric,
    model: Classifier,
    phase: Phase,
    held: TrainingSet,
    seed: int,
    journal: Path | None,
    judges: Judges,
) -> Iterator[float]:
    """Fixes the model's choices by its loss on persons set aside; yields the best so far."""
    if not isinstance(model, Adaptive):
        raise UserError(f"phase '{phase.name}' searches, but this model leaves nothing to choose")
    x, labels = tensors(held)
    mass = _target_mass(labels, len(held.scheme.labels), phase)
    judge = judges(Exam(fabric, model.eval(), x, mass, phase.batch))
    weights = [value.cpu().numpy().tobytes() for value in model.state_dict().values()]
    about: dict[str, Any] = {
        "clips": fingerprint(*(clip.id.encode() for clip in held.clips)),
        "weights": fingerprint(*weights),
    }
    process = (fabric.global_rank, fabric.world_size, fabric.barrier)
    return search(model, judge, phase, about, seed, journal, process)


def _solve(model: Classifier, data: TrainingSet, phase: Phase, seed: int) -> Classifier:
    if not isinstance(model, ClosedForm):
        raise UserError(f"phase '{phase.name}' solves, but this model learns: use mode 'train'")
    x, y = tensors(data)
    names = sorted(data.persons)
    persons = torch.tensor([names.index(clip.person) for clip in data.clips])
    if phase.flip:
        x = torch.cat([x, augment.mirror(x, data.wants)])
        y, persons = y.repeat(2), persons.repeat(2)
    model.solve(x, y, persons, seed)
    return model


class _Training:
    """The state of one phase: model, optimiser, average, random stream."""

    def __init__(
        self,
        fabric: Fabric,
        model: Classifier,
        phase: Phase,
        data: TrainingSet,
        replay: TrainingSet | None,
        seed: int,
    ) -> None:
        self.fabric, self.phase, self.wants = fabric, phase, data.wants
        self.generator = Generator().manual_seed(seed)
        self.x, self.labels = tensors(data)
        self.mass = _whole_mass(data, self.labels, model.units, phase)
        self.replay = None
        if replay is not None:
            x, y = tensors(replay)
            self.replay = x, _whole_mass(replay, y, model.units, phase) * phase.replay_weight
        freeze(model, phase.freeze)
        optimiser = build_optimiser(model, phase)
        self.model = model
        self.average = _averaged(model, phase.ema) if phase.ema else None
        self.wrapped, self.optimiser = fabric.setup(model, optimiser)
        self.wrapped.mark_forward_method("loss")
        if self.average is not None:
            self.average.to(fabric.device)

    @property
    def kept(self) -> Classifier:
        """The model that the phase would leave behind now."""
        if self.average is None:
            return self.model
        kept = self.average.module
        assert isinstance(kept, Classifier)
        return kept

    def epoch(self, done: int) -> float:
        """One pass over the clips; returns the mean loss."""
        self.wrapped.train()
        order = _order(self.labels, self.phase.sampling, self.generator)
        batches = torch.split(order, self.phase.batch)
        total = 0.0
        for step, batch in enumerate(batches):
            progress = done + step / len(batches)
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(self.phase, progress)
            x, y, weight = share(self.fabric, *self._batch(batch))
            loss = self._step(x, y, progress / self.phase.epochs, weight)
            total += float(self.fabric.all_reduce(loss)) * len(batch)
        return total / len(order)

    def _batch(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Augmented clips and their target mass, the same in every process."""
        x, y = self.x[batch], self.mass[batch]
        if self.replay is not None:
            draw = torch.randint(
                len(self.replay[0]), (self.phase.replay_batch,), generator=self.generator
            )
            x = torch.cat([x, self.replay[0][draw]])
            y = torch.cat([y, self.replay[1][draw]])
        x = augmented(x, self.wants, self.phase, self.generator)
        if self.phase.mixup:
            x, y = augment.mixup(x, y, self.phase.mixup, self.generator)
        return x, y

    def _step(self, x: Tensor, y: Tensor, progress: float, weight: float) -> Tensor:
        if self.phase.mesa and progress >= self.phase.mesa_start:
            # cross-entropy is linear in the target mass, so a second one is mass added
            said = self.kept.eval().predict(x)[1]
            said = self.phase.mesa * y[:, : said.shape[1]].sum(1, keepdim=True) * said
            y = y + F.pad(said, (0, y.shape[1] - said.shape[1]))
        loss: Tensor = self.wrapped.loss(x, y, progress) * weight
        self.optimiser.zero_grad()
        self.fabric.backward(loss)
        if self.phase.clip_grad:
            self.fabric.clip_gradients(self.wrapped, self.optimiser, max_norm=self.phase.clip_grad)
        self.optimiser.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return loss.detach()


def augmented(x: Tensor, wants: Input, phase: Phase, generator: Generator) -> Tensor:
    """A batch after the phase's augmentation."""
    if phase.flip:
        x = augment.random_mirror(x, wants, generator)
    if phase.shift or phase.rotate or phase.zoom:
        x = augment.jitter(
            x, wants, generator, shift=phase.shift, rotate=phase.rotate, zoom=phase.zoom
        )
    if phase.noise:
        x = augment.add_noise(x, phase.noise, generator)
    return x


def build_optimiser(model: nn.Module, phase: Phase) -> Optimizer:
    """The phase's optimiser over what learns; vectors and marked parameters get no weight decay.

    Raises:
        UserError: Everything is frozen.
    """
    learning = [p for p in model.parameters() if p.requires_grad]
    if not learning:
        raise UserError(f"phase '{phase.name}' freezes every parameter")
    spared = [p for p in learning if p.ndim < 2 or getattr(p, "no_weight_decay", False)]
    spared_ids = {id(p) for p in spared}
    groups = [
        {
            "params": [p for p in learning if id(p) not in spared_ids],
            "weight_decay": phase.weight_decay,
        },
        {"params": spared, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if phase.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=phase.lr, fused=True)
    if phase.optimiser == "adam":
        return torch.optim.Adam(groups, lr=phase.lr, fused=True)
    return torch.optim.SGD(groups, lr=phase.lr, momentum=0.9)


def freeze(model: nn.Module, prefixes: Sequence[str]) -> None:
    """Lets every parameter learn but those whose name starts with one of the prefixes.

    Raises:
        UserError: A prefix that fits no parameter.
    """
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name, _ in model.named_parameters()):
            raise UserError(f"freeze: no parameter starts with '{prefix}'")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(name.startswith(prefix) for prefix in prefixes))


def _target_mass(labels: Tensor, classes: int, phase: Phase) -> Tensor:
    """``(n, classes)`` float target mass: smoothed one-hot rows times the weight of their class."""
    mass = F.one_hot(labels, classes).float()
    mass = mass * (1 - phase.label_smoothing) + phase.label_smoothing / classes
    if phase.class_weights:
        counts = torch.bincount(labels, minlength=classes).clamp(min=1)
        mass = mass * (len(labels) / (classes * counts.float()))[labels, None]
    return mass


def _whole_mass(data: TrainingSet, labels: Tensor, units: Sequence[str], phase: Phase) -> Tensor:
    """Mass of the classes and, for a model with action units, of those beside it."""
    mass = _target_mass(labels, len(data.scheme.labels), phase)
    if not units:
        return mass
    return torch.cat([mass, phase.units_weight * unit_mass(data.clips, units)], dim=1)


def _order(labels: Tensor, sampling: str, generator: Generator) -> Tensor:
    """Indices of one epoch's clips."""
    if sampling == "in_order":
        return torch.arange(len(labels))
    if sampling == "shuffled":
        return torch.randperm(len(labels), generator=generator)
    weights = 1 / torch.bincount(labels)[labels].float()
    return torch.multinomial(weights, len(labels), replacement=True, generator=generator)


def _averaged(model: Classifier, decay: float) -> AveragedModel:
    """An exponential average of weights and buffers that forgets its start quickly."""

    def blend(averages: Parts, currents: Parts, steps: Tensor | int) -> None:
        if not averages[0].is_floating_point():
            torch._foreach_copy_(averages, currents)
            return
        n = int(steps)
        torch._foreach_lerp_(averages, currents, 1 - min(decay, (1 + n) / (10 + n)))

    return AveragedModel(model, multi_avg_fn=blend, use_buffers=True)
