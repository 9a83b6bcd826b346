"""The frame of greatest movement between a known onset and offset.

A reconstruction of the unimodal pattern constraint of ME-PLAN (Zhao et al., 2022): its public code
stops at the curves of motion per region; how one is chosen among them is told in the abstract only.
Ours: of all curves, the one that rises and falls most cleanly and most strongly, and its mode.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from microexpr.encoding import optical_strain
from microexpr.errors import UserError, suggest
from microexpr.preprocess.align import FACE, Crop, places, rigid_motion
from microexpr.preprocess.flow import flow

Array = NDArray[np.float32]
Grey = NDArray[np.uint8]

EYES = ("left eye", "right eye")  # counted only where no other region moves: they blink
SMOOTHING = 0.03  # of the clip's length: standard deviation of the Gaussian over time


def apex(
    frames: Grey,
    onset: int,
    offset: int,
    method: str = "unimodal",
    flow_method: str = "farneback",
    crop: Crop = FACE,
) -> int:
    """Finds the apex of one movement.

    Args:
        frames: uint8 grey ``(frames, size, size)``, aligned with one transform for all.
        onset: Index of the frame where the movement begins.
        offset: Index of the frame where it ends.
        method: A key of `APEX_METHODS`: ``unimodal``; ``maximum``, the frame with most motion over
            the regions but the eyes; ``midpoint``, which looks at nothing.
        flow_method: A key of `microexpr.preprocess.flow.FLOWS`.
        crop: The part of the face that the frames show.

    Returns:
        Index of a frame, ``onset <= apex <= offset``.

    Raises:
        UserError: An unknown method, or an onset and offset that are not frames in that order.
    """
    if method not in APEX_METHODS:
        raise UserError(f"unknown apex method '{method}': {suggest(method, APEX_METHODS)}")
    if not 0 <= onset <= offset < len(frames):
        raise UserError(
            f"onset {onset} and offset {offset} are not frames in order (there are {len(frames)})"
        )
    if method == "midpoint" or offset - onset < 3:
        return (onset + offset) // 2
    curves = motion_curves(frames[onset : offset + 1], flow_method, crop)
    return onset + APEX_METHODS[method](curves)


def motion_curves(
    frames: Grey, flow_method: str = "farneback", crop: Crop = FACE
) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Motion of each region since the first frame, over time.

    Every frame is brought to the mean brightness of the first one; the motion of the head is
    removed from the flow.

    Args:
        frames: uint8 grey ``(frames, size, size)``.
        flow_method: A key of `microexpr.preprocess.flow.FLOWS`.
        crop: The part of the face that the frames show.

    Returns:
        ``{(region, "magnitude" or "strain"): (frames,)}``, smoothed: mean over the region of the
        flow's magnitude in pixels, and of its optical strain.
    """
    regions = _regions(crop, frames.shape[-1])
    rows = [_moved(frames[0], frame, flow_method, crop, regions) for frame in frames[1:]]
    values = np.array([np.zeros_like(rows[0]), *rows])
    smooth = _smoothed(values, max(SMOOTHING * len(frames), 0.5))
    keys = [(name, measure) for measure in ("magnitude", "strain") for name in regions]
    return {key: smooth[:, i] for i, key in enumerate(keys)}


def _moved(
    first: Grey, frame: Grey, method: str, crop: Crop, regions: dict[str, Array]
) -> NDArray[np.float64]:
    """Means over the regions of magnitude, then of strain."""
    gain = float(first.mean()) / max(float(frame.mean()), 1e-6)
    bright = np.clip(np.rint(frame * gain), 0, 255).astype(np.uint8)
    found = flow(first, bright, method)
    found = found - rigid_motion(found, crop)
    u, v = found[..., 0], found[..., 1]
    planes = (np.hypot(u, v), optical_strain(u, v))
    return np.array([(p * w).sum() / w.sum() for p in planes for w in regions.values()])


def _regions(crop: Crop, size: int) -> dict[str, Array]:
    """Masks ``(size, size)`` by name; sides are those of the picture."""
    x, y = places(crop, size)

    def blob(at_x: float, at_y: float, wide: float, high: float) -> NDArray[np.bool_]:
        return ((x - at_x) / wide) ** 2 + ((y - at_y) / high) ** 2 < 1

    sides = (("left", -1), ("right", 1))
    eyes = {f"{name} eye": blob(side * 0.5, -0.01, 0.36, 0.2) for name, side in sides}
    brows = {f"{name} brow": blob(side * 0.55, -0.33, 0.42, 0.16) for name, side in sides}
    mouth = {f"{name} mouth": blob(side * 0.45, 1.04, 0.22, 0.2) for name, side in sides}
    lips = blob(0, 1.06, 0.55, 0.25)
    face = blob(0, 0.5, 1.0, 1.2)
    for part in (*eyes.values(), *brows.values(), lips):
        face &= ~part
    masks = {"face": face, **brows, **mouth, **eyes}
    return {name: mask.astype(np.float32) for name, mask in masks.items() if mask.any()}


def _smoothed(values: NDArray[np.float64], spread: float) -> NDArray[np.float64]:
    reach = int(np.ceil(3 * spread))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / spread) ** 2)
    padded = np.pad(values, ((reach, reach), (0, 0)), "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0)
    return np.asarray(windows @ (weights / weights.sum()))


def unimodal_fit(curve: NDArray[np.float64]) -> tuple[int, float]:
    """The best curve that first rises and then falls (least squares).

    The errors of the isotonic fits to all prefixes come from one pass (Stout, 2008), those to all
    suffixes from another; the best split is the mode.

    Args:
        curve: ``(n,)``.

    Returns:
        The mode's index, and the share of the variance that the fit explains, 0..1; 1 for a
        constant curve.
    """
    rising, falling = _prefix_errors(curve), _prefix_errors(curve[::-1])[::-1]
    errors = rising + np.append(falling[1:], 0.0)
    split = int(errors.argmin())
    mode = split + 1 if split + 1 < len(curve) and curve[split + 1] > curve[split] else split
    total = float(((curve - curve.mean()) ** 2).sum())
    return mode, 1 - float(errors[split]) / total if total > 0 else 1.0


def _prefix_errors(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared error of the best non-decreasing fit to ``curve[: i + 1]``, for every i."""
    errors = np.zeros(len(curve))
    blocks: list[tuple[float, float, float, float]] = []  # count, sum, sum of squares, error before
    for i, value in enumerate(curve.tolist()):
        count, total, squares = 1.0, value, value * value
        while blocks and blocks[-1][1] / blocks[-1][0] >= total / count:
            before = blocks.pop()
            count, total, squares = count + before[0], total + before[1], squares + before[2]
        base = _error(blocks)
        blocks.append((count, total, squares, base))
        errors[i] = _error(blocks)
    return errors


def _error(blocks: list[tuple[float, float, float, float]]) -> float:
    if not blocks:
        return 0.0
    count, total, squares, before = blocks[-1]
    return before + max(squares - total * total / count, 0.0)


def _unimodal(curves: dict[tuple[str, str], NDArray[np.float64]]) -> int:
    """The mode of the curve with the best fit times prominence; the eyes only as a last resort.

    Prominence is the height of the mode over the higher end of the curve, as a share of the
    greatest one of the same measure, so that pixels and strain compare.
    """
    for eyes in (False, True):
        chosen = {key: curve for key, curve in curves.items() if (key[0] in EYES) == eyes}
        fits = {key: unimodal_fit(curve) for key, curve in chosen.items()}
        height = {
            key: max(float(curve[fits[key][0]] - max(curve[0], curve[-1])), 0.0)
            for key, curve in chosen.items()
        }
        tallest = {m: max(height[k] for k in height if k[1] == m) for _, m in height}
        score = {k: fits[k][1] * height[k] / tallest[k[1]] for k in height if tallest[k[1]] > 0}
        if score:
            return fits[max(score, key=score.__getitem__)][0]
    return _maximum(curves)


def _maximum(curves: dict[tuple[str, str], NDArray[np.float64]]) -> int:
    seen = [k for k in curves if k[1] == "magnitude" and k[0] not in EYES]
    return int(np.mean([curves[key] for key in seen], axis=0).argmax())


def _midpoint(curves: dict[tuple[str, str], NDArray[np.float64]]) -> int:
    return (len(next(iter(curves.values()))) - 1) // 2


APEX_METHODS: dict[str, Callable[[dict[tuple[str, str], NDArray[np.float64]]], int]] = {
    "unimodal": _unimodal,
    "maximum": _maximum,
    "midpoint": _midpoint,
}
