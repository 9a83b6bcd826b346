"""Cutting a map of tokens into windows, whatever its size, and putting it together again.

A map whose sides the window does not divide is cut exactly: full windows inside, narrower ones
along the right edge, lower ones along the bottom, one in the corner. No token is invented, so
nothing has to be masked: the result equals padding with tokens that neither the scan nor the
convolution nor the attention may see.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Region:
    """Windows of one shape that lie side by side in window order.

    Attributes:
        start: Number of tokens before the first of these windows.
        count: How many windows.
        height: Rows of each.
        width: Columns of each.
    """

    start: int
    count: int
    height: int
    width: int

    @property
    def stop(self) -> int:
        """One past the last token."""
        return self.start + self.count * self.height * self.width


def cut(height: int, width: int, window: int) -> tuple[Region, ...]:
    """The regions of a map, at most four: inside, right edge, bottom edge, corner.

    >>> cut(14, 14, 7)
    (Region(start=0, count=4, height=7, width=7),)
    >>> [(r.count, r.height, r.width) for r in cut(9, 16, 7)]
    [(2, 7, 7), (1, 7, 2), (2, 2, 7), (1, 2, 2)]
    >>> cut(4, 4, 7)
    (Region(start=0, count=1, height=4, width=4),)
    """
    regions: list[Region] = []
    for rows, low in _bands(height, window):
        for columns, narrow in _bands(width, window):
            start = regions[-1].stop if regions else 0
            regions.append(Region(start, rows * columns, low, narrow))
    return tuple(regions)


def window_order(height: int, width: int, window: int) -> Tensor:
    """``(height * width,)`` int64: the row-major number of each token in window order.

    Window order is the order of `cut`: region after region, its windows row by row, the tokens of
    a window row by row.

    >>> window_order(2, 3, 2).tolist()
    [0, 1, 3, 4, 2, 5]
    """
    grid = torch.arange(height * width).view(height, width)
    pieces, top = [], 0
    for rows, low in _bands(height, window):
        left = 0
        for columns, narrow in _bands(width, window):
            piece = grid[top : top + rows * low, left : left + columns * narrow]
            tiles = piece.reshape(rows, low, columns, narrow).transpose(1, 2)
            pieces.append(tiles.reshape(-1))
            left += columns * narrow
        top += rows * low
    return torch.cat(pieces)


def windows_of(x: Tensor, region: Region) -> Tensor:
    """The windows of one region.

    Args:
        x: ``(b, tokens, c)`` in window order.
        region: One of `cut`.

    Returns:
        ``(b * region.count, region.height * region.width, c)``.
    """
    piece = x[:, region.start : region.stop]
    return piece.reshape(-1, region.height * region.width, x.shape[2])


def join(windows: list[Tensor], batch: int) -> Tensor:
    """The reverse of `windows_of` over all regions: ``(b, tokens, c)`` in window order."""
    pieces = [w.reshape(batch, -1, w.shape[2]) for w in windows]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)


def _bands(side: int, window: int) -> list[tuple[int, int]]:
    """(How many windows, how wide) along one side: the full ones, then the rest if any."""
    full, rest = divmod(side, window)
    return [(n, size) for n, size in ((full, window), (1, rest)) if n * size > 0]
