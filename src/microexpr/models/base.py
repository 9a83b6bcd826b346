"""The contract of every model: what it eats, its loss, its prediction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.inputs import Input


class Classifier(nn.Module, ABC):
    """A classifier of micro-expressions. Subclasses are final: one paper, one file.

    Only `loss` and `predict` may be overridden; a subclass implements `forward`.

    Class attributes:
        paper: Authors, venue, year.
        eats: The `Input` of the paper; an instance may narrow it (`self.eats`) by its settings.
        smallest: Settings of the smallest sensible instance; contract tests use them.

    Attributes:
        classes: Number of classes.
        settings: The settings it was created with, JSON-able; `create_model` keeps them here.
    """

    paper: ClassVar[str]
    smallest: ClassVar[dict[str, Any]]
    eats: Input
    classes: int
    settings: dict[str, Any]

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Logits.

        Args:
            x: ``(b, channels, size, size)`` float, as `eats` says.

        Returns:
            ``(b, classes)`` (a model with several heads documents its own width).

        Raises:
            UserError: A shape the model does not eat.
        """

    def loss(self, x: Tensor, y: Tensor, progress: float) -> Tensor:
        """Cross-entropy, averaged over the batch.

        Args:
            x: The inputs of `forward`.
            y: ``(b,)`` int64 labels, or ``(b, classes)`` float target mass. Rows may sum to
                something else than one: Mixup, class and sample weights all come as mass.
            progress: epoch / epochs, in [0, 1].

        Returns:
            A scalar.
        """
        return F.cross_entropy(self(x), y)

    @torch.no_grad()
    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The label by the paper's rule, and the probabilities.

        Returns:
            ``(b,)`` int64 labels and ``(b, classes)`` float32 probabilities that sum to one.
        """
        probabilities = self(x).float().softmax(dim=1)
        return probabilities.argmax(dim=1), probabilities


class ClosedForm(Classifier):
    """A model without gradients (SVM ...): `solve` takes the place of a training loop.

    What `solve` finds is kept in buffers, so that it is saved like any network's weights.
    """

    @abstractmethod
    def solve(self, x: Tensor, y: Tensor, persons: Tensor, seed: int) -> None:
        """Fits the model to the training set.

        Args:
            x: ``(n, channels, size, size)`` float32.
            y: ``(n,)`` int64.
            persons: ``(n,)`` int64, who is shown: an inner cross-validation keeps them apart.
            seed: For whatever is random inside.
        """


def check_input(x: Tensor, eats: Input) -> None:
    """Refuses a tensor that the model does not eat.

    Raises:
        UserError: Wrong number of dimensions, channels, or side.
    """
    want = (len(eats.channels), eats.size, eats.size)
    if x.ndim != 4 or tuple(x.shape[1:]) != want:
        raise UserError(
            f"expected a batch of {'x'.join(map(str, want))} ({', '.join(eats.channels)}), "
            f"got a tensor of shape {tuple(x.shape)}"
        )
