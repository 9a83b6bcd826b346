"""The contract of every model: what it eats, its loss, its prediction."""

from __future__ import annotations

import copy
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.anatomy import UNITS
from microexpr.errors import UserError, suggest
from microexpr.inputs import Input
from microexpr.nn.folding import fold_batch_norms


class Classifier(nn.Module, ABC):
    """A classifier of micro-expressions. Subclasses are final: one paper, one file.

    Only `loss` and `predict` may be overridden; a subclass implements `forward`.

    Class attributes:
        paper: Authors, venue, year.
        eats: The `Input` of the paper; an instance may narrow it (`self.eats`) by its settings.
        smallest: Settings of the smallest sensible instance; contract tests use them.
        standing: ``faithful``: architecture and recipe are public, and followed.
            ``reconstruction``: much had to be chosen; the file lists what, and it does not claim
            the paper's number. ``ours``: there is no paper.
        uncertain: What is not known or differs, one line; empty where nothing does.

    Attributes:
        classes: Number of classes.
        settings: The settings it was created with, JSON-able; `create_model` keeps them here.
        units: Action units whose activity it predicts beside the class; most models have none.
        temperature: What calibration divides the logits by; 1: as trained. It is saved.
        deployed: Whether `deploy` made it.
    """

    paper: ClassVar[str]
    smallest: ClassVar[dict[str, Any]]
    standing: ClassVar[str] = "faithful"
    uncertain: ClassVar[str] = ""
    eats: Input
    classes: int
    settings: dict[str, Any]
    units: tuple[str, ...] = ()
    temperature: float = 1.0
    deployed: bool = False

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Logits.

        Args:
            x: ``(b, channels, size, size)`` float, as `eats` says; with several frames
                ``(b, frames, channels, size, size)``.

        Returns:
            ``(b, classes)``, and a further column for each of `units` (a model with several heads
            documents its own width).

        Raises:
            UserError: A shape the model does not eat.
        """

    def loss(self, x: Tensor, y: Tensor, progress: float) -> Tensor:
        """Cross-entropy, averaged over the batch; with `units` see `joint_loss`.

        Args:
            x: The inputs of `forward`.
            y: ``(b,)`` int64 labels, or ``(b, classes)`` float target mass. Rows may sum to
                something else than one: Mixup, class and sample weights all come as mass. The mass
                of `units` may follow.
            progress: epoch / epochs, in [0, 1].

        Returns:
            A scalar.
        """
        return joint_loss(self(x), y, self.classes) if self.units else F.cross_entropy(self(x), y)

    @torch.no_grad()
    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The label by the paper's rule, and the probabilities.

        Returns:
            ``(b,)`` int64 labels and ``(b, classes)`` float32 probabilities that sum to one.
        """
        logits = self(x)
        logits = logits[:, : self.classes] if self.units else logits
        probabilities = self.calibrated(logits.float().softmax(dim=1))
        return probabilities.argmax(dim=1), probabilities

    def calibrated(self, probabilities: Tensor) -> Tensor:
        """Probabilities ``(b, classes)`` as logits divided by `temperature` would give them."""
        if self.temperature == 1:
            return probabilities
        smallest = torch.finfo(probabilities.dtype).tiny
        return (probabilities.clamp_min(smallest).log() / self.temperature).softmax(dim=1)

    @torch.no_grad()
    def unit_probabilities(self, x: Tensor) -> Tensor:
        """How likely each action unit is active, on either side of the face.

        Returns:
            ``(b, units)`` float32 in the order of `units`; without units no column.
        """
        if not self.units:
            return x.new_zeros(len(x), 0)
        logits: Tensor = self(x)
        return logits[:, self.classes :].float().sigmoid()

    def deploy(self) -> Self:
        """A copy for inference alone: batch norms are folded into the convolutions before them.

        The logits stay the same up to rounding. The copy cannot learn and is not saved: keep the
        model it was made of.

        Raises:
            UserError: The model is in training mode.
        """
        twin = copy.deepcopy(self).requires_grad_(False)
        kind = next(itertools.chain(self.parameters(), self.buffers()), torch.zeros(0))
        example = torch.rand(1, *input_shape(self.eats), generator=torch.Generator()).to(kind)
        fold_batch_norms(twin, example)
        twin.deployed = True
        return twin


class ClosedForm(Classifier):
    """A model without gradients (SVM ...): `solve` takes the place of a training loop.

    What `solve` finds is kept in buffers, so that it is saved like any network's weights.

    Class attributes:
        learns: Whether a part of it is trained like any network first; then only phases of mode
            ``solve`` solve it.
    """

    learns: ClassVar[bool] = False

    @abstractmethod
    def solve(self, x: Tensor, y: Tensor, persons: Tensor, seed: int) -> None:
        """Fits the model to the training set.

        Args:
            x: ``(n, channels, size, size)`` float32; with several frames ``(n, frames, ...)``.
            y: ``(n,)`` int64.
            persons: ``(n,)`` int64, who is shown: an inner cross-validation keeps them apart.
            seed: For whatever is random inside.
        """


class Adaptive(Classifier):
    """A model with choices: numbers that training first draws at random and a search then fixes.

    Attributes:
        adapting: While true, `loss` draws every choice anew for each batch, from torch's random
            state; `forward` and `predict` always take what is chosen. `fit` sets it.
    """

    adapting: bool = False

    @property
    @abstractmethod
    def choices(self) -> dict[str, tuple[float, ...]]:
        """The values a search may take for each choice; empty where the settings leave none."""

    @property
    @abstractmethod
    def chosen(self) -> dict[str, float]:
        """What is chosen now, by the names of `choices`."""

    @abstractmethod
    def choose(self, values: Mapping[str, float]) -> None:
        """Fixes choices; the others stay. They are saved with the weights.

        Raises:
            UserError: An unknown name, or a value out of its range.
        """


def joint_loss(logits: Tensor, y: Tensor, classes: int) -> Tensor:
    """Cross-entropy of the classes, and binary cross-entropy of the action units beside it.

    Both are averaged over the batch, the second over the units too, and both are linear in the
    mass. A clip whose units are not known has no mass there and adds nothing.

    Args:
        logits: ``(b, classes + units)``.
        y: ``(b,)`` int64 labels or ``(b, classes)`` mass: of the classes alone; or
            ``(b, classes + 2 units)`` mass: classes, then "active", then "not active".
        classes: Number of classes.
    """
    known = y[:, :classes] if y.ndim > 1 else y
    loss = F.cross_entropy(logits[:, :classes], known)
    if y.ndim == 1 or y.shape[1] == classes:
        return loss
    units = logits[:, classes:]
    active, absent = y[:, classes:].chunk(2, dim=1)
    return loss + (active * F.softplus(-units) + absent * F.softplus(units)).mean()


def check_units(units: Iterable[str]) -> tuple[str, ...]:
    """The action units of a setting, by their numbers in FACS.

    Raises:
        UserError: One that `microexpr.anatomy.UNITS` does not have, or one twice.
    """
    named = tuple(units)
    for unit in named:
        check_setting("action unit", unit, UNITS)
        if named.count(unit) > 1:
            raise UserError(f"units names the action unit {unit} twice")
    return named


def input_shape(eats: Input) -> tuple[int, ...]:
    """The shape of one clip.

    >>> input_shape(Input(("u", "v"), 28)), input_shape(Input(("grey",), 28, frames=9))
    ((2, 28, 28), (9, 1, 28, 28))
    """
    shape = (len(eats.channels), eats.size, eats.size)
    return shape if eats.frames == 1 else (eats.frames, *shape)


def check_input(x: Tensor, eats: Input) -> None:
    """Refuses a tensor that the model does not eat.

    Raises:
        UserError: Wrong number of dimensions, frames, channels, or side.
    """
    want = input_shape(eats)
    if tuple(x.shape[1:]) != want:
        frames = "" if eats.frames == 1 else f"; {eats.frames} frames"
        raise UserError(
            f"expected a batch of {'x'.join(map(str, want))} ({', '.join(eats.channels)}{frames}), "
            f"got a tensor of shape {tuple(x.shape)}"
        )


def check_setting(what: str, value: str, known: Iterable[str]) -> str:
    """The value of a setting, if it is one that the setting takes.

    Raises:
        UserError: `value` is none of `known`; the message names the nearest.
    """
    names = list(known)
    if value not in names:
        raise UserError(f"unknown {what} '{value}': {suggest(str(value), names)}")
    return value
