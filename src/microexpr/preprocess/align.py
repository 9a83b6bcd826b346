"""Faces put in one place: a similarity transform from points that expressions do not move.

Positions on the face are in distances between the eye centres (IOD), from the point midway between
them, x to the right and y downwards, as in `microexpr.template`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Matrix = NDArray[np.float64]
Pixels = TypeVar("Pixels", NDArray[np.uint8], NDArray[np.float32])

# Mesh indices and places of what only the skull moves: the corners of the eyes and the bridge of
# the nose. Mean of the seven upright faces behind `microexpr.template`.
STABLE = (33, 133, 362, 263, 168, 6, 197)
STABLE_AT = np.array(
    [(-0.72, 0), (-0.28, 0), (0.28, 0), (0.72, 0), (0, -0.11), (0, 0), (0, 0.10)], np.float64
)


@dataclass(frozen=True, slots=True)
class Crop:
    """The part of a face that a picture shows, in IOD; stretched to a square where it is none.

    Attributes:
        left: Left edge of the picture.
        right: Right edge.
        top: Upper edge.
        bottom: Lower edge.
    """

    left: float
    right: float
    top: float
    bottom: float


# From above the brows to below the chin with a margin of an eighth (the recipe for raw videos);
# square, so angles are kept. At 224 pixels one IOD is 86 of them and the eyes are in row 54.
FACE = Crop(-1.3, 1.3, -0.63, 1.97)
# As the published flow images of SMIC and CASME II are cut: eyes in row 7 and columns 5.5 and 22 of
# 28, and the mouth in rows 17 to 20. Narrower than high, so stretched in x by half.
TIGHT = Crop(-0.85, 0.85, -0.64, 1.91)


def alignment(points: Array, crop: Crop = FACE, size: int = 224) -> Matrix:
    """The transform from a picture to the aligned crop of the face in it.

    A similarity (turn, scale, shift) with the least squared error over `STABLE`, then the crop.
    For a clip it is estimated once, on the onset frame, and used for all frames: errors of the
    landmarks then never enter the flow.

    Args:
        points: ``(468, 2 or 3)`` in pixels; only `STABLE` and x, y are used.
        crop: What the picture shows.
        size: Its side in pixels.

    Returns:
        Float64 ``(2, 3)``: ``[x, y]`` in the crop is ``matrix @ [x, y, 1]`` in the picture, both
        with pixel centres at whole numbers.
    """
    to_face = similarity(points[list(STABLE), :2].astype(np.float64), STABLE_AT)
    return chain(to_face, placement(crop, size))


def placement(crop: Crop, size: int) -> Matrix:
    """From IOD to pixels of the crop, ``(2, 3)``; the first pixel's centre is at 0."""
    scale = size / np.array([crop.right - crop.left, crop.bottom - crop.top])
    shift = -scale * np.array([crop.left, crop.top]) - 0.5
    return np.hstack([np.diag(scale), shift[:, None]])


def similarity(source: Matrix, target: Matrix) -> Matrix:
    """The turn, scale and shift that takes points nearest to others (Umeyama, 1991, in the plane).

    Args:
        source: ``(n, 2)``, not all equal.
        target: ``(n, 2)``.

    Returns:
        ``(2, 3)``.

    >>> similarity(np.array([[0.0, 0], [1, 0]]), np.array([[2.0, 3], [2, 5]])).round(9).tolist()
    [[0.0, -2.0, 2.0], [2.0, 0.0, 3.0]]
    """
    middle, to = source.mean(axis=0), target.mean(axis=0)
    a, b = source - middle, target - to
    norm = max(float((a**2).sum()), 1e-12)
    c = float((a * b).sum()) / norm
    s = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / norm
    linear = np.array([[c, -s], [s, c]])
    return np.hstack([linear, (to - linear @ middle)[:, None]])


def chain(first: Matrix, then: Matrix) -> Matrix:
    """The transform that does one after the other, all ``(2, 3)``."""
    linear = then[:, :2] @ first[:, :2]
    return np.hstack([linear, then[:, :2] @ first[:, 2:] + then[:, 2:]])


def transform(matrix: Matrix, points: Array) -> Array:
    """Points ``(..., 2)`` through a transform ``(2, 3)``."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float32)


def warp(image: Pixels, matrix: Matrix, size: int) -> Pixels:
    """A picture seen through a transform; black where there is none.

    Where it shrinks to less than half, each new pixel takes the mean over what it covers: without
    that, texture finer than the new pixels flickers when the transform moves.

    Args:
        image: ``(height, width)`` or ``(height, width, 3)``.
        matrix: From `alignment`.
        size: Side of the result in pixels.

    Returns:
        ``(size, size)`` or ``(size, size, 3)`` of the same type.
    """
    shrink = int(1 / max(np.sqrt(abs(float(np.linalg.det(matrix[:, :2])))), 1e-9))
    if shrink >= 2:
        image, matrix = _shrunk(image, matrix, size, shrink)
    seen: Pixels = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR)
    return seen


def _shrunk(image: Pixels, matrix: Matrix, size: int, times: int) -> tuple[Pixels, Matrix]:
    """The part of the picture that is seen, a whole number of times smaller, and its transform."""
    corners = np.array([(-1, -1), (size, -1), (-1, size), (size, size)], np.float32)
    seen = transform(cv2.invertAffineTransform(matrix), corners)
    low = np.maximum(np.floor(seen.min(axis=0)).astype(int) - times, 0)
    high = np.minimum(np.ceil(seen.max(axis=0)).astype(int) + times, image.shape[1::-1])
    columns, rows = (high - low) // times
    if columns < 1 or rows < 1:
        return image, matrix
    part = image[low[1] : low[1] + rows * times, low[0] : low[0] + columns * times]
    small = cv2.resize(part, (int(columns), int(rows)), interpolation=cv2.INTER_AREA)
    back = np.hstack([np.eye(2) * times, (low + (times - 1) / 2)[:, None]])
    return small, chain(back, matrix)


def grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB to grey by luminance (ITU-R BT.601), uint8; grey passes through."""
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))


def places(crop: Crop, size: int) -> tuple[Array, Array]:
    """Where the pixels of a crop lie on the face: x and y in IOD, each ``(size, size)``."""
    middle = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    x = crop.left + (crop.right - crop.left) * middle
    y = crop.top + (crop.bottom - crop.top) * middle
    across, down = np.meshgrid(x, y)
    return across.astype(np.float32), down.astype(np.float32)


def steady_weights(crop: Crop, size: int) -> Array:
    """How far flow at each place can be trusted to be the head's.

    The bridge and back of the nose count most, the rest of the face some, the mouth little, and the
    eyes nothing: a blink drags the flow around it along, the corners of the eyes included.

    Returns:
        Float32 ``(size, size)``, 0..1.
    """
    x, y = places(crop, size)
    face = (x / 1.0) ** 2 + ((y - 0.5) / 1.15) ** 2 < 1
    eyes = ((np.abs(x) - 0.5) / 0.40) ** 2 + ((y + 0.02) / 0.28) ** 2 < 1
    nose = (x / 0.20) ** 2 + ((y - 0.15) / 0.35) ** 2 < 1
    mouth = (x / 0.55) ** 2 + ((y - 1.05) / 0.28) ** 2 < 1
    weights = np.select([eyes, nose, mouth & face, face], [0.0, 1.0, 0.1, 0.3], 0.0)
    return weights.astype(np.float32)


def rigid_motion(flow: Array, crop: Crop = FACE, rounds: int = 8) -> Array:
    """The turn, scale and shift of the whole head in flow fields of aligned faces.

    Least squares with `steady_weights`, repeated with weights that fall as
    ``1 / (1 + (residual / 1.5 median)^2)^2`` (Geman and McClure, 1985), so that what moves on its
    own counts for nothing as long as it is less than half of the face.

    Args:
        flow: ``(..., size, size, 2)`` in pixels.
        crop: What the picture shows.
        rounds: How often the fit is repeated.

    Returns:
        Float32 of the same shape: to be subtracted from the flow.
    """
    size = flow.shape[-2]
    unit = (size / np.array([crop.right - crop.left, crop.bottom - crop.top])).astype(np.float32)
    weights, (x, y) = steady_weights(crop, size), places(crop, size)
    thin = np.zeros_like(weights, bool)
    step = max(1, size // 56)  # a similarity needs no more places than that
    thin[step // 2 :: step, step // 2 :: step] = True
    used = (weights > 0) & thin
    observed = flow[..., used, :].reshape(-1, int(used.sum()), 2) / unit
    found = _fitted(observed.astype(np.float64), x[used], y[used], weights[used], rounds)
    shift_x, shift_y, grow, turn = found.T[..., None, None].astype(np.float32)
    moved = np.stack([shift_x + grow * x - turn * y, shift_y + turn * x + grow * y], axis=-1)
    return np.asarray((moved * unit).reshape(flow.shape), np.float32)


def _fitted(observed: Matrix, x: Array, y: Array, weights: Array, rounds: int) -> Matrix:
    """Shift in x, shift in y, growth and turn ``(fields, 4)`` of motions ``(fields, n, 2)``."""
    fields, count = observed.shape[:2]
    one, zero = np.ones(count), np.zeros(count)
    design = np.stack([np.stack([one, zero, x, -y], -1), np.stack([zero, one, y, x], -1)], axis=1)
    products = np.einsum("nki,nkj->nij", design, design).reshape(count, 16)
    flat = design.reshape(2 * count, 4)
    trust = np.tile(weights.astype(np.float64), (fields, 1))
    for _ in range(rounds):
        normal = (trust @ products).reshape(-1, 4, 4)
        right = (trust[..., None] * observed).reshape(fields, 2 * count) @ flat
        found = np.linalg.solve(normal, right[..., None])[..., 0]
        residual = np.linalg.norm(observed - (found @ flat.T).reshape(observed.shape), axis=-1)
        bound = 1.5 * np.median(residual, axis=1, keepdims=True) + 1e-6
        trust = weights / (1 + (residual / bound) ** 2) ** 2
    return np.asarray(found)
