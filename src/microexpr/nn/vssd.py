"""The trunk of VSSD (Shi et al., arXiv 2407.18559), which AMMSM's temporal stream takes over.

A stem, four levels of blocks, and a downsampling after each level but the last. A block is

    x = x + conv(x);  x = x + drop(mixer(norm(x)));  x = x + conv(x);  x = x + drop(mlp(norm(x)))

with depthwise 3x3 convolutions and, as mixer, `microexpr.nn.ssd.Ssd` or self-attention. Parameter
names are those of the published code, so that its weights load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.nn.dense import Pointwise
from microexpr.nn.layers import DropPath, Mlp
from microexpr.nn.sparse import (
    View,
    Whole,
    Windows,
    choose_windows,
    convolve,
    cut_windows,
    gather,
    kept,
    masked,
    put_back,
    window_scores,
)
from microexpr.nn.ssd import D_STATE, SelfAttention, Ssd


@dataclass(frozen=True, slots=True)
class Sparsity:
    """How a level leaves tokens out.

    Attributes:
        ratios: Of each pair of blocks, in [0, 1).
        masking: ``exact``: a dropped token is zero to every convolution and sum of the pair's
            blocks and keeps its value from before the pair. ``paper``: the map is multiplied by the
            mask before each block and no more; dropped tokens are copied back after the pair.
        gathered: Work on the kept tokens alone (``exact`` only); else on the map, under a mask.
    """

    ratios: Sequence[float]
    masking: str = "exact"
    gathered: bool = True


class ConvNorm(nn.Module):
    """A convolution, batch norm if asked for, ReLU if asked for.

    Args:
        inside: Channels before.
        outside: Channels after.
        kernel: Side of the kernel, odd; the border is zero.
        stride: Of the convolution.
        groups: Of the convolution.
        norm: Whether batch norm follows.
        act: Whether ReLU follows.
        bias: Of the convolution.
    """

    def __init__(
        self,
        inside: int,
        outside: int,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        norm: bool = True,
        act: bool = True,
        bias: bool = False,
    ) -> None:
        super().__init__()
        kind = Pointwise if kernel == 1 else nn.Conv2d
        self.conv = kind(inside, outside, kernel, stride, kernel // 2, 1, groups, bias)
        self.norm = nn.BatchNorm2d(outside) if norm else None
        self.act = nn.ReLU(inplace=True) if act else None

    def forward(self, x: Tensor) -> Tensor:
        """``(b, inside, h, w)`` -> ``(b, outside, ceil(h / stride), ceil(w / stride))``."""
        out: Tensor = self.conv(x)
        out = out if self.norm is None else self.norm(out)
        return out if self.act is None else self.act(out)


class Stem(nn.Module):
    """From the picture to the first map: three steps of convolution, the middle one residual.

    Args:
        channels: Planes of the input.
        dim: Channels after.
        stride: Of all together: 4 as published; 2 or 1 for small pictures.
    """

    def __init__(self, channels: int, dim: int, stride: int = 4) -> None:
        super().__init__()
        first, last = {1: (1, 1), 2: (2, 1), 4: (2, 2)}[stride]
        half = dim // 2
        self.conv1 = ConvNorm(channels, half, stride=first)
        self.conv2 = nn.Sequential(ConvNorm(half, half), ConvNorm(half, half, act=False))
        self.conv3 = nn.Sequential(
            ConvNorm(half, 4 * dim, stride=last), ConvNorm(4 * dim, dim, 1, act=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(b, channels, h, w)`` -> ``(b, dim, ceil(h / stride), ceil(w / stride))``."""
        x = self.conv1(x)
        out: Tensor = self.conv3(x + self.conv2(x))
        return out


class Reduction(nn.Module):
    """Halves a map and doubles its channels: 1x1, depthwise 3x3 of stride 2, 1x1.

    Args:
        dim: Channels before.
        out: Channels after.
    """

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        wide = 4 * out
        self.conv = nn.Sequential(
            ConvNorm(dim, wide, 1, norm=False, bias=True),
            ConvNorm(wide, wide, stride=2, groups=wide, norm=False, bias=True),
            ConvNorm(wide, out, 1, act=False, bias=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(b, dim, h, w)`` -> ``(b, out, ceil(h / 2), ceil(w / 2))``."""
        out: Tensor = self.conv(x)
        return out


class MapBlock(nn.Module):
    """One block of a level, on the tokens of a map.

    Args:
        dim: Width.
        mixer: `microexpr.nn.ssd.Ssd` or `microexpr.nn.ssd.SelfAttention`.
        mlp_ratio: See `microexpr.nn.layers.Mlp`.
        drop_path: See `microexpr.nn.layers.DropPath`.
    """

    def __init__(
        self, dim: int, mixer: Ssd | SelfAttention, mlp_ratio: float, drop_path: float
    ) -> None:
        super().__init__()
        self.cpe1 = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm1 = nn.LayerNorm(dim)
        self.attn = mixer
        self.drop_path = DropPath(drop_path)
        self.cpe2 = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, mlp_ratio, 0.0)

    def forward(self, x: Tensor, view: View) -> Tensor:
        """``(b, n, dim)`` -> ``(b, n, dim)``, the tokens that `view` shows."""
        x = x + convolve(x, self.cpe1, view)
        x = x + self.drop_path(self.attn(self.norm1(x), view))
        x = x + convolve(x, self.cpe2, view)
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class Level(nn.Module):
    """Blocks on maps of one size. `downsample` is for the caller, who may add something before.

    Args:
        dim: Width.
        mixers: Of each block: ``ssd`` or ``attention``.
        heads: Of the mixers.
        mlp_ratio: See `MapBlock`.
        drop_paths: One probability for each block.
        out: Channels after downsampling; None: `downsample` changes nothing.
        d_state: See `microexpr.nn.ssd.Ssd`.

    Attributes:
        pairs: How many pairs of blocks there are: ratios that `forward` wants.
    """

    def __init__(
        self,
        dim: int,
        mixers: Sequence[str],
        heads: int,
        mlp_ratio: float,
        drop_paths: Sequence[float],
        out: int | None,
        d_state: int = D_STATE,
    ) -> None:
        super().__init__()
        kinds = [
            Ssd(dim, heads, d_state) if name == "ssd" else SelfAttention(dim, heads)
            for name in mixers
        ]
        self.blocks = nn.ModuleList(
            MapBlock(dim, mixer, mlp_ratio, rate)
            for mixer, rate in zip(kinds, drop_paths, strict=True)
        )
        self.pairs = pairs([len(mixers)])[0]
        self.downsample = nn.Identity() if out is None else Reduction(dim, out)

    def forward(self, x: Tensor, sparsity: Sparsity | None = None) -> Tensor:
        """All blocks, in pairs of one sparsity ratio.

        Args:
            x: ``(b, dim, h, w)``.
            sparsity: None: every token takes part.

        Returns:
            ``(b, dim, h, w)``, before downsampling.

        Raises:
            UserError: Not one ratio for each pair of blocks.
        """
        b, c, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2).contiguous()
        if sparsity is None:
            tokens = _run(self.blocks, tokens, Whole(h, w))
        else:
            tokens = self._sparse(tokens, h, w, sparsity)
        return tokens.transpose(1, 2).view(b, c, h, w)

    def _sparse(self, x: Tensor, height: int, width: int, sparsity: Sparsity) -> Tensor:
        """Windows are scored once; they are chosen anew where the ratio changes."""
        if len(sparsity.ratios) != self.pairs:
            raise UserError(
                f"this level has {self.pairs} pairs of blocks, got {len(sparsity.ratios)} ratios"
            )
        windows = cut_windows(height, width, x.device)
        scores = window_scores(x, windows)
        by_block = [ratio for ratio in sparsity.ratios for _ in range(2)][: len(self.blocks)]
        runs: list[tuple[float, list[nn.Module]]] = []
        for ratio, block in zip(by_block, self.blocks, strict=True):
            if not runs or runs[-1][0] != ratio:
                runs.append((ratio, []))
            runs[-1][1].append(block)
        for ratio, blocks in runs:
            x = _on_chosen(blocks, x, choose_windows(scores, ratio), windows, sparsity)
        return x


def pairs(depths: Sequence[int]) -> list[int]:
    """How many pairs of blocks each level has; an odd block left over is a pair of its own.

    >>> pairs([2, 4, 8, 4]), pairs([1, 3])
    ([1, 2, 4, 2], [1, 2])
    """
    return [-(-depth // 2) for depth in depths]


def make_levels(
    widths: Sequence[int],
    mixers: Sequence[Sequence[str]],
    head_width: int,
    mlp_ratio: float,
    drop_path: float,
    d_state: int = D_STATE,
) -> nn.ModuleList:
    """All levels; drop path grows linearly over their blocks.

    Args:
        widths: Channels of each level.
        mixers: Names of the mixers of each level's blocks.
        head_width: Channels of the width that one head has.
        mlp_ratio: See `MapBlock`.
        drop_path: Probability at the last block.
        d_state: See `microexpr.nn.ssd.Ssd`.

    Raises:
        UserError: Fewer than two levels, a level without blocks, or an odd width.
    """
    if len(widths) != len(mixers) or len(widths) < 2 or min(map(len, mixers)) < 1:
        raise UserError(
            "widths and depths need one number of at least 1 for each of two or more stages, got "
            f"{list(widths)} and {[len(names) for names in mixers]}"
        )
    if min(widths) < 2 or any(width % 2 for width in widths):
        raise UserError(f"widths must be even, got {list(widths)}")
    rates = torch.linspace(0, drop_path, sum(map(len, mixers)), device="cpu").tolist()
    levels = nn.ModuleList()
    for i, (width, names) in enumerate(zip(widths, mixers, strict=True)):
        take, rates = rates[: len(names)], rates[len(names) :]
        out = widths[i + 1] if i + 1 < len(widths) else None
        heads = max(1, width // head_width)
        levels.append(Level(width, names, heads, mlp_ratio, take, out, d_state))
    return levels


def _on_chosen(
    blocks: Sequence[nn.Module],
    x: Tensor,
    chosen: Tensor | None,
    windows: Windows,
    sparsity: Sparsity,
) -> Tensor:
    """Runs blocks on the chosen windows; the other tokens keep their value."""
    whole = Whole(windows.height, windows.width)
    if chosen is None:
        return _run(blocks, x, whole)
    if sparsity.masking == "exact" and sparsity.gathered and not torch.compiler.is_compiling():
        part = kept(chosen, windows, x.dtype)
        return put_back(x, _run(blocks, gather(x, part), part), part)
    view = masked(chosen, windows, x.dtype)
    if sparsity.masking == "exact":
        return put_back(x, _run(blocks, x, view), view)
    inner = x
    for block in blocks:
        inner = block(put_back(torch.zeros_like(x), inner, view), whole)
    return put_back(x, inner, view)


def _run(blocks: Sequence[nn.Module] | nn.ModuleList, x: Tensor, view: View) -> Tensor:
    for block in blocks:
        x = block(x, view)
    return x
