"""MambaVision-B, the baseline that MERba starts from and is compared with.

Hatamizadeh and Kautz, CVPR 2025 (arXiv 2407.08083). Written from its published configuration; the
names and shapes of all 356 entries of its state dict are the official ones, so that the official
checkpoint loads unchanged.

Glossary (symbol: shape at 224 pixels; where in the paper)

    stem        (b, 128, 56, 56)   two overlapping convolutions; figure 2
    level 1, 2  (b, 256, 28, 28), (b, 512, 14, 14)   3 convolution blocks each; Eq. 1
    level 3     (b, 1024, 7, 7)    5 mixers, then 5 attentions, windows of 14; table 5
    level 4     (b, 1024, 7, 7)    3 mixers, then 2 attentions, windows of 7
    x, z        (w, l, h)          scanned half and its companion; Eq. 6 (`microexpr.nn.mixers`)

Departures from the published code
- The input is flow, not a photograph: `channels`, `image` and `normalisation` are settings. With
  another number of channels the official weights do not fit, and `load_official` says so.
- No pretraining unless `load_official` is called.
- None where the window does not divide a map: as published, zeros are added at the right and the
  bottom, and scanned and attended to like tokens. (MERba here cuts maps exactly instead.)
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
from microexpr.nn.attention import Attention
from microexpr.nn.layers import Block, ConvLevel, Downsample, PatchEmbed, init_linear
from microexpr.nn.mixers import Mixer
from microexpr.nn.weights import load_strict, read_state_dict
from microexpr.nn.windows import Region, window_order

DEPTHS = (3, 3, 10, 5)
HEADS = (2, 4, 8, 16)
WINDOWS = (8, 8, 14, 7)  # those of the two convolution levels are never used
DROP_PATH = 0.3
LAYER_SCALE = 1e-5


class MambaVision(Classifier):
    """MambaVision-B: 97 685 288 parameters with 1000 classes and 3 channels.

    Args:
        classes: Number of classes.
        channels: Planes of the input.
        image: Side of the input in pixels.
        normalisation: See `microexpr.inputs.Input`.
        dim: Width of the stem; 128 is B. Widths double from level to level.
        drop_path: Probability at the last block.

    Raises:
        UserError: `dim` is no multiple of 16.
    """

    paper = "Hatamizadeh and Kautz, MambaVision, CVPR 2025"
    eats = Input(("u", "v", "m"), 224, "tvl1", "robust")
    smallest: ClassVar[dict[str, Any]] = {"dim": 16, "image": 32}

    def __init__(
        self,
        classes: int,
        channels: Sequence[str] = ("u", "v", "m"),
        image: int = 224,
        normalisation: str = "robust",
        dim: int = 128,
        drop_path: float = DROP_PATH,
    ) -> None:
        super().__init__()
        if dim < 16 or dim % 16:
            raise UserError(f"dim must be a multiple of 16, got {dim}")
        self.classes = classes
        self.eats = Input(tuple(channels), image, "tvl1", normalisation)
        rates = torch.linspace(0, drop_path, sum(DEPTHS), device="cpu").tolist()
        self.patch_embed = PatchEmbed(len(channels), dim // 2, dim, 4)
        self.levels = nn.ModuleList()
        for i, depth in enumerate(DEPTHS):
            take, rates = rates[:depth], rates[depth:]
            width = dim * 2**i
            if i < 2:
                self.levels.append(ConvLevel(width, take, 2 * width))
            else:
                self.levels.append(_MixerLevel(width, HEADS[i], WINDOWS[i], take, i < 3))
        self.norm = nn.BatchNorm2d(8 * dim)
        self.head = nn.Linear(8 * dim, classes)
        self.apply(init_linear)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, channels, image, image)`` -> logits ``(b, classes)``."""
        check_input(x, self.eats)
        x = self.patch_embed(x.contiguous(memory_format=torch.channels_last))
        for level in self.levels:
            x = level(x)
        out: Tensor = self.head(self.norm(x).mean(dim=(2, 3)))
        return out

    def load_official(self, source: str | Path | Mapping[str, Any]) -> MambaVision:
        """Loads the published weights, strictly.

        Args:
            source: The ``.pth`` file (read with ``weights_only=True``), or a state dict, also one
                inside ``{"state_dict": ...}``.

        Returns:
            This model.

        Raises:
            UserError: No such file, or keys or shapes that differ; the message names the first.
        """
        name = f"MambaVision-B with {self.classes} classes and {len(self.eats.channels)} channels"
        load_strict(self, read_state_dict(source), name)
        return self


class _MixerLevel(nn.Module):
    """Level 3 or 4: in windows, mixers in the first half of the blocks, attention in the rest."""

    def __init__(
        self, dim: int, heads: int, window: int, drop_paths: Sequence[float], down: bool
    ) -> None:
        super().__init__()
        self.window = window
        mixers = (len(drop_paths) + 1) // 2
        whole = [Region(0, 1, window, window)]
        self.blocks = nn.ModuleList(
            Block(
                dim,
                Mixer(dim, whole, ["a"]) if i < mixers else Attention(dim, heads),
                mlp_ratio=4.0,
                dropout=0.0,
                drop_path=rate,
                layer_scale=LAYER_SCALE,
            )
            for i, rate in enumerate(drop_paths)
        )
        self.downsample = Downsample(dim, 2 * dim) if down else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``(b, dim, h, w)`` -> ``(b, 2 dim, ceil(h / 2), ceil(w / 2))``, or as it came."""
        b, c, h, w = x.shape
        padded = F.pad(x, (0, -w % self.window, 0, -h % self.window))
        order = window_order(padded.shape[2], padded.shape[3], self.window).to(x.device)
        tokens = padded.flatten(2).transpose(1, 2)[:, order]
        windows = tokens.reshape(-1, self.window**2, c)
        for block in self.blocks:
            windows = block(windows)
        tokens = windows.reshape(b, -1, c)[:, order.argsort()]
        out: Tensor = self.downsample(
            tokens.transpose(1, 2).reshape(padded.shape)[:, :, :h, :w].contiguous()
        )
        return out
