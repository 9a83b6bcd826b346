"""A small convolutional net of our own: the floor that any architecture must beat.

Glossary (symbol: shape at 28 pixels)

    x           (b, 3, 28, 28)    flow
    maps        (b, 16, 14, 14), (b, 32, 7, 7), (b, 36, 4, 4)   convolution, batch norm, ReLU, pool
    features    (b, 576)          the last maps laid flat: where something moves matters
    logits      (b, classes), and one for each of `units`

Departures: there is no paper to depart from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from microexpr.inputs import Input
from microexpr.models.base import Classifier, check_input, check_units

WIDTHS = (16, 32, 36)


class SmallCnn(Classifier):
    """Three convolutions and one linear layer: 17 307 parameters with 3 classes at 28 pixels.

    Args:
        classes: Number of classes.
        channels: Planes of the input.
        image: Side of the input in pixels.
        normalisation: See `microexpr.inputs.Input`.
        dropout: Probability, before the linear layer.
        units: Action units to predict as well, by their numbers in FACS.

    Raises:
        UserError: An unknown action unit.
    """

    paper = "ours, none"
    eats = Input(("u", "v", "m"), 28, "tvl1", "relative")
    standing = "ours"
    smallest: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        classes: int,
        channels: Sequence[str] = ("u", "v", "m"),
        image: int = 28,
        normalisation: str = "relative",
        dropout: float = 0.4,
        units: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.classes, self.units = classes, check_units(units)
        self.eats = Input(tuple(channels), image, "tvl1", normalisation)
        layers: list[nn.Module] = []
        planes, side = len(channels), image
        for width in WIDTHS:
            layers += [
                nn.Conv2d(planes, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.MaxPool2d(2, ceil_mode=True),
            ]
            planes, side = width, -(-side // 2)
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(dropout))
        self.head = nn.Linear(planes * side**2, classes + len(self.units))

    def forward(self, x: Tensor) -> Tensor:
        """``(b, channels, image, image)`` -> logits ``(b, classes + units)``."""
        check_input(x, self.eats)
        x = x.contiguous(memory_format=torch.channels_last)  # the same sums, pooled faster
        out: Tensor = self.head(self.features(x))
        return out
