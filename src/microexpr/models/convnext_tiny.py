"""ConvNeXt-Tiny on the flow picture: the runner-up of the CCAC 2024 challenge (DFME).

Liu et al., A ConvNet for the 2020s, CVPR 2022 (arXiv 2201.03545); code of the challenge entry
LeoDerekh/CCAC2024MER.

Glossary (symbol: shape at 224 pixels)

    stem        (b, 96, 56, 56)   4 x 4 of stride 4, layer norm over channels
    stages      96, 192, 384, 768 channels at 56, 28, 14, 7; 3, 3, 9, 3 blocks
    block       x + gamma MLP(norm(depthwise 7 x 7 (x))), MLP of width 4 with GELU
    downsample  layer norm, 2 x 2 of stride 2, before stages 2 to 4
    logits      (b, classes)      mean over the map, layer norm, fully connected

Names and shapes of the parameters are timm's (the entry used ``convnext_tiny.in12k_ft_in1k``), so
that those weights load: `load_backbone`.

Departures: the entry starts from weights trained on MiE-X, which are not public; here from scratch
unless weights are given. It reads rendered flow pictures; here u, v and magnitude. Its recipe
(AdamW 1e-4, weight decay 1e-4, exponential decay, batches of 32, 50 epochs, seed 42) gets a cosine
here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.models.base import Classifier, check_input
from microexpr.nn.layers import DropPath, Mlp
from microexpr.nn.weights import load_strict, read_state_dict

LAYER_SCALE = 1e-6


class ConvNextTiny(Classifier):
    """ConvNeXt-T: 28 589 128 parameters with 1000 classes, 27 822 435 with 3.

    Args:
        classes: Number of classes.
        channels: Planes of the input.
        image: Side of the input in pixels, at least 32.
        normalisation: See `microexpr.inputs.Input`.
        dim: Channels of the first stage; they double from stage to stage.
        depths: Blocks of the four stages.
        drop_path: Probability at the last block; it grows linearly from 0 at the first.

    Raises:
        UserError: An image that is too small, or no four depths.
    """

    paper = "Liu et al., A ConvNet for the 2020s, CVPR 2022; entry of szfaceu, CCAC 2024"
    uncertain = "its MiE-X pre-training is not public"
    eats = Input(("u", "v", "m"), 224, "tvl1", "robust")
    smallest: ClassVar[dict[str, Any]] = {"dim": 4, "depths": [1, 1, 1, 1], "image": 32}

    def __init__(
        self,
        classes: int,
        channels: Sequence[str] = ("u", "v", "m"),
        image: int = 224,
        normalisation: str = "robust",
        dim: int = 96,
        depths: Sequence[int] = (3, 3, 9, 3),
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if image < 32 or len(depths) != 4 or min(depths) < 0:
            raise UserError(
                f"ConvNeXt needs 32 pixels and four depths, got {image} and {list(depths)}"
            )
        self.classes = classes
        self.eats = Input(tuple(channels), image, "tvl1", normalisation)
        rates = torch.linspace(0, drop_path, max(sum(depths), 1), device="cpu").tolist()
        self.stem = nn.Sequential(nn.Conv2d(len(channels), dim, 4, 4), _ChannelNorm(dim))
        self.stages = nn.Sequential()
        for k, depth in enumerate(depths):
            take, rates = rates[:depth], rates[depth:]
            self.stages.append(_Stage(dim * 2**k, take, k > 0))
        self.head = nn.ModuleDict(
            {"norm": nn.LayerNorm(8 * dim, eps=1e-6), "fc": nn.Linear(8 * dim, classes)}
        )
        self.apply(_init)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, channels, image, image)`` -> logits ``(b, classes)``."""
        check_input(x, self.eats)
        maps = self.stages(self.stem(x))
        out: Tensor = self.head["fc"](self.head["norm"](maps.mean(dim=(2, 3))))
        return out

    def load_backbone(self, source: str | Path | Mapping[str, Any]) -> ConvNextTiny:
        """Loads weights in timm's form, all but the classifier; returns this model.

        Raises:
            UserError: No such file, or keys or shapes that differ.
        """
        state = {k: v for k, v in read_state_dict(source).items() if not k.startswith("head.fc.")}
        own = {k: v for k, v in self.state_dict().items() if k.startswith("head.fc.")}
        load_strict(self, {**state, **own}, "ConvNeXt-Tiny")
        return self


class _ChannelNorm(nn.Module):
    """Layer norm over the channels of each position of a map."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        tokens = F.layer_norm(
            x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, 1e-6
        )
        return tokens.permute(0, 3, 1, 2)


class _Block(nn.Module):
    def __init__(self, dim: int, drop_path: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), LAYER_SCALE))
        self.conv_dw = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, 4.0, 0.0)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, dim, h, w)`` -> ``(b, dim, h, w)``."""
        inner = self.mlp(self.norm(self.conv_dw(x).permute(0, 2, 3, 1)))
        out: Tensor = x + self.drop_path((self.gamma * inner).permute(0, 3, 1, 2))
        return out


class _Stage(nn.Module):
    def __init__(self, dim: int, drop_paths: Sequence[float], down: bool) -> None:
        super().__init__()
        half = nn.Sequential(_ChannelNorm(dim // 2), nn.Conv2d(dim // 2, dim, 2, 2))
        self.downsample = half if down else nn.Identity()
        self.blocks = nn.Sequential(*(_Block(dim, rate) for rate in drop_paths))

    def forward(self, x: Tensor) -> Tensor:
        """``(b, dim / 2, h, w)`` -> ``(b, dim, h // 2, w // 2)``; stage 1 keeps both."""
        out: Tensor = self.blocks(self.downsample(x))
        return out


def _init(module: nn.Module) -> None:
    """Truncated normal of deviation .02, biases 0."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
