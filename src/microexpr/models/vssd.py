"""VSSD-T, Vision Mamba with non-causal state space duality: the trunk of AMMSM as published.

Shi, Dong, Li, Xu, arXiv 2407.18559 (2024). Written from its published configuration; the names and
shapes of its state dict are the official ones, so that the official checkpoint loads unchanged.

Glossary (symbol: shape at 224 pixels; where in the paper)

    stem        (b, 64, 56, 56)   three steps of overlapping convolutions
    level 1     (b, 64, 56, 56)   2 blocks; each: convolution, mixer, convolution, MLP
    level 2     (b, 128, 28, 28)  4 blocks
    level 3     (b, 256, 14, 14)  8 blocks
    level 4     (b, 512, 7, 7)    4 blocks, all of them self-attention
    NC-SSD      (b, h w, c)       mixer of the first three levels (`microexpr.nn.ssd`)

Departures from the published code
- The input is flow, not a photograph: `channels`, `image` and `normalisation` are settings. With
  another number of channels the official weights do not fit, and `load_official` says so.
- No pretraining unless `load_official` is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.models.base import Classifier, check_input
from microexpr.nn.layers import init_linear
from microexpr.nn.pieces import in_pieces
from microexpr.nn.vssd import Level, Stem, make_levels
from microexpr.nn.weights import load_strict, read_state_dict

DEPTHS = (2, 4, 8, 4)
MLP_RATIO = 4.0
DROP_PATH = 0.2


class Vssd(Classifier):
    """VSSD-T: 24 270 724 parameters with 1000 classes and 3 channels.

    Args:
        classes: Number of classes.
        channels: Planes of the input.
        image: Side of the input in pixels.
        normalisation: See `microexpr.inputs.Input`.
        dim: Width of the first level; 64 is T. Widths double from level to level; every level has
            as many heads of its width as T has.
        drop_path: Probability at the last block.

    Raises:
        UserError: `dim` is no multiple of 4.
    """

    paper = "Shi et al., VSSD: Vision Mamba with Non-Causal SSD, arXiv 2407.18559, 2024"
    eats = Input(("u", "v", "m"), 224, "tvl1", "robust")
    smallest: ClassVar[dict[str, Any]] = {"dim": 8, "image": 32}

    def __init__(
        self,
        classes: int,
        channels: Sequence[str] = ("u", "v", "m"),
        image: int = 224,
        normalisation: str = "robust",
        dim: int = 64,
        drop_path: float = DROP_PATH,
    ) -> None:
        super().__init__()
        if dim < 4 or dim % 4:
            raise UserError(f"dim must be a multiple of 4, got {dim}")
        self.classes = classes
        self.eats = Input(tuple(channels), image, "tvl1", normalisation)
        widths = [dim * 2**i for i in range(len(DEPTHS))]
        mixers = [["ssd"] * depth for depth in DEPTHS[:-1]] + [["attention"] * DEPTHS[-1]]
        self.patch_embed = Stem(len(channels), dim)
        self.layers = make_levels(widths, mixers, dim // 2, MLP_RATIO, drop_path)
        self.norm = nn.LayerNorm(widths[-1])
        self.head = nn.Linear(widths[-1], classes)
        self.apply(init_linear)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, channels, image, image)`` -> logits ``(b, classes)``."""
        check_input(x, self.eats)
        return self._logits(x) if self.training else in_pieces(self._logits, x)

    def _logits(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x.contiguous(memory_format=torch.channels_last))
        for level in self.layers:
            assert isinstance(level, Level)
            x = level.downsample(level(x))
        out: Tensor = self.head(self.norm(x.flatten(2).transpose(1, 2)).mean(dim=1))
        return out

    def load_official(self, source: str | Path | Mapping[str, Any]) -> Vssd:
        """Loads the published weights, strictly.

        Args:
            source: The ``.pth`` file (read with ``weights_only=True``), or a state dict, also one
                inside ``{"model": ...}``.

        Returns:
            This model.

        Raises:
            UserError: No such file, or keys or shapes that differ; the message names the first.
        """
        name = f"VSSD-T with {self.classes} classes and {len(self.eats.channels)} channels"
        load_strict(self, read_state_dict(source), name)
        return self
