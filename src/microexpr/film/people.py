"""Drawn people who differ: build of the face, light from one side, focus, colour or grey."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from microexpr.anatomy import Blobs, splat
from microexpr.film.drawn import EYES, SIDE, drawn_portrait
from microexpr.film.portrait import Portrait
from microexpr.template import template
from microexpr.video import Image

Array = NDArray[np.floating[Any]]

REACH = 0.22  # IOD around a landmark that go with it
LOOSE = 0.3  # share of a landmark's own shift that is given up for smoothness


def drawn_person(seed: int, person: int, landmarks: Array) -> Portrait:
    """Draws one of many people.

    Args:
        seed: Of the archive.
        person: Number of the person; with the seed it decides skin, hair, light and focus.
        landmarks: ``(landmarks, 2, 2)`` IOD, the person's build; `microexpr.simulation.build`.
    """
    rng = np.random.default_rng([seed, person, 8])
    plain = drawn_portrait(int(rng.integers(2**31)))
    image, seen = _rebuilt(plain, (landmarks - template()) * EYES)
    light = _light(rng)
    sigma = float(rng.uniform(0.3, 2.5))
    picture = cv2.GaussianBlur(image.astype(np.float32) * light, None, sigma)
    if rng.random() < 0.3:
        picture = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
    return Portrait(np.clip(picture, 0, 255).astype(np.uint8), *seen)


def _rebuilt(plain: Portrait, shift: Array) -> tuple[Image, tuple[Array, Array]]:
    """A portrait whose landmarks are shifted, ``(landmarks, 2, 2)`` pixels, smoothly.

    Returns:
        The picture, and its landmarks and lids.
    """
    centre = plain.landmarks.reshape(-1, 2)
    width = np.full_like(centre, REACH * EYES)
    moves = splat(Blobs(centre, width, shift.reshape(-1, 2)), SIDE, SIDE)
    near = splat(Blobs(centre, width, np.ones_like(centre)), SIDE, SIDE)
    field = moves / (near + LOOSE)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    image = cv2.remap(
        plain.image, x - field[0], y - field[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    landmarks, lids = (
        points + field[:, *points.round().astype(int).clip(0, SIDE - 1).T[::-1]].T
        for points in (plain.landmarks, plain.lids)
    )
    return np.asarray(image, np.uint8), (landmarks, lids)


def _light(rng: np.random.Generator) -> Array:
    """Brightness over the picture, ``(SIDE, SIDE, 1)``, falling off to one side."""
    line = np.linspace(-1, 1, SIDE, dtype=np.float32)
    across, down = rng.normal(0, 0.18, 2)
    level = rng.uniform(0.75, 1.1) * (1 + across * line[None] + down * line[:, None])
    return np.asarray(np.clip(level, 0.35, 1.6), np.float32)[..., None]
