"""Where a bump in a curve begins, peaks and ends."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

LONGEST = 4.0  # seconds within which a movement must have returned
FOOT = 0.12  # share of the peak at which a movement begins and ends
DIP = 0.4  # share of the peak below which a turn of the curve ends a movement as well
TURN = 0.1  # seconds without a lower value that make a turn
FLANK = 0.4  # seconds before and after a movement that tell its zero
GAP = 0.03  # seconds left out between the movement and its flanks
NEAR_TOP = 0.5  # standard deviations of the noise by which the apex may lie below the top

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Bump:
    """A movement in a curve, as indices of it.

    Attributes:
        onset: Where it begins.
        apex: Where it has come to its top: the first place that is as high but for the noise.
        offset: Where it ends; the last index where the curve ends first.
        height: At the top over the zero around it, in the curve's unit.
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

    The apex is the end of the rise, not the middle of the top. A compressed film lags behind the
    face, repeating what it showed until that is wrong enough to be worth its bits: it reaches the
    top about when the face does, and then stays there while the face already goes back.

    Args:
        curve: ``(frames,)``; the bump goes upwards.
        peak: An index near its top.
        rest: First index, and one past the last, of a stretch before the bump.
        fps: Frames per second.

    Returns:
        The bump; None where the curve is not above zero at `peak`, or does not come back within
        `LONGEST` seconds.
    """
    above = curve - level(curve, *rest)
    bump = _between_feet(above, peak, fps)
    for _ in range(2):
        if bump is None or not bump.complete or bump.offset - bump.onset > fps:
            break
        before, after = (level(curve, *flank) for flank in _flanks(bump, fps))
        zero = np.interp(np.arange(len(curve)), [bump.onset, bump.offset], [before, after])
        above = curve - zero
        bump = _between_feet(above, bump.apex, fps)
    if bump is None:
        return None
    near = bump.height - NEAR_TOP * _noise(curve, bump, fps)
    rise = above[bump.onset : bump.apex + 1]
    return replace(bump, apex=bump.onset + int((rise >= near).argmax()))


def _flanks(bump: Bump, fps: float) -> tuple[tuple[int, int], tuple[int, int]]:
    """First index, and one past the last, of the stretch before a bump and of the one after it."""
    flank, gap = round(FLANK * fps), max(1, round(GAP * fps))
    before, after = bump.onset - gap, bump.offset + gap
    return (before - flank, before), (after, after + flank)


def _noise(curve: Array, bump: Bump, fps: float) -> float:
    """Standard deviation of a curve about the levels of its flanks, by the median deviation."""
    parts = [curve[max(first, 0) : max(stop, 0)] for first, stop in _flanks(bump, fps)]
    around = [part - np.median(part) for part in parts if len(part)]
    return 1.4826 * float(np.median(np.abs(np.concatenate(around)))) if around else 0.0


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
