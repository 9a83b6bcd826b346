"""From action units to an optical flow field as a camera and TV-L1 would have given it.

Adds to the skin's motion what a real recording adds: a face and a crop of one's own, a moving head,
skin whose motion shows unevenly, and the errors of the flow. A field is a function on a picture of
side 1, decided by random numbers of fixed shapes; it can be sampled at any size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from microexpr.anatomy import BLOB_COUNT, Blobs, place, splat
from microexpr.encoding import resample
from microexpr.roughness import bursts, outliers, patched, streaked
from microexpr.template import INDEX, LANDMARKS, template

Array = NDArray[np.floating[Any]]
Shapes = Mapping[str, tuple[int, ...]]

_GRIDS = {"coarse": 4, "middle": 9, "fine": 24}  # cells across the picture: three scales of noise
_SPIKES = 3
VARYING = 0.6  # log-normal spread of noise and head motion from clip to clip

# What is random, and the shape of its numbers. Gaussian ones first, then uniform in [0, 1).
PERSON: Shapes = {"build": (5,), "points": (len(LANDMARKS), 2, 2), "side": (2,)}
PERSON_UNIFORM: Shapes = {"framing": (3,)}
CLIP: Shapes = {
    "crop": (5,),
    "blob": (BLOB_COUNT, 6),
    "fill": (1,),
    "texture": (5, 5),
    "head": (7,),
    "noise": (3,),
    **{name: (2, cells, cells) for name, cells in _GRIDS.items()},
    "spike": (_SPIKES, 2),
}
CLIP_UNIFORM: Shapes = {"shrink": (1,), "spike_place": (_SPIKES, 4)}


class Face(NamedTuple):
    """Where faces lie in their pictures.

    Attributes:
        points: ``(clips, landmarks, 2, 2)`` as `microexpr.template.template`, side of picture = 1.
        scale: ``(clips, 2)``: one IOD in x and in y.
        x: ``(clips, size, size)``: each pixel's x on the face, IOD from the middle of the eyes.
        y: The same downwards.
    """

    points: Array
    scale: Array
    x: Array
    y: Array


def render(activation: Array, chance: Mapping[str, Array], size: int) -> NDArray[np.float32]:
    """Flow fields of faces that show these action units.

    Args:
        activation: ``(clips, units, 2)`` as in `microexpr.anatomy.place`.
        chance: For every key of `PERSON`, `PERSON_UNIFORM`, `CLIP` and `CLIP_UNIFORM` an array
            ``(clips, *shape)`` of random numbers; with those of `microexpr.roughness` the fields
            are as rough as TV-L1 makes them.
        size: Side of the fields.

    Returns:
        Float32 ``(clips, 2, size, size)``: u and v in pixels of that size.
    """
    face = _face(chance, size)
    # wider than the skin that moves: TV-L1 fills smooth skin with its neighbours' motion
    moved = skin(face.points, activation, chance, size, wider=0.25 + 0.15 * chance["fill"])
    moved = moved * np.exp(0.35 * resample(chance["texture"], size))[:, None]
    field = (_rough if "burst" in chance else _smooth)(moved, face, chance, size)
    flow: NDArray[np.float32] = (field * size).astype(np.float32)
    return flow


def _smooth(moved: Array, face: Face, chance: Mapping[str, Array], size: int) -> Array:
    """Flow of moving skin with errors added to it, side of picture = 1."""
    moved = _shrink(moved, 0.003 * face.scale[:, :1] * chance["shrink"])
    field: Array = (moved + _head(chance["head"], face)) * _inside(face)[:, None]
    field += (_noise(chance, size) + _spikes(chance, size)) * face.scale[:, 0, None, None, None]
    return field


def _rough(moved: Array, face: Face, chance: Mapping[str, Array], size: int) -> Array:
    """The same as TV-L1 gives it: motion and errors shrunk together, then in patches."""
    scale = face.scale[:, 0, None, None, None]
    chance = {**chance, **{name: streaked(chance[name]) for name in _GRIDS}}
    errors = _noise(chance, size) * bursts(chance, size) + _spikes(chance, size)
    seen = _shrink(moved + errors * scale, 0.012 * face.scale[:, :1] * chance["shrink"])
    field = (seen + 0.5 * _head(chance["head"], face)) * _inside(face)[:, None]
    return patched(field, chance) + outliers(chance, size) * scale


def skin(
    points: Array,
    activation: Array,
    chance: Mapping[str, Array],
    size: int,
    wider: Array | float = 0.0,
    reach: float = 1.0,
) -> Array:
    """The motion of persons' skin alone, in their own way: sides, places, amounts and directions.

    Args:
        points: ``(clips, landmarks, 2, 2)``, side of picture = 1.
        activation: As for `render`.
        chance: ``side`` and ``blob`` as for `render`.
        size: Side of the fields in pixels.
        wider: ``(clips, 1)`` or a number: how much wider blobs are, as a logarithm.
        reach: How far they stray from their landmarks: 1 in a crop of the face alone, less where
            the face fills less of the picture.

    Returns:
        ``(clips, 2, size, size)``, side of picture = 1.
    """
    gain = np.exp(0.15 * chance["side"])[:, None, :]
    blobs = _wobble(place(points, activation * gain), chance["blob"], wider, reach)
    moved: Array = splat(Blobs(*(part * size for part in blobs)), size, size) / size
    return moved


def disturbed(chance: Mapping[str, Array], factor: float | Array) -> dict[str, Array]:
    """The random numbers of worse recordings of the same people and movements.

    Errors of the flow and the head's motion become `factor` times as large, and crops differ
    `factor` times as much from each other; at 1 nothing changes.

    Args:
        chance: As for `render`.
        factor: Above 0; one for all, or ``(clips,)``.
    """
    worse = dict(chance)
    clips = len(chance["noise"])
    times = np.broadcast_to(np.asarray(factor, np.float32), (clips,))[:, None]
    if (times == 1).all():
        return worse
    louder = np.log(times) / np.float32(VARYING)
    worse["noise"] = chance["noise"] + louder
    worse["head"] = chance["head"] + louder * (np.arange(7) == 6).astype(np.float32)
    worse["spike"] = chance["spike"] * times[:, :, None]
    worse["crop"] = chance["crop"] * times
    worse["framing"] = np.float32(0.5) + times * (chance["framing"] - np.float32(0.5))
    return worse


def _face(chance: Mapping[str, Array], size: int) -> Face:
    """Faces of differing build, in crops as data sets make them.

    A crop reaches from above the brows to about the chin and from cheek to cheek and is squeezed to
    a square.
    """
    points = build(chance["build"], chance["points"])
    crop, framing = chance["crop"], chance["framing"]
    top = -(0.36 + 0.40 * framing[:, 0]) + 0.03 * crop[:, 0]
    bottom = 1.74 - 0.25 + 0.45 * framing[:, 1] + 0.03 * crop[:, 1]
    half = (0.78 + 0.42 * framing[:, 2]) * np.exp(0.03 * crop[:, 2])
    shift, roll = 0.04 * crop[:, 3], 0.05 * crop[:, 4]
    scale = np.stack([0.5 / half, 1 / (bottom - top)], axis=-1)
    origin = np.stack([0.5 + shift * scale[:, 0], -top * scale[:, 1]], axis=-1)
    cos, sin = np.cos(roll), np.sin(roll)
    turn = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], axis=-2)
    placed = np.matmul(points, turn[:, None]) * scale[:, None, None] + origin[:, None, None]
    pixel = (np.arange(size, dtype=np.float32) + 0.5) / size
    across = ((pixel - origin[:, :1]) / scale[:, :1])[:, None, :]
    down = ((pixel - origin[:, 1:]) / scale[:, 1:])[:, :, None]
    cos, sin = cos[:, None, None], sin[:, None, None]
    return Face(placed, scale, across * cos + down * sin, down * cos - across * sin)


def build(form: Array, jitter: Array) -> Array:
    """Landmarks of persons: long or short faces, high brows, wide mouths, nothing quite even.

    Args:
        form: ``(persons, *PERSON["build"])`` Gaussian random numbers.
        jitter: ``(persons, *PERSON["points"])``, likewise.

    Returns:
        ``(persons, landmarks, 2, 2)`` as `microexpr.template.template`, IOD.
    """
    points = np.repeat(template()[None], len(form), axis=0)
    names = [landmark.name for landmark in LANDMARKS]
    brows = [i for i, name in enumerate(names) if "brow" in name or name == "glabella"]
    mouth = [i for i, name in enumerate(names) if "mouth" in name or "lip_" in name]
    lower = [i for i, name in enumerate(names) if LANDMARKS[INDEX[name]].y > 0.4]
    x, y = points[..., 0], points[..., 1]
    y[:, lower] *= np.exp(0.05 * form[:, 0, None, None])
    y[:, brows] += 0.04 * form[:, 1, None, None]
    x[:, mouth] *= np.exp(0.07 * form[:, 2, None, None])
    y[:, mouth] += 0.03 * form[:, 3, None, None]
    x *= np.exp(0.03 * form[:, 4, None, None])
    placed: Array = points + 0.015 * jitter
    return placed


def _wobble(blobs: Blobs, chance: Array, wider: Array | float, reach: float) -> Blobs:
    """Blobs somewhat elsewhere, wider or narrower, stronger or weaker, turned."""
    centre = blobs.centre + 0.02 * reach * chance[..., 0:2]
    spread = np.asarray(wider, np.float32)[..., None] + 0.2 * chance[..., 2:4]
    angle, gain = 0.3 * chance[..., 4], np.exp(0.3 * chance[..., 5])
    u, v = blobs.motion[..., 0] * gain, blobs.motion[..., 1] * gain
    cos, sin = np.cos(angle), np.sin(angle)
    motion = np.stack([u * cos - v * sin, u * sin + v * cos], axis=-1)
    return Blobs(centre, blobs.width * np.exp(spread), motion)


def _shrink(flow: Array, threshold: Array) -> Array:
    """Soft thresholding: TV-L1 leaves small motions at rest, so flow comes in patches."""
    size = np.hypot(flow[:, 0], flow[:, 1])[:, None]
    kept = np.maximum(size - threshold[:, :, None, None], 0)
    return np.divide(flow * kept, size, out=np.zeros_like(flow), where=size > 0)


def _inside(face: Face) -> Array:
    """1 on the face, 0 beside it: an ellipse with a soft edge that the jaw makes a step."""
    radius = np.sqrt((face.x / 1.12) ** 2 + ((face.y - 0.4) / 1.42) ** 2)
    inside: Array = 1 / (1 + np.exp((radius - 1) / 0.04))
    return inside


def _head(chance: Array, face: Face) -> Array:
    """The head's own motion: drift, turn in the plane, approach, and turns about its two axes.

    Its size, like that of `_noise`, is what TV-L1 gave on a video of a resting face (frames 0.1 to
    0.2 s apart): a mean of 0.3 to 0.7 hundredths of IOD once the median is removed.
    """
    level = 0.006 * np.exp(VARYING * chance[:, 6])
    drift_x, drift_y, turn, zoom, yaw, nod = (
        (level * chance[:, i])[:, None, None] for i in range(6)
    )
    x, y = face.x, face.y - 0.6
    depth = np.sqrt(np.maximum(1.2 - x**2 - (y / 1.3) ** 2, 0))
    u = drift_x - 0.5 * turn * y + 0.5 * zoom * x + 0.7 * yaw * depth
    v = drift_y + 0.5 * turn * x + 0.5 * zoom * y + 0.7 * nod * depth
    moved: Array = np.stack([u, v], axis=1) * face.scale[:, :, None, None]
    return moved


def _noise(chance: Mapping[str, Array], size: int) -> Array:
    """Errors of the flow at three scales, in IOD."""
    level = np.array([0.0020, 0.0014, 0.0008], np.float32) * np.exp(VARYING * chance["noise"])
    scales = (resample(chance[name], size) for name in _GRIDS)
    noise: Array = sum(level[:, i, None, None, None] * s for i, s in enumerate(scales))
    return noise


def _spikes(chance: Mapping[str, Array], size: int) -> Array:
    """A few small places where the flow is plainly wrong, in IOD."""
    place_, strength = chance["spike_place"], chance["spike"]
    width = np.repeat(0.015 + 0.03 * place_[..., 2:3], 2, axis=-1)
    happens = place_[..., 3:4] < 0.3
    motion = np.where(happens, 0.01 * strength, 0)
    return splat(Blobs(place_[..., :2] * size, width * size, motion), size, size)
