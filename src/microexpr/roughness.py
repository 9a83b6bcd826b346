"""What TV-L1 makes of a smooth motion: patches with sharp borders, bursts of error, outliers.

TV-L1 fills smooth skin with one motion up to the next edge of the picture, where the flow jumps;
it errs in some places much more than in others, and least where nothing is to be seen. Flow that is
smooth throughout is told from real flow at a glance (``benchmarks/two_sample.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microexpr.encoding import resample

Array = NDArray[np.floating[Any]]
Shapes = Mapping[str, tuple[int, ...]]

_SCALES = 2  # sizes of patches in one picture
_OUTLIERS = 12
_CELLS = ((5, 11), (11, 24))  # patches across a picture: fewest and most, of each size
_FLAT = 1.5  # edges of a face lie across more than down: brows, lids, lips; so do patches
# What is random, and the shape of its numbers: Gaussian ones, then uniform in [0, 1).
ROUGH: Shapes = {"burst": (8, 8), "bend": (_SCALES, 2, 12, 12), "outlier": (_OUTLIERS, 2)}
ROUGH_UNIFORM: Shapes = {
    "bursting": (1,),
    "patch": (_SCALES, 2),
    "offset": (_SCALES, 2),
    "outlier_place": (_OUTLIERS, 3),
    "outliers": (1,),
    "rim": (1,),
}


def bursts(chance: Mapping[str, Array], size: int) -> Array:
    """How much larger errors are in some places, ``(clips, 1, size, size)``.

    Args:
        chance: For every key of `ROUGH` and `ROUGH_UNIFORM` an array ``(clips, *shape)``.
        size: Side of the fields.
    """
    spread = 0.4 + 1.0 * chance["bursting"][:, :, None]
    local = np.exp(spread * resample(chance["burst"], size))
    return np.asarray(local, np.float32)[:, None]


def patched(field: Array, chance: Mapping[str, Array]) -> Array:
    """The field in patches: partly the motion in the middle of each, so that it jumps in between.

    Args:
        field: ``(clips, 2, size, size)``.
        chance: As for `bursts`.
    """
    size = field.shape[-1]
    line = (np.arange(size, dtype=np.float32) + 0.5) / size
    clip = np.arange(len(field))[:, None, None]
    for scale, (few, many) in enumerate(_CELLS):
        count, share = np.moveaxis(chance["patch"][:, scale, :, None, None], 1, 0)
        cells = few + (many - few) * count
        bend = 0.35 * resample(chance["bend"][:, scale], size)
        offset = chance["offset"][:, scale, :, None, None]
        row, column = (
            (np.floor(n * place + bend[:, axis] + offset[:, axis]) + 0.5 - offset[:, axis]) / n
            for axis, (n, place) in enumerate(
                ((_FLAT * cells, line[:, None]), (cells / _FLAT, line[None]))
            )
        )
        at = [np.clip((part * size).astype(int), 0, size - 1) for part in (row, column)]
        middle = np.moveaxis(field[clip, :, at[0], at[1]], -1, 1)
        field = field + (0.15 + 0.75 * share)[:, None] * (middle - field)
    return _rimmed(field, chance["rim"])


def _rimmed(field: Array, rim: Array) -> Array:
    """The field with its rim repeated outwards, as TV-L1 does beyond the picture."""
    size = field.shape[-1]
    margin = np.rint(0.1 * rim * size).astype(int)
    line = np.clip(np.arange(size), margin, size - 1 - margin)
    clip = np.arange(len(field))[:, None, None]
    return np.moveaxis(field[clip, :, line[:, :, None], line[:, None]], -1, 1)


def streaked(noise: Array) -> Array:
    """Noise ``(clips, 2, n, n)`` whose v is longer across than down."""
    u, v = noise[:, 0], noise[:, 1]
    v = (v + np.roll(v, 1, axis=-1)) * np.float32(0.5**0.5)
    return np.stack([u, v], axis=1)


def outliers(chance: Mapping[str, Array], size: int) -> Array:
    """Small places where the flow is plainly wrong, ``(clips, 2, size, size)``, IOD."""
    place, strength = chance["outlier_place"], chance["outlier"]
    line = (np.arange(size, dtype=np.float32) + 0.5) / size
    width = 0.012 + 0.03 * place[..., 2]
    x, y = (np.exp(-0.5 * ((line - place[..., k, None]) / width[..., None]) ** 2) for k in (0, 1))
    # heavy tails: most are small, a few are larger than any expression
    often = 0.006 * chance["outliers"][..., None]
    motion = often * strength * np.exp(0.8 * np.abs(strength[..., ::-1]))
    weighted = motion.swapaxes(1, 2)[..., None] * x[:, None]
    return np.asarray(np.matmul(y.swapaxes(1, 2)[:, None], weighted), np.float32)
