"""A support vector machine on what a small net, trained elsewhere, makes of the flow.

Few real clips are too few to train a net on, but enough to draw borders between what a net sees
that has learned from other clips: synthetic ones, say. The last maps of `smallcnn` and the flow
itself are two blocks of one Gaussian kernel (`microexpr.nn.gaussian`), each counting as much.

Training takes two phases: one of mode ``train`` on another data set, for the net; one of mode
``solve`` on the training clips, for the machine. Until then it says what the net says.

Departures: there is no paper to depart from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from microexpr.errors import UserError
from microexpr.models.base import ClosedForm, check_input
from microexpr.models.smallcnn import SmallCnn
from microexpr.nn.gaussian import GaussianMachine


class FeatureSvm(ClosedForm):
    """Gaussian SVM on flow and on the features of a `SmallCnn`.

    Args:
        classes: Number of classes.
        C: See `GaussianMachine`.
        gamma: See `GaussianMachine`.
        balanced: See `GaussianMachine`.
        flow: Whether the flow itself is a block beside the net's features.
        channels: Planes of the input.
        image: Side of the input in pixels.
        normalisation: See `microexpr.inputs.Input`.
        dropout: Of the net, while it learns.

    Raises:
        UserError: A setting out of its range.
    """

    paper = "ours, none"
    eats = SmallCnn.eats
    standing = "ours"
    smallest: ClassVar[dict[str, Any]] = {"image": 8}
    learns = True

    def __init__(
        self,
        classes: int,
        C: float | None = None,
        gamma: float | None = None,
        balanced: bool = True,
        flow: bool = True,
        channels: Sequence[str] = ("u", "v", "m"),
        image: int = 28,
        normalisation: str = "relative",
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        self.classes, self.flow = classes, flow
        self.net = SmallCnn(classes, channels, image, normalisation, dropout)
        self.eats = self.net.eats
        blocks = [self.net.head.in_features]
        if flow:
            blocks.append(len(self.eats.channels) * image**2)
        self.machine = GaussianMachine(classes, blocks, C, gamma, balanced)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, channels, image, image)`` -> margins ``(b, classes)``; logits before `solve`."""
        check_input(x, self.eats)
        out: Tensor = self.machine(self._seen(x)) if self.machine.solved else self.net(x)
        return out

    def solve(self, x: Tensor, y: Tensor, persons: Tensor, seed: int) -> None:
        """Fits the machine; the net stays as it is.

        Raises:
            UserError: Fewer than two classes in y; no C or gamma given and fewer than two persons.
        """
        check_input(x, self.eats)
        if int((y != y[0]).sum()) == 0:
            raise UserError("an SVM needs clips of at least two classes to train on")
        self.eval()
        with torch.no_grad():
            seen = self._seen(x).double().cpu().numpy()
        self.machine.solve(seen, y.cpu().numpy(), persons.cpu().numpy(), seed)

    def _seen(self, x: Tensor) -> Tensor:
        """The blocks side by side, ``(b, features)``."""
        features: Tensor = self.net.features(x.contiguous(memory_format=torch.channels_last))
        return torch.cat([features, x.flatten(1)], dim=1) if self.flow else features
