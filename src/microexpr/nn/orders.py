"""Scan orders: in which order a state-space model walks the tokens of a window.

MERba, section III-B and figure 2: horizontal raster (a), vertical raster (b), horizontal zigzag (c)
and vertical zigzag (d), all from the top left token; table VII adds their reversals (``_bi``) and
left-right mirror images (``_sy``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from microexpr.errors import UserError, suggest

_BASES = {
    "a": "horizontal raster",
    "b": "vertical raster",
    "c": "horizontal zigzag",
    "d": "vertical zigzag",
}
_VARIANTS = {"": "", "_bi": ", reversed", "_sy": ", mirrored"}

ORDERS: dict[str, str] = {
    base + variant: name + suffix
    for base, name in _BASES.items()
    for variant, suffix in _VARIANTS.items()
}
"""Every order's key and its name in words."""


def scan_order(name: str, height: int, width: int) -> list[int]:
    """The walk of one order over a window.

    Args:
        name: A key of `ORDERS`.
        height: Rows of the window.
        width: Columns of the window.

    Returns:
        ``height * width`` token numbers in the order of the walk; token ``r * width + c`` is the
        one in row r and column c.

    Raises:
        UserError: Unknown order; the message names the nearest.

    >>> scan_order("a", 2, 3), scan_order("b", 2, 3)
    ([0, 1, 2, 3, 4, 5], [0, 3, 1, 4, 2, 5])
    >>> scan_order("c", 2, 3), scan_order("d", 2, 3)
    ([0, 1, 2, 5, 4, 3], [0, 3, 4, 1, 2, 5])
    >>> scan_order("a_bi", 2, 3), scan_order("a_sy", 2, 3)
    ([5, 4, 3, 2, 1, 0], [2, 1, 0, 5, 4, 3])
    """
    if name not in ORDERS:
        raise UserError(f"unknown scan order '{name}': {suggest(name, ORDERS)}")
    base, variant = name[0], name[1:]
    across, along = (height, width) if base in "ac" else (width, height)
    walk = []
    for line in range(across):
        turns = base in "cd" and line % 2 == 1
        for step in range(along):
            place = along - 1 - step if turns else step
            walk.append((line, place) if base in "ac" else (place, line))
    if variant == "_bi":
        walk.reverse()
    if variant == "_sy":
        walk = [(row, width - 1 - column) for row, column in walk]
    return [row * width + column for row, column in walk]


def scan_orders(names: Sequence[str], height: int, width: int) -> Tensor:
    """Several orders over one window, as `microexpr.nn.scan` takes them.

    Returns:
        ``(len(names), height * width)`` int64.

    Raises:
        UserError: No order at all, or an unknown one.
    """
    if not names:
        raise UserError(f"name at least one scan order (known: {', '.join(ORDERS)})")
    return torch.tensor([scan_order(name, height, width) for name in names], dtype=torch.int64)
