"""Action units of FACS as displacement fields around the landmarks of a face, and emotions as FACS.

An action unit is a handful of blobs: at a landmark (plus an offset), skin moves in one direction by
an amount that falls off as a Gaussian. The table below is written for the right half of the picture
and mirrored for the left. Positions and widths are in distances between the eye centres (IOD,
63 mm), motions in hundredths of it (0.6 mm): what a clear micro-expression shows at its apex.
Source of the directions: Ekman, Friesen and Hager, Facial Action Coding System (2002), and the
muscles' lines of pull; of the combinations: its investigator's guide and EMFACS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from microexpr.template import INDEX, LANDMARKS, face_axes

Array = NDArray[np.floating[Any]]


class Blob(NamedTuple):
    """Skin around a landmark that moves together.

    Attributes:
        landmark: Name in `microexpr.template.LANDMARKS`.
        dx: Motion at the centre, hundredths of IOD, to the right (outwards: the right half).
        dy: The same, downwards.
        sx: Standard deviation of the Gaussian in x, IOD.
        sy: The same in y.
        x: Offset of the centre from the landmark, IOD.
        y: The same in y.
    """

    landmark: str
    dx: float
    dy: float
    sx: float
    sy: float
    x: float = 0.0
    y: float = 0.0


UNITS: dict[str, tuple[Blob, ...]] = {
    "1": (  # inner brow raiser: frontalis, medial part
        Blob("brow_inner", 0.0, -2.2, 0.17, 0.14, 0.04),
        Blob("brow_middle", 0.0, -0.8, 0.15, 0.12, -0.06),
        Blob("forehead_inner", 0.0, -1.3, 0.24, 0.16),
        Blob("glabella", 0.0, -0.8, 0.12, 0.14),
        Blob("lid_upper", 0.0, -0.5, 0.14, 0.07, -0.12, -0.06),
    ),
    "2": (  # outer brow raiser: frontalis, lateral part
        Blob("brow_outer", 0.2, -2.0, 0.16, 0.13, -0.06),
        Blob("brow_middle", 0.1, -1.4, 0.17, 0.13),
        Blob("forehead_outer", 0.0, -1.2, 0.24, 0.16),
        Blob("lid_upper", 0.0, -0.5, 0.14, 0.07, 0.12, -0.06),
    ),
    "4": (  # brow lowerer: corrugator, procerus
        Blob("brow_inner", -1.2, 1.6, 0.17, 0.13),
        Blob("brow_middle", -0.9, 1.1, 0.18, 0.12),
        Blob("glabella", 0.0, 1.2, 0.14, 0.16),
        Blob("lid_upper", -0.3, 0.8, 0.18, 0.08, -0.06, -0.08),
        Blob("forehead_inner", -0.3, 0.5, 0.20, 0.14),
    ),
    "5": (  # upper lid raiser: levator palpebrae
        Blob("lid_upper", 0.0, -1.6, 0.20, 0.07),
        Blob("lid_upper", 0.0, -0.5, 0.22, 0.08, 0.0, -0.12),
    ),
    "6": (  # cheek raiser: orbicularis oculi, orbital part
        Blob("cheekbone", -0.2, -1.4, 0.24, 0.16, -0.08, -0.08),
        Blob("crow_feet", -1.0, 0.2, 0.13, 0.14),
        Blob("eye_bag", -0.1, -1.0, 0.20, 0.08),
        Blob("brow_outer", -0.2, 0.4, 0.14, 0.10),
    ),
    "7": (  # lid tightener: orbicularis oculi, palpebral part
        Blob("lid_lower", -0.3, -1.0, 0.19, 0.06),
        Blob("eye_bag", -0.2, -0.6, 0.20, 0.08),
        Blob("lid_upper", 0.0, 0.5, 0.19, 0.06),
        Blob("crow_feet", -0.4, 0.0, 0.10, 0.10),
    ),
    "9": (  # nose wrinkler: levator labii superioris alaeque nasi
        Blob("nose_wing", 0.0, -1.6, 0.13, 0.12),
        Blob("nose_wing", -0.1, -1.4, 0.12, 0.15, -0.14, -0.28),
        Blob("brow_inner", -0.6, 0.9, 0.15, 0.12),
        Blob("glabella", 0.0, 0.7, 0.12, 0.12),
        Blob("fold_upper", 0.1, -1.1, 0.15, 0.14),
        Blob("lip_upper_side", 0.0, -0.8, 0.16, 0.10),
        Blob("eye_bag", -0.1, -0.5, 0.15, 0.08, -0.14),
    ),
    "10": (  # upper lip raiser: levator labii superioris
        Blob("lip_upper_side", 0.1, -1.7, 0.16, 0.10),
        Blob("lip_upper", 0.0, -1.0, 0.12, 0.08),
        Blob("fold_middle", 0.2, -1.2, 0.16, 0.14),
        Blob("fold_upper", 0.1, -1.0, 0.14, 0.13),
        Blob("nose_wing", 0.0, -0.5, 0.12, 0.10),
    ),
    "12": (  # lip corner puller: zygomaticus major
        Blob("mouth_corner", 1.5, -1.4, 0.17, 0.15),
        Blob("fold_middle", 1.2, -1.2, 0.18, 0.18),
        Blob("cheek", 0.9, -1.1, 0.24, 0.20),
        Blob("cheek_low", 0.9, -0.7, 0.18, 0.18),
        Blob("lip_upper_side", 0.6, -0.5, 0.13, 0.09),
        Blob("lip_lower_side", 0.7, -0.4, 0.14, 0.10),
        Blob("eye_bag", 0.0, -0.3, 0.20, 0.08),
    ),
    "14": (  # dimpler: buccinator
        Blob("mouth_corner", 1.0, 0.0, 0.13, 0.12),
        Blob("cheek_low", -0.5, 0.0, 0.13, 0.16, 0.08),
        Blob("lip_upper_side", 0.4, 0.1, 0.12, 0.08),
        Blob("lip_lower_side", 0.4, -0.1, 0.12, 0.08),
    ),
    "15": (  # lip corner depressor: depressor anguli oris
        Blob("mouth_corner", 0.2, 1.8, 0.16, 0.14),
        Blob("mouth_corner", 0.1, 1.3, 0.17, 0.16, 0.05, 0.22),
        Blob("lip_lower_side", 0.2, 0.6, 0.13, 0.09),
        Blob("fold_middle", 0.0, 0.5, 0.14, 0.16),
    ),
    "17": (  # chin raiser: mentalis
        Blob("chin_boss", 0.0, -1.9, 0.26, 0.15),
        Blob("lip_lower", 0.0, -1.4, 0.20, 0.10),
        Blob("lip_upper", 0.0, -0.4, 0.16, 0.08),
        Blob("mouth_corner", 0.0, 0.4, 0.12, 0.10),
    ),
    "20": (  # lip stretcher: risorius
        Blob("mouth_corner", 1.9, 0.3, 0.18, 0.15),
        Blob("cheek_low", 1.2, 0.2, 0.20, 0.20),
        Blob("lip_lower_side", 1.0, 0.3, 0.15, 0.10),
        Blob("lip_upper_side", 0.6, 0.1, 0.14, 0.09),
        Blob("jaw", 0.5, 0.2, 0.20, 0.20),
    ),
    "23": (  # lip tightener: orbicularis oris, inwards
        Blob("mouth_corner", -0.8, 0.0, 0.13, 0.11),
        Blob("lip_upper_side", -0.3, 0.5, 0.15, 0.07),
        Blob("lip_lower_side", -0.3, -0.5, 0.15, 0.07),
        Blob("lip_upper", 0.0, 0.5, 0.14, 0.07),
        Blob("lip_lower", 0.0, -0.6, 0.14, 0.07),
    ),
    "24": (  # lip pressor: orbicularis oris, lips against each other
        Blob("lip_upper", 0.0, 0.9, 0.20, 0.07),
        Blob("lip_lower", 0.0, -1.2, 0.20, 0.08),
        Blob("lip_upper_side", 0.0, 0.7, 0.15, 0.07),
        Blob("lip_lower_side", 0.0, -0.8, 0.15, 0.07),
        Blob("chin_boss", 0.0, -0.7, 0.22, 0.14),
    ),
    "25": (  # lips part
        Blob("lip_lower", 0.0, 1.5, 0.22, 0.10),
        Blob("lip_lower_side", 0.0, 0.8, 0.15, 0.09),
        Blob("lip_upper", 0.0, -0.5, 0.20, 0.08),
        Blob("chin_boss", 0.0, 0.5, 0.22, 0.16),
    ),
    "26": (  # jaw drop
        Blob("lip_lower", 0.0, 2.2, 0.24, 0.12),
        Blob("lip_lower_side", 0.0, 1.4, 0.16, 0.11),
        Blob("chin_boss", 0.0, 2.4, 0.30, 0.20),
        Blob("chin", 0.0, 2.2, 0.36, 0.20),
        Blob("jaw", -0.1, 1.2, 0.25, 0.25),
        Blob("mouth_corner", -0.2, 0.8, 0.14, 0.12),
    ),
    "45": (  # blink: levator palpebrae relaxed, lids close
        Blob("lid_upper", 0.0, 2.8, 0.20, 0.07),
        Blob("lid_upper", 0.0, 0.8, 0.22, 0.08, 0.0, -0.12),
        Blob("lid_lower", -0.2, -0.4, 0.18, 0.06),
    ),
}
UNIT_INDEX = {unit: i for i, unit in enumerate(UNITS)}
EXPRESSIVE = tuple(unit for unit in UNITS if unit != "45")
# How often a unit is seen on one side only, from the L and R in the AU codes of DFME (2629 clips);
# 14 by EMFACS, where contempt is one-sided. Units of the midline have no sides.
ONE_SIDED = {
    "1": 0.19,
    "2": 0.29,
    "4": 0.06,
    "5": 0.12,
    "6": 0.06,
    "7": 0.09,
    "10": 0.35,
    "12": 0.25,  # 0.43 with DFME's one-sided smiles of contempt
    "14": 0.50,
    "15": 0.22,
    "20": 0.28,
}


@dataclass(frozen=True, slots=True)
class Mix:
    """Action units that show an emotion together, and how often among those that do."""

    units: tuple[str, ...]
    weight: float


EMOTIONS: dict[str, tuple[Mix, ...]] = {
    "anger": (
        Mix(("4",), 4),
        Mix(("4", "7"), 4),
        Mix(("7",), 1),
        Mix(("4", "5"), 1),
        Mix(("4", "23"), 1),
        Mix(("4", "24"), 1),
        Mix(("23",), 1),
        Mix(("24",), 1),
        Mix(("17", "24"), 1),
    ),
    "contempt": (
        Mix(("14",), 4),
        Mix(("14", "17"), 1),
        Mix(("14", "24"), 1),
    ),
    "disgust": (
        Mix(("9",), 2),
        Mix(("4", "9"), 2),
        Mix(("10",), 2),
        Mix(("4", "10"), 2),
        Mix(("4", "7"), 2),
        Mix(("4", "7", "9"), 1),
        Mix(("9", "17"), 1),
        Mix(("10", "17"), 1),
    ),
    "fear": (
        Mix(("1", "4"), 3),
        Mix(("1", "2", "4"), 1),
        Mix(("1", "4", "5"), 1),
        Mix(("4", "5"), 1),
        Mix(("20",), 3),
        Mix(("1", "4", "20"), 1),
    ),
    "happiness": (
        Mix(("12",), 4),
        Mix(("6", "12"), 4),
        Mix(("12", "25"), 1),
        Mix(("7", "12"), 1),
        Mix(("12", "14"), 0.5),  # smiles held back
        Mix(("12", "17"), 0.5),
        Mix(("12", "24"), 0.5),
    ),
    "sadness": (
        Mix(("15",), 3),
        Mix(("15", "17"), 2),
        Mix(("17",), 2),
        Mix(("1", "4"), 2),
        Mix(("1", "4", "15"), 1),
        Mix(("4", "15"), 1),
    ),
    "surprise": (
        Mix(("1", "2"), 5),
        Mix(("1", "2", "5"), 2),
        Mix(("1",), 1),
        Mix(("2",), 1),
        Mix(("5",), 1),
        Mix(("1", "2", "25"), 1),
        Mix(("1", "2", "26"), 1),
    ),
}


class Blobs(NamedTuple):
    """Blobs in a picture, ``(..., blobs, 2)`` each, pixels, x before y.

    The blobs stand in the order of `UNITS`, each for the left half of the picture, then the right.
    """

    centre: Array
    width: Array
    motion: Array


def _flatten() -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], Array]:
    """The table as arrays: landmark, unit, side, and (x, y, sx, sy, dx, dy) per blob."""
    landmark, unit, side, numbers = [], [], [], []
    for name, blobs in UNITS.items():
        for blob in blobs:
            midline = LANDMARKS[INDEX[blob.landmark]].x == 0
            share = 0.5 if midline else 1.0  # the two sides of a midline blob add up to it
            for mirror in (-1, 1):
                landmark.append(INDEX[blob.landmark])
                unit.append(UNIT_INDEX[name])
                side.append(int(mirror > 0))
                dx, dy = blob.dx * mirror * share / 100, blob.dy * share / 100
                numbers.append((blob.x * mirror, blob.y, blob.sx, blob.sy, dx, dy))
    return np.array(landmark), np.array(unit), np.array(side), np.array(numbers, np.float32)


BLOB_COUNT = 2 * sum(len(blobs) for blobs in UNITS.values())


def place(points: Array, activation: Array) -> Blobs:
    """The blobs of active units on a face.

    Args:
        points: ``(..., landmarks, 2, 2)`` pixels, as `microexpr.template.template` arranges them.
        activation: ``(..., units, 2)`` per unit in the order of `UNITS` and per side of the
            picture (0 left, 1 right): 0 absent, 1 a clear micro-expression.

    Returns:
        `Blobs` with `BLOB_COUNT` blobs.
    """
    landmark, unit, side, numbers = _flatten()
    axes = face_axes(points)
    length = np.sqrt((axes**2).sum(axis=-1))[..., None, :]
    centre = points[..., landmark, side, :] + np.matmul(numbers[:, 0:2], axes)
    width = numbers[:, 2:4] * length
    motion = np.matmul(numbers[:, 4:6], axes) * activation[..., unit, side][..., None]
    return Blobs(centre, width, motion)


def splat(blobs: Blobs, height: int, width: int) -> Array:
    """The field that the blobs add up to: ``sum_k motion_k exp(-dx^2/2sx^2 - dy^2/2sy^2)``.

    A Gaussian along the axes is a product of one in x and one in y, so the sum over blobs is a
    matrix product.

    Args:
        blobs: ``(..., blobs, 2)`` each; pixel (row r, column c) has its centre at (c + .5, r + .5).
        height: Rows of the picture.
        width: Columns of the picture.

    Returns:
        Float32 ``(..., 2, height, width)``: u and v in pixels.
    """
    x = _gaussian(width, blobs.centre[..., 0], blobs.width[..., 0])
    y = _gaussian(height, blobs.centre[..., 1], blobs.width[..., 1])
    weighted = blobs.motion.swapaxes(-1, -2)[..., :, :, None] * x[..., None, :, :]
    field: Array = np.matmul(y.swapaxes(-1, -2)[..., None, :, :], weighted)
    return field.astype(np.float32)


def _gaussian(count: int, centre: Array, width: Array) -> Array:
    """``(..., blobs, count)``: each blob's profile along a line of pixels."""
    pixel = np.arange(count, dtype=np.float32) + np.float32(0.5)
    profile: Array = np.exp(-0.5 * ((pixel - centre[..., None]) / width[..., None]) ** 2)
    return profile


def displacement(points: Array, activation: Array, height: int, width: int) -> Array:
    """The displacement field of active units on a face: `place`, then `splat`.

    Args:
        points: ``(..., landmarks, 2, 2)`` pixels of the picture.
        activation: ``(..., units, 2)``; see `activations` to name them.
        height: Rows of the picture.
        width: Columns of the picture.

    Returns:
        Float32 ``(..., 2, height, width)``: u (right) and v (down) in pixels.
    """
    return splat(place(points, activation), height, width)


def activations(units: dict[str, float | tuple[float, float]]) -> Array:
    """An activation array from names.

    Args:
        units: ``{"12": 1.0}`` for both sides, ``{"14": (0.0, 1.0)}`` for (left, right) of the
            picture.

    Returns:
        Float32 ``(units, 2)``.
    """
    array = np.zeros((len(UNITS), 2), np.float32)
    for unit, strength in units.items():
        array[UNIT_INDEX[unit]] = strength
    return array
