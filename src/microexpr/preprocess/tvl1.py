"""TV-L1 optical flow by the native library: OpenCV's algorithm and parameters, many times faster.

Zach, Pock and Bischof, "A duality based approach for realtime TV-L1 optical flow", 2007, as in
OpenCV's DualTVL1OpticalFlow with its defaults: tau .25, lambda .15, theta .3, 5 scales of step .8,
5 warps, epsilon .01, 10 outer and 30 inner iterations, median filter 5. Warping is exact, as in
OpenCV 5; OpenCV 4 rounds the coordinates to 1/32 pixel and differs by that.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microexpr.errors import UserError
from microexpr.native import MESSAGES, library

SMALLEST_SIDE = 3  # pixels; a gradient needs neighbours


def native_available() -> bool:
    """Whether the library is built and loads on this machine."""
    return library() is not None


def tvl1(frame0: NDArray[np.uint8], frame1: NDArray[np.uint8], threads: int = 1) -> Any:
    """The flow from one grey frame to another.

    Args:
        frame0: (h, w) uint8, at least 3 by 3.
        frame1: the same shape.
        threads: how many work on the pair; the result is the same bits for any number.

    Returns:
        (h, w, 2) float32: u to the right and v down, in pixels; what stands at (x, y) in frame0
        stands at (x + u, y + v) in frame1.

    Raises:
        UserError: a frame has a wrong shape or dtype, or the library is not available.
    """
    for name, frame in (("frame0", frame0), ("frame1", frame1)):
        _check(name, frame, 2)
    return tvl1_pairs(frame0[None], frame1[None], threads)[0]


def tvl1_pairs(
    frames0: NDArray[np.uint8], frames1: NDArray[np.uint8], threads: int = 1
) -> NDArray[np.float32]:
    """The flow of many pairs of grey frames of one size.

    Args:
        frames0: (pairs, h, w) uint8, at least 3 by 3.
        frames1: the same shape.
        threads: how many work on pairs, or within a pair where there are fewer pairs.

    Returns:
        (pairs, h, w, 2) float32, see `tvl1`.

    Raises:
        UserError: frames have a wrong shape or dtype, or the library is not available.
    """
    for name, frames in (("frames0", frames0), ("frames1", frames1)):
        _check(name, frames, 3)
    if frames0.shape != frames1.shape:
        raise UserError(f"frames1: expected shape {frames0.shape}, got {frames1.shape}")
    if threads < 1:
        raise UserError(f"threads: expected at least 1, got {threads}")
    frames0, frames1 = np.ascontiguousarray(frames0), np.ascontiguousarray(frames1)
    flow = np.empty((*frames0.shape, 2), np.float32)
    status = _function()(
        threads, *frames0.shape, frames0.ctypes.data, frames1.ctypes.data, flow.ctypes.data
    )
    if status:
        raise UserError(MESSAGES[status])
    return flow


def _check(name: str, frames: object, axes: int) -> None:
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8:
        raise UserError(f"{name}: expected an array of uint8")
    if frames.ndim != axes or 0 in frames.shape or min(frames.shape[-2:]) < SMALLEST_SIDE:
        wanted = ("pairs, height, width", "height, width")[axes == 2]
        raise UserError(
            f"{name}: expected ({wanted}), at least {SMALLEST_SIDE} pixels a side, "
            f"got {frames.shape}"
        )


@cache
def _function() -> Any:
    loaded = library()
    if loaded is None:
        raise UserError("the native library is not available; use the backend 'opencv'")
    function = loaded.microexpr_tvl1
    function.argtypes = [ctypes.c_int, *[ctypes.c_int64] * 3, *[ctypes.c_void_p] * 3]
    return function
