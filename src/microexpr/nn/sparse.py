"""Sparse activation: which 4x4 windows of a map a block works on, and how it works on them alone.

Chen et al., SparseViT, CVPR 2023; Liu et al., AMMSM, section III-B, Eq. 3 to 5.

Glossary (symbol, shape, equation)

    X_mn    (b, windows, 16, c)   the map in 4 x 4 windows; Eq. 3
    Phi_mn  (b, windows)          score of a window, the L2 norm of its activations; Eq. 4
    M_mn    (b, windows)          1 for the highest (1 - S) part of the scores; Eq. 5
    S                             sparsity ratio, the part of the windows that is dropped

Tokens of a map are ``(b, height * width, c)``, row by row. What a block sees of a map is a `View`:
`Whole` (all tokens, some of them perhaps masked) or `Kept` (only the tokens of the kept windows,
gathered). `convolve` and the sums of the blocks treat a token that is not there as zero in both, so
both compute the same; the time of `Kept` falls with the ratio.

A map whose sides 4 does not divide is padded. The padding is no token: it adds nothing to a score
and is zero to convolutions and sums.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WINDOW = 4
_RIM = WINDOW + 2  # a window and the ring around it that a 3x3 convolution reads


@dataclass(frozen=True, slots=True)
class Whole:
    """All tokens of a map.

    Attributes:
        height: Rows.
        width: Columns.
        valid: ``(b, height * width, 1)``, 1 or 0: the tokens that count; None: all do.
    """

    height: int
    width: int
    valid: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """The tokens of the kept windows, the same number of slots for every clip.

    Attributes:
        tokens: ``(b, k)`` int64: the number of each token in its map; ``height * width`` for a slot
            that only fills up.
        valid: ``(b, k, 1)``, 0 for slots that only fill up; None: there are none.
        around: ``(b * windows * 36,)`` int64: for each kept window with its rim the row of each
            token among ``b * k``; ``b * k`` where there is none.
        places: ``(b * k,)`` int64: each slot's place among the tokens of the kept windows; None: as
            they stand.
    """

    tokens: Tensor
    valid: Tensor | None
    around: Tensor
    places: Tensor | None


View = Whole | Kept


@dataclass(frozen=True, slots=True)
class Windows:
    """How a map is cut: tokens by number, ``height * width`` where a window reaches beyond.

    Attributes:
        height: Rows of the map.
        width: Columns of the map.
        inside: ``(windows, 16)`` int64.
        around: ``(windows, 36)`` int64: a window with its rim.
        sizes: ``(windows,)`` float: real tokens of each.
    """

    height: int
    width: int
    inside: Tensor
    around: Tensor
    sizes: Tensor

    @property
    def even(self) -> bool:
        """Whether no window reaches beyond the map."""
        return self.height % WINDOW == self.width % WINDOW == 0


def cut_windows(height: int, width: int, device: torch.device | None = None) -> Windows:
    """The 4x4 windows of a map, row by row.

    >>> w = cut_windows(4, 6)
    >>> w.inside[1].tolist()
    [4, 5, 24, 24, 10, 11, 24, 24, 16, 17, 24, 24, 22, 23, 24, 24]
    >>> w.sizes.tolist(), w.even
    ([16.0, 8.0], False)
    """
    return _cut(height, width, device or torch.device("cpu"))


@lru_cache(maxsize=64)
def _cut(height: int, width: int, device: torch.device) -> Windows:
    rows, columns = -(-height // WINDOW), -(-width // WINDOW)
    nothing = height * width
    with torch.inference_mode(False):  # kept for later calls, which may need gradients
        padded = torch.full((rows * WINDOW + 2, columns * WINDOW + 2), nothing, device=device)
        numbers = torch.arange(nothing, device=device).view(height, width)
        padded[1 : height + 1, 1 : width + 1] = numbers
        around = padded.unfold(0, _RIM, WINDOW).unfold(1, _RIM, WINDOW).reshape(-1, _RIM, _RIM)
        inside = around[:, 1:-1, 1:-1].flatten(1)
        sizes = (inside < nothing).sum(1).float()
        return Windows(height, width, inside.contiguous(), around.flatten(1).contiguous(), sizes)


@torch.no_grad()
def window_scores(x: Tensor, windows: Windows) -> Tensor:
    """Eq. 4, over the number of real tokens: the root mean square of each window's activations.

    Where 4 divides the map this orders the windows as the L2 norm does; elsewhere a window at the
    edge is not dropped for having fewer tokens.

    Args:
        x: ``(b, height * width, c)``.
        windows: How the map is cut.

    Returns:
        ``(b, windows)``, not negative; no gradient.
    """
    energy = F.pad(x.float().square().sum(2), (0, 1))
    return (energy[:, windows.inside].sum(2) / windows.sizes).sqrt()


def kept_count(windows: int, ratio: float) -> int:
    """How many windows are kept: the whole part of ``windows * (1 - ratio)``, at least one.

    >>> [kept_count(49, ratio) for ratio in (0, 0.1, 0.5, 0.8)], kept_count(1, 0.8)
    ([49, 44, 24, 9], 1)
    """
    return max(1, math.floor(windows * (1 - ratio) + 1e-9))


def choose_windows(scores: Tensor, ratio: float) -> Tensor | None:
    """Eq. 5: the windows of the highest scores.

    Args:
        scores: ``(b, windows)``.
        ratio: Part of the windows that is dropped, in [0, 1).

    Returns:
        ``(b, kept)`` int64, ascending; None: all are kept.
    """
    count = kept_count(scores.shape[1], ratio)
    if count == scores.shape[1]:
        return None
    return scores.topk(count, dim=1).indices.sort(dim=1).values


def masked(chosen: Tensor, windows: Windows, dtype: torch.dtype) -> Whole:
    """The whole map with a mask over it.

    Args:
        chosen: Of `choose_windows`.
        windows: How the map is cut.
        dtype: Of the mask.
    """
    b, nothing = len(chosen), windows.height * windows.width
    mask = torch.zeros(b, nothing + 1, dtype=dtype, device=chosen.device)
    mask.scatter_(1, windows.inside[chosen].flatten(1), 1.0)
    return Whole(windows.height, windows.width, mask[:, :-1, None])


def kept(chosen: Tensor, windows: Windows, dtype: torch.dtype) -> Kept:
    """The tables by which the kept windows' tokens are gathered, convolved and put back.

    Clips may keep different numbers of tokens where windows reach beyond the map; slots then fill
    up to the largest number.

    Args:
        chosen: Of `choose_windows`.
        windows: How the map is cut.
        dtype: Of the mask over slots that only fill up.
    """
    b, nothing = len(chosen), windows.height * windows.width
    tokens = windows.inside[chosen].flatten(1)
    valid = places = None
    if not windows.even:
        missing = tokens == nothing
        count = tokens.shape[1]
        slots = int(count - missing.sum(1).min())
        order = missing.to(torch.uint8).argsort(dim=1, stable=True)[:, :slots]
        tokens = tokens.gather(1, order)
        valid = (tokens < nothing).to(dtype)[:, :, None]
        places = (order + torch.arange(b, device=order.device)[:, None] * count).flatten()
    rows = tokens.numel()
    row_of = torch.full((b, nothing + 1), rows, device=tokens.device)
    row_of.scatter_(1, tokens, torch.arange(rows, device=tokens.device).view_as(tokens))
    row_of[:, nothing] = rows
    around = row_of.gather(1, windows.around[chosen].flatten(1)).flatten()
    return Kept(tokens, valid, around, places)


def gather(x: Tensor, view: Kept) -> Tensor:
    """``(b, height * width, c)`` -> the kept tokens ``(b, k, c)``; slots that fill up are zero."""
    index = view.tokens[:, :, None].expand(-1, -1, x.shape[2])
    return (x if view.valid is None else F.pad(x, (0, 0, 0, 1))).gather(1, index)


def put_back(x: Tensor, inner: Tensor, view: View) -> Tensor:
    """The map with the kept tokens replaced; the dropped ones keep their value.

    Args:
        x: ``(b, height * width, c)``: the map before.
        inner: What became of what `view` shows.
        view: Through which it was seen.
    """
    if isinstance(view, Whole):
        return inner if view.valid is None else torch.where(view.valid > 0, inner, x)
    index = view.tokens[:, :, None].expand_as(inner)
    inner = inner.to(x.dtype)
    if view.valid is None:
        return x.scatter(1, index, inner)
    return F.pad(x, (0, 0, 0, 1)).scatter(1, index, inner)[:, :-1]


def convolve(x: Tensor, conv: nn.Conv2d, view: View) -> Tensor:
    """A depthwise 3x3 convolution of the map, zero at its border and wherever no token is.

    Args:
        x: ``(b, tokens, c)`` as `view` shows them.
        conv: Depthwise, kernel 3, padding 1.
        view: Which tokens these are.

    Returns:
        ``(b, tokens, c)``; what stands at masked tokens has no meaning.
    """
    b, n, c = x.shape
    if isinstance(view, Whole):
        x = x if view.valid is None else x * view.valid
        image = x.view(b, view.height, view.width, c).permute(0, 3, 1, 2)
        return _by_token(conv(image)).view(b, n, c)
    rows = F.pad(x.reshape(b * n, c), (0, 0, 0, 1))
    tiles = rows.index_select(0, view.around).view(-1, _RIM, _RIM, c).permute(0, 3, 1, 2)
    out = _by_token(F.conv2d(tiles, conv.weight, conv.bias, groups=c)).view(-1, c)
    if view.places is not None:
        out = out.index_select(0, view.places)
    return out.view(b, n, c)


def _by_token(image: Tensor) -> Tensor:
    """``(b, c, h, w)`` -> ``(b, h, w, c)``, its numbers in that order in memory."""
    return image.permute(0, 2, 3, 1).contiguous()
