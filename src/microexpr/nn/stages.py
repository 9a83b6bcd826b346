"""MERba's stages: Local-Global Feature Integration (section III-A).

The map is cut into windows, local extractors mix the tokens inside each (Eq. 2 to 4), attention
mixes those of the whole map (Eq. 5), and a convolution halves its side.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from microexpr.nn.attention import Attention
from microexpr.nn.layers import Block, Downsample
from microexpr.nn.mixers import ConvMixer, Mixer, SeparateMixers
from microexpr.nn.windows import cut, window_order

WINDOW = 7


@dataclass(frozen=True, slots=True)
class StagePlan:
    """What the stages of one net have in common.

    Attributes:
        extractor: ``local``: within windows; ``global``: over the whole map.
        attention: ``local`` or ``global``.
        mixer: ``scan`` or ``conv``, see `microexpr.nn.mixers`.
        orders: Scan orders, keys of `microexpr.nn.orders.ORDERS`.
        share_mixers: One mixer for all orders, or one for each.
        head_width: Channels of one attention head.
        mlp_ratio: See `microexpr.nn.layers.Block`.
        dropout: See `microexpr.nn.layers.Block`; after the attention's projection too.
        layer_scale: See `microexpr.nn.layers.Block`.
    """

    extractor: str
    attention: str
    mixer: str
    orders: tuple[str, ...]
    share_mixers: bool
    head_width: int
    mlp_ratio: float
    dropout: float
    layer_scale: float


class InWindows(nn.Module):
    """Runs blocks on the tokens of a square map in window order; partitioned and reversed once.

    Args:
        blocks: Each maps ``(b, tokens, dim)`` in window order to the same.
        side: Side of the map.
        window: Side of the windows.
    """

    def __init__(self, blocks: list[Block], side: int, window: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.raster = window >= side  # one window: window order is row-major already
        if not self.raster:
            order = window_order(side, side, window)
            self.register_buffer("order", order, persistent=False)
            self.register_buffer("back", order.argsort(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, tokens, dim)``, row-major -> the same."""
        x = x if self.raster else x.index_select(1, self.get_buffer("order"))
        for block in self.blocks:
            x = block(x)
        return x if self.raster else x.index_select(1, self.get_buffer("back"))


class Stage(nn.Module):
    """Extractors in windows, then attention, then downsampling.

    Args:
        plan: Settings of the net.
        dim: Channels.
        out: Channels after downsampling; None: no downsampling.
        side: Side of the square map, in tokens.
        rates: Drop path of each extractor, and of each attention block.
    """

    def __init__(
        self, plan: StagePlan, dim: int, out: int | None, side: int, rates: tuple[list[float], ...]
    ) -> None:
        super().__init__()
        window = _window(plan.extractor, side)
        extractors = [_extractor_block(plan, dim, side, window, rate) for rate in rates[0]]
        self.extractors = InWindows(extractors, side, window)
        window = _window(plan.attention, side)
        attentions = [_attention_block(plan, dim, side, window, rate) for rate in rates[1]]
        self.attentions = InWindows(attentions, side, window)
        self.downsample = nn.Identity() if out is None else Downsample(dim, out)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, dim, h, w)`` -> ``(b, out, ceil(h / 2), ceil(w / 2))``; same size without `out`."""
        tokens = x.flatten(2).transpose(1, 2)
        tokens = self.attentions(self.extractors(tokens))
        out: Tensor = self.downsample(tokens.transpose(1, 2).reshape(x.shape))
        return out


def _window(scope: str, side: int) -> int:
    """Side of the window that a local or global part sees on a map."""
    return side if scope == "global" else min(WINDOW, side)


def _extractor_block(plan: StagePlan, dim: int, side: int, window: int, rate: float) -> Block:
    regions = cut(side, side, window)
    mixer: nn.Module
    if plan.mixer == "conv":
        mixer = ConvMixer(dim, regions)
    elif plan.share_mixers:
        mixer = Mixer(dim, regions, plan.orders)
    else:
        mixer = SeparateMixers(dim, regions, plan.orders)
    return _block(plan, dim, mixer, rate)


def _attention_block(plan: StagePlan, dim: int, side: int, window: int, rate: float) -> Block:
    heads = max(1, dim // plan.head_width)
    regions = None if window >= side else cut(side, side, window)
    return _block(plan, dim, Attention(dim, heads, plan.dropout, regions), rate)


def _block(plan: StagePlan, dim: int, mixer: nn.Module, rate: float) -> Block:
    return Block(
        dim,
        mixer,
        mlp_ratio=plan.mlp_ratio,
        dropout=plan.dropout,
        drop_path=rate,
        layer_scale=plan.layer_scale,
    )
