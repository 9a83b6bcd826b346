"""ResNet-18 (He et al., CVPR 2016) as a trunk: maps, not classes.

Names and shapes of the parameters are torchvision's, so that its ImageNet weights load, also into a
net that ends at an earlier layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.nn.weights import load_strict, read_state_dict

LAYERS = 4


class _Basic(nn.Module):
    """Two 3x3 convolutions around which the input is added."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.downsample: nn.Module | None = None
        if stride > 1 or inside != outside:
            conv = nn.Conv2d(inside, outside, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(inner + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """The convolutional part of ResNet-18, up to one of its layers.

    Args:
        channels: Planes of the input.
        layers: How many of the four layers, 1 to 4; each after the first halves the map.
        width: Channels of the first layer; they double from layer to layer. 64 as published.
        pool: Whether the maximum of 3x3, stride 2, is taken before the first layer, as published.
        stride: Of the first convolution: 2 as published, 1 for small pictures.

    Attributes:
        layers: As given.
        width: Channels of the maps that come out.

    Raises:
        UserError: A number of layers that there is not.
    """

    def __init__(
        self,
        channels: int = 3,
        layers: int = LAYERS,
        width: int = 64,
        pool: bool = True,
        stride: int = 2,
    ) -> None:
        super().__init__()
        if not 1 <= layers <= LAYERS:
            raise UserError(f"a ResNet-18 has 1 to 4 layers, got {layers}")
        self.layers = layers
        self.conv1 = nn.Conv2d(channels, width, 7, stride, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if pool else nn.Identity()
        self.width = width
        for i in range(layers):
            after = width * 2**i
            blocks = (_Basic(self.width, after, 1 if i == 0 else 2), _Basic(after, after, 1))
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
            self.width = after

    def forward(self, x: Tensor) -> Tensor:
        """Maps of a picture, which is taken as it is (`microexpr.nn.pictures.imagenet` scales it).

        Args:
            x: ``(b, channels, h, w)``.

        Returns:
            ``(b, width, h', w')``; each halving rounds up.
        """
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for i in range(self.layers):
            x = getattr(self, f"layer{i + 1}")(x)
        return x

    def load_torchvision(self, source: str | Path | Mapping[str, Any]) -> None:
        """Loads torchvision's weights; layers that this net lacks, and the head, are left out.

        Args:
            source: The ``.pth`` file (read with ``weights_only=True``), or a state dict, also one
                inside ``{"state_dict": ...}``.

        Raises:
            UserError: No such file, or keys or shapes that differ; the message names the first.
        """
        beyond = ("fc.", *(f"layer{i + 1}." for i in range(self.layers, LAYERS)))
        state = read_state_dict(source)
        part = {key: value for key, value in state.items() if not key.startswith(beyond)}
        load_strict(self, part, f"a ResNet-18 up to layer {self.layers}")
