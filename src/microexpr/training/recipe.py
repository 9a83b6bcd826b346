"""How a model is trained: one or more phases, each with its optimiser, schedule and augmentation.

The defaults are MERba's (section IV-B): AdamW, 5 epochs of warm-up to 5e-4, cosine, 10 epochs of
cooldown, weight decay 0.05, batch 128, horizontal flip, 70 epochs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from microexpr.errors import UserError, suggest

OPTIMISERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "constant")
SAMPLINGS = ("shuffled", "balanced", "in_order")
MODES = ("train", "adapt", "search", "solve")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
_NOT_NEGATIVE = (
    "lr",
    "weight_decay",
    "units_weight",
    "mixup",
    "mesa",
    "shift",
    "rotate",
    "zoom",
    "noise",
    "clip_grad",
)


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of training.

    Attributes:
        name: For progress and checkpoints.
        on: ``"train"``: the fold's own training clips; else the name of another data set of the
            experiment (``[data.others.NAME]``).
        mode: ``train``; ``adapt``: a model with choices draws them anew for each batch; ``search``:
            nothing learns, an evolutionary search fixes the choices
            (`microexpr.training.search`); ``solve``: a model in closed form is solved, which of a
            model without anything to train every phase does.
        hold_out: Part of the clips, by whole persons, that this phase leaves out; a search is
            judged on what it leaves out, so `adapt` and `search` want the same number.
        epochs: Passes over the clips; of a search, generations.
        batch: Clips in a batch; the last batch of an epoch may be smaller.
        optimiser: ``adamw``, ``adam`` or ``sgd`` (momentum 0.9).
        lr: Peak learning rate.
        schedule: ``cosine`` (warm-up, cosine to `lr_floor`, cooldown there) or ``constant``.
        warmup: Epochs of linear warm-up from `warmup_lr`.
        cooldown: Last epochs, at `lr_floor`.
        lr_floor: Where the cosine ends.
        warmup_lr: Where the warm-up begins.
        weight_decay: Not for vectors (norms, biases) and parameters marked `no_weight_decay`.
        sampling: ``shuffled``, ``balanced`` (classes equally often) or ``in_order``.
        class_weights: Weigh each class by the inverse of its share in the training clips.
        label_smoothing: Share of each target spread over all classes.
        units_weight: Of the cross-entropy of action units, beside that of the classes; for models
            that predict units (setting ``units``), no matter for others.
        mixup: Parameter of the Beta distribution; 0 is off.
        ema: Decay of the average of the weights, which is what is kept; 0 is off.
        mesa: Weight of a second cross-entropy, against what that average says of each clip (MESA,
            Du et al., NeurIPS 2022, in the form of VSSD); 0 is off.
        mesa_start: Part of the phase after which it sets in.
        population: Of a search: configurations in a generation.
        mutation: Of a search: probability that a choice is drawn anew.
        flip: Mirror half of the clips and negate u.
        shift: Largest random shift, in pixels of the input.
        rotate: Largest random rotation in degrees; the vectors turn too.
        zoom: Largest random relative change of size.
        noise: Standard deviation of added noise, in units of the input's standard deviation.
        clip_grad: Largest norm of the gradient; 0 is off.
        replay: Another data set from which clips are added to every batch; empty is off.
        replay_batch: How many.
        replay_weight: The weight of an added clip in the loss.
        freeze: Parameters whose name starts with one of these do not learn.

    Raises:
        UserError: A value outside its range.
    """

    name: str = "train"
    on: str = "train"
    mode: str = "train"
    hold_out: float = 0.0
    epochs: int = 70
    batch: int = 128
    optimiser: str = "adamw"
    lr: float = 5e-4
    schedule: str = "cosine"
    warmup: float = 5
    cooldown: float = 10
    lr_floor: float = 5e-6
    warmup_lr: float = 1e-6
    weight_decay: float = 0.05
    sampling: str = "shuffled"
    class_weights: bool = False
    label_smoothing: float = 0.0
    units_weight: float = 1.0
    mixup: float = 0.0
    ema: float = 0.0
    mesa: float = 0.0
    mesa_start: float = 0.25
    population: int = 50
    mutation: float = 0.1
    flip: bool = True
    shift: float = 0.0
    rotate: float = 0.0
    zoom: float = 0.0
    noise: float = 0.0
    clip_grad: float = 0.0
    replay: str = ""
    replay_batch: int = 64
    replay_weight: float = 0.5
    freeze: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _one_of("optimiser", self.optimiser, OPTIMISERS)
        _one_of("schedule", self.schedule, SCHEDULES)
        _one_of("sampling", self.sampling, SAMPLINGS)
        _one_of("mode", self.mode, MODES)
        least = {"epochs": 1, "batch": 1, "replay_batch": 1, "population": 2}
        for what, low in (least | dict.fromkeys(_NOT_NEGATIVE, 0)).items():
            if getattr(self, what) < low:
                must = f"must be at least {low}" if low else "must not be negative"
                raise UserError(f"phase '{self.name}': {what} {must}")
        for what in ("ema", "label_smoothing", "hold_out", "mesa_start"):
            if not 0 <= getattr(self, what) < 1:
                raise UserError(f"phase '{self.name}': {what} must be in [0, 1)")
        if self.mode == "search":
            self._check_search()
        elif self.schedule == "cosine" and self.warmup + self.cooldown > self.epochs:
            raise UserError(
                f"phase '{self.name}': warmup {self.warmup} and cooldown {self.cooldown} together "
                f"exceed {self.epochs} epochs; shorten them"
            )
        if self.mesa and not self.ema:
            raise UserError(f"phase '{self.name}': mesa needs the average of the weights: set ema")

    def _check_search(self) -> None:
        if not 0 <= self.mutation <= 1:
            raise UserError(f"phase '{self.name}': mutation must be in [0, 1]")
        if not self.hold_out:
            raise UserError(
                f"phase '{self.name}': a search needs persons to judge on: set hold_out"
            )


@dataclass(frozen=True, slots=True)
class Recipe:
    """The phases in their order, and the machine's part.

    Attributes:
        phases: At least one.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        devices: Devices to train one model on.

    Raises:
        UserError: No phase, two of the same name, unknown precision, fewer than one device.
    """

    phases: tuple[Phase, ...] = field(default_factory=lambda: (Phase(),))
    precision: str = "32-true"
    devices: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "phases", tuple(self.phases))
        _one_of("precision", self.precision, PRECISIONS)
        if not self.phases:
            raise UserError("a recipe needs at least one phase")
        if len({phase.name for phase in self.phases}) != len(self.phases):
            raise UserError("the phases of a recipe must have different names")
        if self.devices < 1:
            raise UserError(f"devices must be at least 1, got {self.devices}")


def learning_rate(phase: Phase, epoch: float) -> float:
    """The learning rate at a point of a phase.

    Args:
        phase: Whose schedule.
        epoch: Epochs done, with fractions; in [0, phase.epochs].

    >>> p = Phase(epochs=70, lr=5e-4)
    >>> [round(learning_rate(p, e), 6) for e in (0, 2.5, 5, 32.5, 60, 69)]
    [1e-06, 0.000251, 0.0005, 0.000253, 5e-06, 5e-06]
    """
    if phase.schedule == "constant":
        return phase.lr
    if epoch < phase.warmup:
        return phase.warmup_lr + (phase.lr - phase.warmup_lr) * epoch / phase.warmup
    floor = min(phase.lr_floor, phase.lr)
    span = phase.epochs - phase.warmup - phase.cooldown
    part = min(1.0, (epoch - phase.warmup) / span) if span > 0 else 1.0
    return floor + (phase.lr - floor) * (1 + math.cos(math.pi * part)) / 2


def _one_of(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise UserError(f"unknown {what} '{name}': {suggest(name, known)}")
