"""A plain Vision Transformer (Dosovitskiy et al., ICLR 2021) as an encoder of pictures.

Names of the parameters are timm's, so that weights published in that form load.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.nn.attention import Attention
from microexpr.nn.layers import Mlp
from microexpr.nn.weights import load_strict, read_state_dict


class PatchEmbed(nn.Module):
    """Cuts a picture into square patches and maps each linearly.

    Args:
        channels: Planes of the picture.
        patch: Side of a patch in pixels.
        dim: Width of a token.
    """

    def __init__(self, channels: int, patch: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, channels, h, w)`` -> ``(b, h w / patch^2, dim)``, row by row."""
        out: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return out


class EncoderBlock(nn.Module):
    """Self-attention and MLP, each after a layer norm and with a shortcut.

    Args:
        dim: Width of a token.
        heads: Divides `dim`.
        mlp_ratio: Width inside the MLP over `dim`.
        dropout: After the attention's projection and in the MLP.
    """

    def __init__(self, dim: int, heads: int, mlp_ratio: float = 4.0, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads, dropout)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, mlp_ratio, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, tokens, dim)`` -> ``(b, tokens, dim)``."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class VisionTransformer(nn.Module):
    """Patches, a class token first, learned positions, blocks, a last norm.

    ViT-B/16 at 384 pixels has 86 090 496 parameters.

    Args:
        image: Side of the picture, a multiple of `patch`.
        patch: Side of a patch.
        dim: Width.
        depth: Number of blocks.
        heads: Of each block.
        channels: Planes of the picture.
        dropout: See `EncoderBlock`; also after the positions are added.

    Raises:
        UserError: `patch` does not divide `image`.
    """

    def __init__(
        self,
        image: int,
        patch: int,
        dim: int,
        depth: int,
        heads: int,
        channels: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if patch < 1 or image % patch:
            raise UserError(f"patches of {patch} pixels do not divide an image of {image}")
        self.patch_embed = PatchEmbed(channels, patch, dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, (image // patch) ** 2 + 1, dim))
        self.blocks = nn.Sequential(
            *(EncoderBlock(dim, heads, dropout=dropout) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.drop = nn.Dropout(dropout)
        nn.init.normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.cls_token, std=0.02)
        self.apply(_init)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, channels, image, image)`` -> ``(b, 1 + patches, dim)``, the class token first."""
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), self.patch_embed(x)], dim=1)
        out: Tensor = self.norm(self.blocks(self.drop(tokens + self.pos_embed)))
        return out

    def load_timm(self, source: str | Path | Mapping[str, Any]) -> None:
        """Loads weights in timm's form for this size (``vit_base_patch16_384`` ...); no head.

        Raises:
            UserError: No such file, or keys or shapes that differ.
        """
        state = read_state_dict(source)
        own = {key: value for key, value in state.items() if not key.startswith("head.")}
        load_strict(self, own, "this Vision Transformer")


def sincos_positions(side: int, dim: int) -> Tensor:
    """Fixed positions of a square grid (as in MAE, He et al., CVPR 2022).

    Half of the width is for the column, half for the row; of each, half sines and half cosines of
    the position times ``10000^(-i / (dim / 4))``.

    Args:
        side: Of the grid.
        dim: Width, a multiple of 4.

    Returns:
        ``(side^2, dim)``, row by row.

    Raises:
        UserError: 4 does not divide `dim`.
    """
    if dim % 4:
        raise UserError(f"fixed positions need a width that 4 divides, got {dim}")
    rates = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64, device="cpu") / (dim // 4))
    angles = torch.arange(side, dtype=torch.float64, device="cpu")[:, None] * rates
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    columns = line[None].expand(side, -1, -1)
    rows = line[:, None].expand(-1, side, -1)
    return torch.cat([columns, rows], dim=2).reshape(side**2, dim).float()


def _init(module: nn.Module) -> None:
    """Xavier for every Linear, as in the published ViT; biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
