"""SSSNet: Shallow Single Stream Network, the best of the nets compared in the paper.

Varanka, Li, Peng and Zhao, Data Leakage and Evaluation Issues in Micro-Expression Analysis, IEEE
Transactions on Affective Computing 15 (2024), arXiv 2211.11425; library tvaranka/meb.

Glossary (symbol: shape at 64 pixels)

    x           (b, 3, 64, 64)    flow u, v and strain, onset to apex
    conv1       (b, 32, 60, 60)   5 x 5; ReLU, maximum 3 x 3, batch norm: (b, 32, 20, 20)
    conv2       (b, 64, 18, 18)   3 x 3; ReLU, maximum 2 x 2, batch norm: (b, 64, 9, 9)
    hidden      (b, 256)          fully connected, ReLU; dropout .5 after each stage

Departures: none in the net. `image` may differ from 64; at 28 pixels the last maps are 3 x 3.
Training (SGD .01, momentum .9, weight decay .001, batches of 128, 200 epochs) is a matter of the
experiment file. Flow stays in pixels, as read there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.models.base import Classifier, check_input


class SssNet(Classifier):
    """SSSNet: 1 349 251 parameters with 3 classes at 64 pixels.

    Args:
        classes: Number of classes.
        channels: Planes of the input.
        image: Side of the input in pixels, at least 16.
        normalisation: See `microexpr.inputs.Input`.
        dropout: Probability, after each of the three stages; whole maps in the first two.

    Raises:
        UserError: An image that is too small for two convolutions and two poolings.
    """

    paper = "Varanka et al., Data Leakage and Evaluation Issues, TAFFC 2024"
    eats = Input(("u", "v", "strain"), 64, "tvl1", "none")
    smallest: ClassVar[dict[str, Any]] = {"image": 16}

    def __init__(
        self,
        classes: int,
        channels: Sequence[str] = ("u", "v", "strain"),
        image: int = 64,
        normalisation: str = "none",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        side = ((image - 4) // 3 - 2) // 2
        if side < 1:
            raise UserError(f"SSSNet needs an image of at least 16 pixels, got {image}")
        self.classes = classes
        self.eats = Input(tuple(channels), image, "tvl1", normalisation)
        self.conv1 = nn.Conv2d(len(channels), 32, 5)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.bn2 = nn.BatchNorm2d(64)
        self.fc1 = nn.Linear(64 * side**2, 256)
        self.fc = nn.Linear(256, classes)
        self.drop_maps = nn.Dropout2d(dropout)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, channels, image, image)`` -> logits ``(b, classes)``."""
        check_input(x, self.eats)
        x = x.contiguous(memory_format=torch.channels_last)  # the same sums, pooled faster
        x = self.drop_maps(self.bn1(F.max_pool2d(F.relu(self.conv1(x)), 3)))
        x = self.drop_maps(self.bn2(F.max_pool2d(F.relu(self.conv2(x)), 2)))
        out: Tensor = self.fc(self.drop(F.relu(self.fc1(x.flatten(1)))))
        return out
