"""Where a bump in a curve begins, peaks and ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LONGEST = 4.0  # seconds within which a movement must have returned
FOOT = 0.12  # share of the peak at which a movement begins and ends
DIP = 0.4  # share of the peak below which a turn of the curve ends a movement as well
TURN = 0.1  # seconds without a lower value that make a turn
FLANK = 0.4  # seconds before and after a movement that tell its zero
GAP = 0.03  # seconds left out between the movement and its flanks

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Bump:
    """A movement in a curve, as indices of it.

    Attributes:
        onset: Where it begins.
        apex: Where it is greatest.
        offset: Where it ends; the last index where the curve ends first.
        height: At the apex over the zero around it, in the curve's unit.
        complete: Whether it ends before the curve does.
    """

    onset: int
    apex: int
    offset: int
    height: float
    complete: bool


def outline(curve: Array, peak: int, rest: tuple[int, int], fps: float) -> Bump | None:
    """The bump around a place that is known to lie on it.

    The zero is first the level of `rest`, then a straight line from the level before the bump to
    the one after it; each time the ends are found anew. A bump longer than a second keeps the first
    zero: its flanks tell little about it.

    Args:
        curve: ``(frames,)``; the bump goes upwards.
        peak: An index near its top.
        rest: First index, and one past the last, of a stretch before the bump.
        fps: Frames per second.

    Returns:
        The bump; None where the curve is not above zero at `peak`, or does not come back within
        `LONGEST` seconds.
    """
    flank, gap = round(FLANK * fps), max(1, round(GAP * fps))
    bump = _between_feet(curve - level(curve, *rest), peak, fps)
    for _ in range(2):
        if bump is None or not bump.complete or bump.offset - bump.onset > fps:
            break
        onset, offset = bump.onset, bump.offset
        before = level(curve, onset - gap - flank, onset - gap)
        after = level(curve, offset + gap, offset + gap + flank)
        zero = np.interp(np.arange(len(curve)), [onset, offset], [before, after])
        bump = _between_feet(curve - zero, bump.apex, fps)
    return bump


def level(curve: Array, first: int, stop: int) -> float:
    """The median of a part of a curve; its nearest value where the part lies outside."""
    first, stop = max(first, 0), min(stop, len(curve))
    if stop <= first:
        return float(curve[min(max(first, 0), len(curve) - 1)])
    return float(np.median(curve[first:stop]))


def _between_feet(curve: NDArray[np.floating], peak: int, fps: float) -> Bump | None:
    """The bump of a curve above zero around `peak`; None if it never comes back in time."""
    reach, turn = round(LONGEST * fps), max(1, round(TURN * fps))
    if curve[peak] <= 0:
        return None
    left = _foot(curve[max(peak - reach, 0) : peak + 1][::-1], turn)
    right = _foot(curve[peak : peak + reach + 1], turn)
    if left is None or (right is None and peak + reach < len(curve)):
        return None
    onset = peak - left
    offset = peak + right if right is not None else len(curve) - 1
    apex = onset + int(curve[onset : offset + 1].argmax())
    if curve[apex] > 1.2 * curve[peak]:
        return _between_feet(curve, apex, fps)
    return Bump(onset, apex, offset, float(curve[apex]), right is not None)


def _foot(curve: NDArray[np.floating], turn: int) -> int | None:
    """How far from its first value a curve comes down; None if it does not.

    Down is `FOOT` of the greatest value on the way; or `DIP` of it and no lower within the next
    `turn` values.
    """
    top = float(curve[0])
    for i in range(1, len(curve)):
        top = max(top, float(curve[i]))
        after = curve[i + 1 : i + 1 + turn]
        if curve[i] <= FOOT * top:
            return i
        if curve[i] <= DIP * top and len(after) == turn and curve[i] <= after.min():
            return i
    return None
