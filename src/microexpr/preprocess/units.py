"""Which regions of a face moved, in words, and the action units that such a motion suggests.

A suggestion, not a coding: the displacement of the regions is explained by the units of
`microexpr.anatomy` one after the other, as long as each explains a good deal more. A certified
coder sees wrinkles and bulges too; flow does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microexpr.anatomy import EXPRESSIVE, UNIT_INDEX, UNITS, place
from microexpr.preprocess.motion import REGIONS, SPREAD, Region
from microexpr.template import INDEX, template

MOST = 3  # units suggested for one event
GAIN = 0.08  # share of the motion (sum of squares) that a further unit must explain
FIRST = 0.2  # the same for the first one; below it nothing is suggested
WEAKEST = 0.05  # strength below which a unit is no suggestion, 1 being a clear micro-expression

Array = NDArray[np.floating[Any]]

UNIT_NAMES = {
    "1": "inner brow raiser",
    "2": "outer brow raiser",
    "4": "brow lowerer",
    "5": "upper lid raiser",
    "6": "cheek raiser",
    "7": "lid tightener",
    "9": "nose wrinkler",
    "10": "upper lip raiser",
    "12": "lip corner puller",
    "14": "dimpler",
    "15": "lip corner depressor",
    "17": "chin raiser",
    "20": "lip stretcher",
    "23": "lip tightener",
    "24": "lip pressor",
    "25": "lips part",
    "26": "jaw drop",
    "45": "blink",
}
_REGION_NAMES = {
    "lid_upper": "upper eyelid",
    "lid_lower": "lower eyelid",
    "crow_feet": "outer corner of the eye",
    "eye_bag": "skin below the eye",
    "brow_inner": "inner brow",
    "brow_middle": "middle of the brow",
    "brow_outer": "outer brow",
    "forehead_inner": "inner forehead",
    "forehead_outer": "outer forehead",
    "cheek_low": "lower cheek",
    "nose_wing": "wing of the nose",
    "fold_upper": "fold beside the nose",
    "fold_middle": "fold beside the mouth",
    "mouth_corner": "corner of the mouth",
    "lip_upper_side": "side of the upper lip",
    "lip_lower_side": "side of the lower lip",
    "glabella": "skin between the brows",
    "nose_tip": "tip of the nose",
    "lip_upper": "upper lip",
    "lip_lower": "lower lip",
    "chin_boss": "front of the chin",
}


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An action unit that would move the face as it moved.

    Attributes:
        unit: Its number in FACS.
        side: ``"left"`` or ``"right"`` of the picture, ``"both"``.
        strength: 1 is what `microexpr.anatomy` calls a clear micro-expression.
        explains: Share of the motion (sum of squares over the regions) that it added, 0..1.
    """

    unit: str
    side: str
    strength: float
    explains: float


def region_name(region: Region) -> str:
    """A region in plain words.

    >>> region_name(Region("mouth_corner", "left"))
    'corner of the mouth, left in the picture'
    """
    name = _REGION_NAMES.get(region.landmark, region.landmark.replace("_", " "))
    return name if region.side == "middle" else f"{name}, {region.side} in the picture"


def most_active(shift: Array, count: int = 5) -> list[int]:
    """Indices of the regions that moved furthest, the furthest first; those at rest are left out.

    Args:
        shift: ``(regions, 2)`` IOD, in the order of `microexpr.preprocess.motion.REGIONS`.
        count: How many at most.
    """
    length = np.linalg.norm(shift, axis=1)
    order = np.argsort(-length)[:count]
    return [int(i) for i in order if length[i] > 0]


def unit_shifts(activation: Array) -> Array:
    """Displacement of the regions of the template face when units are active.

    A region is a Gaussian window, a unit a sum of Gaussian blobs; the mean of a blob over a window
    is a Gaussian of the summed variances.

    Args:
        activation: ``(units, 2)`` as in `microexpr.anatomy.place`.

    Returns:
        ``(regions, 2)`` IOD, right and down.
    """
    blobs = place(template(), activation)
    sides = {"left": 0, "middle": 0, "right": 1}
    centres = np.array([template()[INDEX[r.landmark], sides[r.side]] for r in REGIONS])
    spread = np.sqrt(blobs.width**2 + SPREAD**2)
    away = (centres[:, None] - blobs.centre) / spread
    share = np.prod(blobs.width / spread, axis=-1) * np.exp(-0.5 * (away**2).sum(axis=-1))
    return np.asarray(share @ blobs.motion)


def suggest_units(shift: Array) -> list[Suggestion]:
    """The action units that best explain a motion, at most `MOST`, the first the most telling.

    Forward selection: the unit (on one side or both) whose least-squares fit, together with those
    already chosen and with no negative strength, leaves the least motion unexplained.

    Args:
        shift: ``(regions, 2)`` IOD.

    Returns:
        Empty where no unit explains a fifth of the motion.
    """
    observed = np.asarray(shift, np.float64).reshape(-1)
    total = float(observed @ observed)
    names, columns = _dictionary()
    chosen: list[int] = []
    strengths: Array = np.zeros(0)
    shares: list[float] = []
    while total > 0 and len(chosen) < MOST:
        best = _best_addition(observed, columns, names, chosen)
        if best is None:
            break
        at, found, left = best
        share = 1 - left / total - sum(shares)
        if share < (GAIN if chosen else FIRST) or found.min() < WEAKEST:
            break
        chosen, strengths, shares = [*chosen, at], found, [*shares, share]
    return [
        Suggestion(*names[at], round(float(strength), 3), round(float(share), 3))
        for at, strength, share in zip(chosen, strengths, shares, strict=True)
    ]


def _dictionary() -> tuple[list[tuple[str, str]], Array]:
    """Every unit on both sides and on each alone, and how it moves the regions ``(2r, n)``."""
    names, columns = [], []
    for unit in EXPRESSIVE:
        sides = {"both": (1.0, 1.0), "left": (1.0, 0.0), "right": (0.0, 1.0)}
        for side, pair in sides.items():
            activation = np.zeros((len(UNITS), 2))
            activation[UNIT_INDEX[unit]] = pair
            names.append((unit, side))
            columns.append(unit_shifts(activation).reshape(-1))
    return names, np.stack(columns, axis=1).astype(np.float64)


def _best_addition(
    observed: Array, columns: Array, names: Sequence[tuple[str, str]], chosen: list[int]
) -> tuple[int, Array, float] | None:
    """The column to add, the strengths of all chosen, and the sum of squares that is left."""
    taken = {names[i][0] for i in chosen}
    best: tuple[int, Array, float] | None = None
    for at, (unit, _) in enumerate(names):
        if unit in taken:
            continue
        part = columns[:, [*chosen, at]]
        strengths = np.linalg.lstsq(part, observed, rcond=None)[0]
        left = float(((observed - part @ strengths) ** 2).sum())
        if strengths.min() > 0 and (best is None or left < best[2]):
            best = at, strengths, left
    return best
