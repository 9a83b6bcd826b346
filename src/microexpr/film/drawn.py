"""A face drawn from the template: a portrait that needs no photograph and no face model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from microexpr.film.portrait import Portrait
from microexpr.template import INDEX, template

Array = NDArray[np.float32]
Colour = NDArray[np.floating[Any]]  # red, green, blue; or a picture of them
Place = Callable[[float, float], Array]

SIDE, EYES = 720, 150.0  # pixels of the picture, and between the eyes
_SUB = 4  # bits of a fraction of a pixel in which OpenCV takes points


def drawn_portrait(person: int = 0) -> Portrait:
    """Draws a frontal face with skin, hair, eyes, nose and mouth.

    Args:
        person: Decides colours, the skin's texture and small differences of build.
    """
    rng = np.random.default_rng([person, 6])
    points = _build(rng)
    image = _background(rng)
    skin = np.array([224, 180, 150]) * rng.uniform(0.62, 1.05) + rng.normal(0, 3, 3)
    hair = np.array([60, 42, 30]) * rng.uniform(0.3, 2.2)
    _head(image, points, skin, hair)
    _features(image, points, skin, hair, rng)
    image = np.asarray(cv2.GaussianBlur(image, None, 1.0), np.float32)
    image += _texture(rng, 1.5, 5.0) + _texture(rng, 6.0, 4.0)
    lids = np.stack([_lids(points, side) for side in (0, 1)])
    return Portrait(np.clip(image, 0, 255).astype(np.uint8), points, lids)


def _build(rng: np.random.Generator) -> Array:
    """The template's landmarks in pixels, a little longer or wider for each person."""
    place = template() * np.exp(rng.normal(0, 0.025, 2)).astype(np.float32)
    eyes = place[[INDEX["eye_inner"], INDEX["eye_outer"]]].mean(axis=0)
    place = place * (1 / np.ptp(eyes[:, 0]))
    return np.asarray(place * EYES + np.array([SIDE / 2, 0.42 * SIDE]), np.float32)


def _background(rng: np.random.Generator) -> Array:
    """A wall with a gradient, float32 ``(SIDE, SIDE, 3)``."""
    wall = np.linspace(0.85, 1.1, SIDE)[:, None, None] * (130 + rng.normal(0, 15, 3))
    return np.asarray(np.tile(wall, (1, SIDE, 1)) + _texture(rng, 20.0, 10.0), np.float32)


def _texture(rng: np.random.Generator, sigma: float, level: float) -> Array:
    """Smooth noise of one scale, ``(SIDE, SIDE, 1)``; `level` is its standard deviation."""
    noise = cv2.GaussianBlur(rng.standard_normal((SIDE, SIDE)).astype(np.float32), None, sigma)
    return np.asarray(noise * (level / noise.std()), np.float32)[..., None]


def _head(image: Array, points: Array, skin: Colour, hair: Colour) -> None:
    """Hair, neck, ears and the shaded face."""
    at = _placed(points)
    top, chin, side = at(0, -1.15), at(0, 1.78), at(1.16, 0.4)
    wide, middle = side[0] - top[0], (top + chin) / 2
    half = (chin[1] - top[1]) / 2
    _ellipse(image, middle - np.array([0, 0.13 * half]), (1.13 * wide, 1.08 * half), hair)
    _fill(image, [at(-0.62, 1.2), at(0.62, 1.2), at(0.75, 3.2), at(-0.75, 3.2)], 0.82 * skin, 6)
    _fill(image, [at(-2.6, 3.2), at(-0.8, 2.35), at(0.8, 2.35), at(2.6, 3.2)], 0.8 * hair + 20, 4)
    for sign in (-1, 1):
        _ellipse(image, at(sign * 1.2, 0.3), (0.13 * EYES, 0.3 * EYES), 0.9 * skin)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    u, v = (x - middle[0]) / wide, (y - middle[1]) / half
    narrow = 1 - 0.16 * np.clip(v, 0, 1) ** 2  # towards the chin
    radius = np.sqrt((u / narrow) ** 2 + v**2)
    shade = 1.06 - 0.30 * np.clip(radius, 0, 1) ** 3 + 0.05 * u - 0.05 * v
    _paint(image, np.clip((1 - radius) * wide / 2, 0, 1), shade[..., None] * skin)
    fringe = [at(-1.18, -0.2), at(-0.95, -0.72), at(0, -0.86), at(0.95, -0.72), at(1.18, -0.2)]
    _fill(image, [*fringe, at(0.7, -1.15), at(-0.7, -1.15)], hair, 6)


def _features(
    image: Array, points: Array, skin: Colour, hair: Colour, rng: np.random.Generator
) -> None:
    """Brows, eyes, nose and mouth."""
    at = _placed(points)
    iris = np.array([70, 60, 50]) + rng.uniform(-30, 60, 3)
    for side, sign in ((0, -1), (1, 1)):
        brow = [points[INDEX[f"brow_{part}"], side] for part in ("inner", "middle", "outer")]
        lower = [point + np.array([0, 0.09 * EYES], np.float32) for point in (brow[1], brow[0])]
        _fill(image, [*brow, *lower], 0.75 * hair + 10, 3)
        lids = _lids(points, side)
        _eye(image, lids, iris, skin)
        crease = lids[0] - np.array([0, 0.07 * EYES], np.float32)
        _line(image, crease, 0.72 * skin, 3, 2)
        bag = lids[1] + np.array([0, 0.09 * EYES], np.float32)
        _line(image, bag, 0.84 * skin, 4, 3)
        _line(image, [at(sign * 0.13, -0.05), at(sign * 0.17, 0.35)], 0.88 * skin, 10, 8)
        _ellipse(image, at(sign * 0.14, 0.64), (0.075 * EYES, 0.04 * EYES), 0.35 * skin)
        wing = [at(sign * 0.27, 0.46), at(sign * 0.33, 0.57), at(sign * 0.24, 0.66)]
        _line(image, wing, 0.7 * skin, 4, 3)
        fold = [at(sign * 0.4, 0.64), at(sign * 0.5, 0.8), at(sign * 0.56, 1.0)]
        _line(image, fold, 0.85 * skin, 6, 5)
        _ellipse(
            image, at(sign * 0.68, 0.6), (0.24 * EYES, 0.18 * EYES), skin * [1.05, 0.9, 0.9], 12
        )
    _line(image, [at(0, 0.0), at(0, 0.5)], 1.12 * skin, 12, 9)
    _mouth(image, at, skin)
    _line(image, [at(-0.2, 1.36), at(0, 1.33), at(0.2, 1.36)], 0.8 * skin, 7, 6)


def _eye(image: Array, lids: Array, iris: Colour, skin: Colour) -> None:
    outline = np.concatenate([lids[0], lids[1][::-1]])
    eye = image.copy()
    _fill(eye, outline, np.array([235, 232, 228]), 1)
    middle = (lids[0].mean(axis=0) + lids[1].mean(axis=0)) / 2
    for radius, colour in ((0.115, 0.6 * iris), (0.1, iris), (0.045, 0.1 * iris)):
        _ellipse(eye, middle, (radius * EYES, radius * EYES), colour, 1)
    glint = middle + np.array([0.03 * EYES, -0.03 * EYES], np.float32)
    _ellipse(eye, glint, (0.02 * EYES, 0.02 * EYES), np.full(3, 250.0), 1)
    inside = _mask(outline, 1)
    _paint(image, inside, eye)
    _line(image, lids[0], 0.25 * skin, 6, 1)
    _line(image, lids[1], 0.62 * skin, 2, 1)


def _mouth(image: Array, at: Place, skin: Colour) -> None:
    lips = skin * np.array([0.92, 0.6, 0.62])
    corner, sides = 0.42, ((-0.25, 0.95), (-0.08, 0.92), (0, 0.94), (0.08, 0.92), (0.25, 0.95))
    between = [at(-corner, 1.04), at(-0.2, 1.045), at(0, 1.055), at(0.2, 1.045), at(corner, 1.04)]
    _fill(image, [between[0], *(at(*p) for p in sides), *between[:0:-1]], 0.92 * lips, 2)
    below = [at(x, y) for x, y in ((0.23, 1.15), (0, 1.2), (-0.23, 1.15))]
    _fill(image, [*between, *below], lips, 2)
    _line(image, between, 0.4 * lips, 4, 1)


def _placed(points: Array) -> Place:
    """Places on the face, in distances between the eyes from their middle, as pixels."""
    corners = points[[INDEX["eye_inner"], INDEX["eye_outer"]]].mean(axis=0)
    middle = corners.mean(axis=0)
    down = float(points[INDEX["chin"], 0, 1] - middle[1]) / 1.74
    return lambda x, y: np.asarray(middle + np.array([x * EYES, y * down]), np.float32)


def _lids(points: Array, side: int) -> Array:
    """``(2, 9, 2)``: upper and lower lid, from left to right."""
    inner, outer, upper, lower = (
        points[INDEX[name], side] for name in ("eye_inner", "eye_outer", "lid_upper", "lid_lower")
    )
    part = np.linspace(0, 1, 9, dtype=np.float32)[:, None]
    left, right = (outer, inner) if side == 0 else (inner, outer)
    line = left + part * (right - left)
    bend = 1 - (2 * part - 1) ** 2
    middle = (inner + outer) / 2
    return np.stack([line + bend * (0, lid[1] - middle[1]) for lid in (upper, lower)]).astype(
        np.float32
    )


def _mask(outline: Colour | list[Array], soft: float) -> Array:
    """1 inside a polygon, 0 outside, ``(SIDE, SIDE)``; its edge is `soft` pixels wide."""
    mask = np.zeros((SIDE, SIDE), np.float32)
    fixed = np.round(np.array(outline, np.float64) * 2**_SUB).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 1.0, cv2.LINE_8, _SUB)
    return np.asarray(cv2.GaussianBlur(mask, None, soft), np.float32)


def _fill(image: Array, outline: Colour | list[Array], colour: Colour, soft: float) -> None:
    _paint(image, _mask(outline, soft), colour)


def _line(
    image: Array, points: Array | list[Array], colour: Colour, width: int, soft: float
) -> None:
    mask = np.zeros((SIDE, SIDE), np.float32)
    fixed = np.round(np.array(points, np.float64) * 2**_SUB).astype(np.int32)
    cv2.polylines(mask, [fixed], False, 1.0, width, cv2.LINE_8, _SUB)
    _paint(image, np.asarray(cv2.GaussianBlur(mask, None, soft), np.float32), colour)


def _ellipse(
    image: Array, centre: Colour, radii: tuple[float, float], colour: Colour, soft: float = 2.0
) -> None:
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    rim = np.asarray(centre) + np.stack([np.cos(angle), np.sin(angle)], axis=1) * radii
    _fill(image, rim, colour, soft)


def _paint(image: Array, mask: Array, colour: Colour) -> None:
    image += mask[..., None] * (np.asarray(colour, np.float32) - image)
