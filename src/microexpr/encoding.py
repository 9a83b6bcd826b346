"""From the flow a data set ships to the planes a model eats: units, sizes, representations.

All functions work on the last two axes (rows, columns) and let any leading axes pass, so one clip
and a batch go through the same code. Flow is u (to the right) and v (downwards).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microexpr.errors import UserError
from microexpr.inputs import PICTURES, Input

Array = NDArray[np.floating[Any]]

_LOG_RATIOS = np.linspace(-2.5, 2.5, 61)  # u and v scales that differ by up to a factor of 12


def optical_strain(u: Array, v: Array) -> Array:
    """Magnitude of the infinitesimal strain tensor of a flow field.

    ``sqrt(u_x^2 + v_y^2 + (u_y + v_x)^2 / 2)`` (Shreve et al., FG 2011; Liong et al., STSTNet, Eq.
    3-5), derivatives by central differences, one-sided at the border.

    Args:
        u: ``(..., rows, columns)`` horizontal flow, in pixels of its own grid.
        v: The same of the vertical flow.

    Returns:
        ``(..., rows, columns)``, not negative, no unit (pixels per pixel). It grows in proportion
        to the flow; a constant flow (a translation) has none.

    >>> u = np.tile(np.arange(4, dtype=np.float32), (4, 1))  # stretched by 1 in x
    >>> optical_strain(u, np.zeros_like(u)).max()
    np.float32(1.0)
    """
    u_y, u_x = _gradient(u)
    v_y, v_x = _gradient(v)
    strain: Array = np.sqrt(np.square(u_x) + np.square(v_y) + np.square(u_y + v_x) / 2)
    return strain


def _strain_parts(u: Array, v: Array) -> tuple[Array, Array, Array]:
    """The squared strain as A + B + C: what scales with the square of u, of v, and with u v."""
    u_y, u_x = _gradient(u)
    v_y, v_x = _gradient(v)
    return np.square(u_x) + np.square(u_y) / 2, np.square(v_y) + np.square(v_x) / 2, u_y * v_x


def _gradient(plane: Array) -> tuple[Array, Array]:
    if min(plane.shape[-2:]) < 2:
        return np.zeros_like(plane), np.zeros_like(plane)
    rows: Array = np.gradient(plane, axis=-2)
    columns: Array = np.gradient(plane, axis=-1)
    return rows, columns


def minmax8(planes: Array) -> Array:
    """Each plane stretched to whole numbers 0..255 on its own, as 8-bit flow images are written.

    Args:
        planes: ``(..., rows, columns)``.

    Returns:
        The same shape, float32 whole numbers; a constant plane becomes 0, as OpenCV writes it.

    >>> minmax8(np.array([[-1.0, 0.0], [0.5, 1.0]], np.float32))
    array([[  0., 128.],
           [191., 255.]], dtype=float32)
    """
    low = planes.min(axis=(-2, -1), keepdims=True)
    span = planes.max(axis=(-2, -1), keepdims=True) - low
    stretched: Array = np.rint((planes - low) / np.where(span > 0, span, 1) * 255)
    return stretched.astype(np.float32)


def robust(u: Array, v: Array) -> tuple[Array, Array]:
    """Flow whose zero is the face at rest and whose unit is the clip's mean motion.

    The median of u and of v is removed (the head's drift), then both are divided by the mean of
    ``sqrt(u^2 + v^2)`` over the picture. A field without motion stays zero.

    Args:
        u: ``(..., rows, columns)``, any unit.
        v: The same, in the same unit.

    Returns:
        u and v without unit; their mean magnitude is 1.
    """
    u = u - np.median(u, axis=(-2, -1), keepdims=True)
    v = v - np.median(v, axis=(-2, -1), keepdims=True)
    mean = np.hypot(u, v).mean(axis=(-2, -1), keepdims=True)
    unit = np.where(mean > 0, mean, 1)
    return (u / unit).astype(np.float32), (v / unit).astype(np.float32)


def scale_ratio(u: Array, v: Array, strain: Array) -> Array:
    """What one step of v is worth in steps of u, where each plane was stretched on its own.

    Stretching loses the scales a of u and c of v; the strain plane still knows their ratio. The
    ratio r = c / a taken is the one for which the strain plane correlates best with
    ``sqrt(A + r^2 B + r C)``, the strain of (u, r v): a search in one dimension over log r, refined
    by a parabola.

    Args:
        u: ``(..., rows, columns)``, its own unknown unit.
        v: The same.
        strain: The same; optical strain of the flow before stretching.

    Returns:
        ``(...)``, positive; 1 where a plane is constant, so that nothing can be learnt from it.
    """
    lead, cells = u.shape[:-2], u.shape[-2] * u.shape[-1]
    a, b, c = (part.reshape(-1, cells) for part in _strain_parts(u, v))
    target = strain.reshape(-1, cells) - strain.reshape(-1, cells).mean(axis=1, keepdims=True)
    scores = np.stack([_correlation(a + b * r * r + c * r, target) for r in np.exp(_LOG_RATIOS)])
    best = np.clip(scores.argmax(axis=0), 1, len(scores) - 2)
    clip = np.arange(len(best))
    below, top, above = scores[best - 1, clip], scores[best, clip], scores[best + 1, clip]
    bend = below - 2 * top + above
    step = np.where(bend < 0, (below - above) / np.where(bend < 0, 2 * bend, 1), 0)
    log_ratio = _LOG_RATIOS[best] + np.clip(step, -1, 1) * (_LOG_RATIOS[1] - _LOG_RATIOS[0])
    flat = (a.max(axis=1) == 0) | (b.max(axis=1) == 0) | np.isnan(scores).any(axis=0)
    return np.exp(np.where(flat, 0, log_ratio)).astype(np.float32).reshape(lead)


def _correlation(squared: Array, target: Array) -> Array:
    """Pearson's correlation of sqrt(squared) with a centred target, per row; nan if constant."""
    strain = np.sqrt(np.maximum(squared, 0))
    strain -= strain.mean(axis=1, keepdims=True)
    norm = np.sqrt((strain**2).sum(axis=1) * (target**2).sum(axis=1))
    product = (strain * target).sum(axis=1)
    score: Array = np.divide(product, norm, out=np.full_like(norm, np.nan), where=norm > 0)
    return score


def resample(planes: Array, size: int) -> Array:
    """Square planes at another size: the mean over each new pixel's area, or linear if it grows.

    Values are kept as they are: displacements in pixels must be scaled by the caller.

    Args:
        planes: ``(..., n, n)``.
        size: New side.

    Returns:
        ``(..., size, size)`` float32.

    >>> resample(np.arange(16, dtype=np.float32).reshape(4, 4), 2)
    array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32)
    """
    side = planes.shape[-1]
    if side == size:
        return planes.astype(np.float32)
    if size < side:
        weights = _area_weights(side, size)
    else:
        weights = interpolation((np.arange(size) + 0.5) * side / size - 0.5, side)
    resampled: Array = np.matmul(np.matmul(weights, planes.astype(np.float32)), weights.T)
    return resampled


def _area_weights(old: int, new: int) -> NDArray[np.float32]:
    """``(new, old)``: the share of each old pixel in each new one; rows sum to 1."""
    edges = np.arange(new + 1) * old / new
    cells = np.arange(old)
    right = np.minimum(edges[1:, None], cells + 1)
    left = np.maximum(edges[:-1, None], cells)
    weights: Array = np.maximum(right - left, 0) * new / old
    return weights.astype(np.float32)


def interpolation(position: Array, count: int) -> NDArray[np.float32]:
    """Weights that read a line of samples between the samples, linearly, clamped at its ends.

    Args:
        position: ``(n,)`` where to read, in samples.
        count: Length of the line.

    Returns:
        ``(n, count)``; rows sum to 1.

    >>> interpolation(np.array([0.25, 9.0]), 3)
    array([[0.75, 0.25, 0.  ],
           [0.  , 0.  , 1.  ]], dtype=float32)
    """
    distance = np.abs(np.clip(position, 0, count - 1)[:, None] - np.arange(count))
    weights: Array = np.maximum(1 - distance, 0)
    return weights.astype(np.float32)


def encode(planes: Array, has: Input, wants: Input) -> NDArray[np.float32]:
    """Planes as a data set ships them, turned into the planes a model wants.

    Flow is taken from `has` (pixels; or recovered from stretched planes by `scale_ratio`),
    resampled, and only then are m and strain computed and the values normalised. Strain is scaled
    with the flow: in ``robust`` it is the strain of the robust u and v, in ``relative`` its tanh.
    Planes of pictures pass through, resampled.

    Args:
        planes: ``(..., channels of has, has.size, has.size)``.
        has: What they are.
        wants: What is wanted.

    Returns:
        ``(..., channels of wants, wants.size, wants.size)`` float32.

    Raises:
        UserError: `wants` cannot be had from `has`; the message says why.
    """
    _check_possible(planes, has, wants)
    if planes.size == 0:  # no clips: numpy has no median of nothing
        shape = (*planes.shape[:-3], len(wants.channels), wants.size, wants.size)
        return np.zeros(shape, np.float32)
    kept = _kept(has, wants)
    found: dict[str, Array] = {
        name: resample(planes[..., has.channels.index(name), :, :], wants.size) for name in kept
    }
    if not set(wants.channels) <= set(found):
        u, v = _flow(planes, has, wants.size)
        found = {**_planes(u, v, wants.normalisation), **found}
    if wants.normalisation == "minmax8":
        found = {name: minmax8(found[name]) for name in wants.channels}
    return np.stack([found[name] for name in wants.channels], axis=-3).astype(np.float32)


def _kept(has: Input, wants: Input) -> Sequence[str]:
    """Channels that pass through: pictures, and stretched planes where they are wanted."""
    same = has.normalisation == wants.normalisation == "minmax8"
    return [c for c in wants.channels if c in has.channels and (same or c in PICTURES)]


def _flow(planes: Array, has: Input, size: int) -> tuple[Array, Array]:
    """Flow in one unit: pixels of the new size if `has` is in pixels, else a unit of its own."""
    u: Array = planes[..., has.channels.index("u"), :, :].astype(np.float32)
    v: Array = planes[..., has.channels.index("v"), :, :].astype(np.float32)
    if has.normalisation == "minmax8":
        ratio = scale_ratio(u, v, planes[..., has.channels.index("strain"), :, :])
        v = v * ratio[..., None, None]
    elif has.normalisation == "relative":
        u, v = (2 * np.arctanh(np.clip(plane, -0.9999999, 0.9999999)) for plane in (u, v))
    scale = np.float32(size / has.size)
    return resample(u, size) * scale, resample(v, size) * scale


def _planes(u: Array, v: Array, normalisation: str) -> dict[str, Array]:
    """u, v, m and strain of a flow field, in the unit that the normalisation asks for."""
    if normalisation in {"robust", "relative"}:
        u, v = robust(u, v)
    found: dict[str, Array] = {"u": u, "v": v, "m": np.hypot(u, v), "strain": optical_strain(u, v)}
    if normalisation == "relative":
        found = {name: np.tanh(plane / 2) for name, plane in found.items()}
    return found


def _check_possible(planes: Array, has: Input, wants: Input) -> None:
    """Refuses what cannot be had.

    Raises:
        UserError: Saying why.
    """
    shape = (len(has.channels), has.size, has.size)
    if planes.shape[-3:] != shape:
        raise UserError(f"expected planes of shape {shape}, got {planes.shape[-3:]}")
    if has.flow != wants.flow or has.frames != wants.frames:
        raise UserError(
            f"the flow here is {has.flow} with {has.frames} field(s) a clip; "
            f"{wants.flow} with {wants.frames} cannot be made from it, only from frames"
        )
    missing = [c for c in wants.channels if c in PICTURES and c not in has.channels]
    if missing:
        raise UserError(f"no {', '.join(missing)} here: only flow is shipped, no pictures")
    if set(wants.channels) <= set(_kept(has, wants)):
        return
    stretched = has.normalisation == "minmax8"
    needs = {"u", "v", "strain"} if stretched else {"u", "v"}
    if not needs <= set(has.channels):
        lacking = ", ".join(sorted(needs - set(has.channels)))
        raise UserError(f"{', '.join(wants.channels)} need {lacking}, which is not shipped here")
    if has.normalisation != "none" and wants.normalisation == "none":
        raise UserError(
            "flow in pixels cannot be had: the scale of each clip was lost when it was normalised "
            f"({has.normalisation}); ask for 'robust' or 'relative'"
        )
    if stretched and wants.normalisation == "minmax8":
        extra = ", ".join(c for c in wants.channels if c not in has.channels)
        raise UserError(
            f"{extra} cannot be had as minmax8: u and v were stretched apart and their common "
            "scale is lost; ask for strain, or for 'robust' or 'relative'"
        )
