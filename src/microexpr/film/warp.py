"""From a portrait and a script to pictures: skin moved by action units, lids, head, light, noise.

Every picture is sampled once from the portrait (at twice the film's size, in floating point), at
places that all motions together decide; so still and moving frames are equally sharp, and nothing
adds up over time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from microexpr.anatomy import UNITS, activations, displacement
from microexpr.film.portrait import Portrait, framed
from microexpr.film.script import Script, closure, course, head, light
from microexpr.template import face_axes
from microexpr.video import Image

Array = NDArray[np.float32]

DETAIL = 2  # the portrait is sampled from a picture that many times as large as the film
FOLD = 0.16  # distances between the eyes above the lid from which a closing lid takes its skin
OVER = 1.3  # a closed lid goes beyond the lower one's contour, which lies within the eye
ROOM = 0.15  # the same around an eye within which lids are drawn
STILL, MOVING = 2.0, 1.4  # radii of ellipses around the face: outside all rests, inside all moves


@dataclass(frozen=True, slots=True)
class Scene:
    """What stays the same over a film.

    Attributes:
        script: The film.
        portrait: The face at the film's size.
        detail: Float32 ``(DETAIL height, DETAIL width, 3)``: what pictures are sampled from.
        x: ``(height, width)``: columns of the pixels, less the middle of the eyes.
        y: The same of the rows.
        moves: ``(height, width)``: how far each place follows the head, 0..1.
        fields: One float32 ``(height, width, 2)`` an event: displacement at its apex, pixels; and
            last that of a blink.
    """

    script: Script
    portrait: Portrait
    detail: Array
    x: Array
    y: Array
    moves: Array
    fields: tuple[Array, ...]


class Pose(NamedTuple):
    """One moment of `microexpr.film.script.Head`."""

    x: float
    y: float
    turn: float
    zoom: float


REST = Pose(0.0, 0.0, 0.0, 1.0)


def stage(portrait: Portrait, script: Script) -> Scene:
    """Puts a face before the camera and works out how it will move."""
    width, height = script.width, script.height
    seen = framed(portrait, width, height, script.eyes)
    large = framed(portrait, DETAIL * width, DETAIL * height, DETAIL * script.eyes)
    middle = seen.lids.reshape(-1, 2).mean(axis=0)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x - middle[0], y - middle[1]
    radius = np.sqrt((x / (1.15 * script.eyes)) ** 2 + ((y / script.eyes - 0.5) / 1.5) ** 2)
    part = np.clip((STILL - radius) / (STILL - MOVING), 0, 1)
    fields = [_field(seen, event.units, event.peak, script) for event in script.events]
    blink = np.moveaxis(
        displacement(seen.landmarks, activations({"45": 1.0}), height, width), 0, -1
    )
    return Scene(
        script=script,
        portrait=seen,
        detail=large.image.astype(np.float32),
        x=x,
        y=y,
        moves=(part * part * (3 - 2 * part)).astype(np.float32),
        fields=(*fields, np.ascontiguousarray(blink)),
    )


def _field(seen: Portrait, units: tuple[str, ...], peak: float, script: Script) -> Array:
    """Displacement of action units, its greatest vector `peak` % of the eyes' distance long."""
    strength = np.zeros((len(UNITS), 2), np.float32)
    for unit in units:
        side = {"L": (0.0, 1.0), "R": (1.0, 0.0)}.get(unit[0], (1.0, 1.0))
        strength = np.maximum(strength, activations({unit.lstrip("LR"): side}))
    field = displacement(seen.landmarks, strength, script.height, script.width)
    longest = float(np.hypot(field[0], field[1]).max())
    scaled = field * (peak / 100 * script.eyes / max(longest, 1e-9))
    return np.ascontiguousarray(np.moveaxis(scaled, 0, -1), np.float32)


def pictures(scene: Scene) -> Iterator[Image]:
    """The frames of the film, uint8 RGB, one at a time."""
    script = scene.script
    times = np.arange(script.frames) / script.fps
    where, bright, shut = head(script, times), light(script, times), closure(script, times)
    acts = [course(times, e.onset, e.apex, e.offset) for e in script.events]
    strength = np.stack([*acts, shut], axis=1).astype(np.float32)
    for i in range(script.frames):
        pose = Pose(*(float(values[i]) for values in where))
        picture = sampled(scene, pose, strength[i])
        yield developed(picture, float(bright[i]), script.noise, [script.seed, 5, i])


def sampled(scene: Scene, pose: Pose, strength: Array) -> Array:
    """The picture before the camera at one moment.

    Args:
        scene: From `stage`.
        pose: Where the head is; `REST` is where the portrait shows it.
        strength: ``(events + 1,)``, 0..1: how far each event has come, and last the blink.

    Returns:
        Float32 ``(height, width, 3)``, grey levels.
    """
    x, y = _before_head(scene, pose)
    active = [k for k, part in enumerate(strength) if part > 0]
    if active:
        field = strength[active[0]] * scene.fields[active[0]]
        for k in active[1:]:
            field += strength[k] * scene.fields[k]
        moved = cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        x, y = x - moved[..., 0], y - moved[..., 1]
    picture = _sample(scene.detail, x, y)
    if strength[-1] > 0:
        for eye in scene.portrait.lids:
            _close(scene, eye, float(strength[-1]), x, y, picture)
    return picture


def _before_head(scene: Scene, pose: Pose) -> tuple[Array, Array]:
    """Where in the resting picture each pixel's content comes from."""
    cos = np.cos(pose.turn) / pose.zoom
    sin = np.sin(pose.turn) / pose.zoom
    dx, dy = (part * scene.script.eyes for part in (pose.x, pose.y))
    middle = scene.portrait.lids.reshape(-1, 2).mean(axis=0)
    a, b = np.float32(cos - 1), np.float32(sin)
    c, d = np.float32(-cos * dx - sin * dy), np.float32(sin * dx - cos * dy)
    x = scene.x + middle[0] + scene.moves * (a * scene.x + b * scene.y + c)
    y = scene.y + middle[1] + scene.moves * (a * scene.y - b * scene.x + d)
    return x, y


def _sample(detail: Array, x: Array, y: Array) -> Array:
    """The portrait between its pixels, linearly."""
    half = np.float32((DETAIL - 1) / 2)
    times = np.float32(DETAIL)
    seen: Array = cv2.remap(
        detail, times * x + half, times * y + half, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return seen


def _close(scene: Scene, lids: Array, part: float, x: Array, y: Array, picture: Array) -> None:
    """Draws the upper lid over one eye, in place.

    Its edge comes down by `part` of the way to the lower lid, and the skin between it and the
    `FOLD` above is stretched to follow; the eyeball below stays where it is.

    Args:
        scene: The film's.
        lids: ``(2, 9, 2)`` as `Portrait.lids` for one eye.
        part: 0 open, 1 closed.
        x: Where each pixel's content lies in the resting picture.
        y: Likewise.
        picture: Float32 ``(height, width, 3)``, drawn on.
    """
    axes = face_axes(scene.portrait.landmarks)
    unit = float(np.linalg.norm(axes[0]))
    low = lids.min(axis=(0, 1)) - (ROOM + scene.script.drift / 100 + FOLD) * unit
    high = lids.max(axis=(0, 1)) + (ROOM + scene.script.drift / 100) * unit
    left, top = np.maximum(low.astype(int), 0)
    right, bottom = np.maximum(high.astype(int), 0)
    cut = np.s_[top:bottom, left:right]
    if x[cut].size == 0:
        return
    to_face = np.linalg.inv(axes.astype(np.float64)).astype(np.float32)
    edges = lids @ to_face
    across, down = (x[cut][..., None] * to_face[0] + y[cut][..., None] * to_face[1]).transpose(
        2, 0, 1
    )
    upper, lower = (np.interp(across, *_curve(edge)).astype(np.float32) for edge in edges)
    edge = upper + np.float32(OVER * part) * (lower - upper)
    fold = upper - np.float32(FOLD)
    share = np.clip((down - fold) / np.maximum(edge - fold, 1e-6), 0, 1)
    back = (share * (upper - edge)).astype(
        np.float32
    )  # from a place of the lid to its place at rest
    lid = _sample(scene.detail, x[cut] + back * axes[1, 0], y[cut] + back * axes[1, 1])
    inside = (across > edges[..., 0].min()) & (across < edges[..., 0].max())
    cover = np.clip((edge - down) * np.linalg.norm(axes[1]) + 0.5, 0, 1) * inside
    picture[cut] += cover[..., None].astype(np.float32) * (lid - picture[cut])


def _curve(edge: Array) -> tuple[Array, Array]:
    """A lid's points in the order that interpolation asks for."""
    order = np.argsort(edge[:, 0])
    return edge[order, 0], edge[order, 1]


def developed(picture: Array, bright: float, noise: float, seed: list[int]) -> Image:
    """A picture as the camera gives it: light, and the sensor's noise, the same in all colours."""
    grain = np.random.default_rng(seed).standard_normal(picture.shape[:2], np.float32)
    exposed = (
        picture * np.float32(bright) + (grain * np.float32(noise) + np.float32(0.5))[..., None]
    )
    return np.clip(exposed, 0, 255).astype(np.uint8)
