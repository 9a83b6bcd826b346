"""STSTNet: Shallow Triple Stream Three-dimensional CNN.

Liong, Gan, See, Khor, Huang, IEEE FG 2019 (arXiv 1902.03634).

Glossary (symbol: shape; where in the paper)

    x           (b, 3, 28, 28)   optical strain, v and u, each stretched to 0..255; section III-A
    streams     3, 5 and 8 maps  one convolution each over all three planes; figure 2
    conv        (b, n, 30, 30)   3 x 3, padding 2
    pool        (b, n, 10, 10)   maximum 3 x 3 of stride 3, padding 1
    features    (b, 400)         16 maps, averaged 2 x 2 to 5 x 5
    logits      (b, 3)           fully connected

Departures from the paper: none in the net; like the authors' PyTorch code, ReLU comes before batch
norm. Training (Adam 5e-5, batches of 256, 800 epochs) is a matter of the experiment file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.inputs import Input
from microexpr.models.base import Classifier, check_input
from microexpr.nn.weights import load_strict, read_state_dict


class Ststnet(Classifier):
    """STSTNet, 1 683 parameters with 3 classes.

    Args:
        classes: Number of classes.
        channels: Three planes.
        normalisation: See `microexpr.inputs.Input`.
        dropout: Probability, after each stream's pooling.
    """

    paper = "Liong et al., Shallow Triple Stream Three-dimensional CNN, FG 2019"
    eats = Input(("strain", "v", "u"), 28, "tvl1", "minmax8")
    smallest: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        classes: int,
        channels: Sequence[str] = ("strain", "v", "u"),
        normalisation: str = "minmax8",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.eats = Input(tuple(channels), 28, "tvl1", normalisation)
        planes = len(channels)
        self.conv1 = nn.Conv2d(planes, 3, 3, padding=2)
        self.conv2 = nn.Conv2d(planes, 5, 3, padding=2)
        self.conv3 = nn.Conv2d(planes, 8, 3, padding=2)
        self.bn1 = nn.BatchNorm2d(3)
        self.bn2 = nn.BatchNorm2d(5)
        self.bn3 = nn.BatchNorm2d(8)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(16 * 5 * 5, classes)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, 3, 28, 28)`` -> logits ``(b, classes)``."""
        check_input(x, self.eats)
        x = x.contiguous(memory_format=torch.channels_last)
        maps = self._normalised(F.relu(self._convolved(x)))
        maps = self.dropout(F.max_pool2d(maps, 3, 3, padding=1))
        out: Tensor = self.fc(F.avg_pool2d(maps, 2).flatten(1))
        return out

    def _convolved(self, x: Tensor) -> Tensor:
        """The three streams' convolutions as one with 16 maps: the same sums, half the time."""
        convs = (self.conv1, self.conv2, self.conv3)
        biases = [conv.bias for conv in convs if conv.bias is not None]
        return F.conv2d(x, torch.cat([c.weight for c in convs]), torch.cat(biases), padding=2)

    def _normalised(self, maps: Tensor) -> Tensor:
        """The three streams' batch norms as one, which writes their running statistics back."""
        norms = (self.bn1, self.bn2, self.bn3)
        mean, var, weight, bias = (
            torch.cat([getattr(norm, name) for norm in norms])
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        out = F.batch_norm(maps, mean, var, weight, bias, self.training, eps=self.bn1.eps)
        if self.training:
            sizes = [norm.num_features for norm in norms]
            parts = zip(norms, torch.split(mean, sizes), torch.split(var, sizes), strict=True)
            for norm, own_mean, own_var in parts:
                norm.running_mean.copy_(own_mean)  # type: ignore[union-attr]
                norm.running_var.copy_(own_var)  # type: ignore[union-attr]
                norm.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        return out

    def load_official(self, source: str | Path | Mapping[str, Any]) -> Ststnet:
        """Loads weights that the authors published (one file for each left-out person), strictly.

        They expect the planes strain, v, u with raw values 0..255: the default `eats`.

        Returns:
            This model.

        Raises:
            UserError: No such file, or keys or shapes that differ.
        """
        load_strict(self, read_state_dict(source), f"STSTNet with {self.classes} classes")
        return self
