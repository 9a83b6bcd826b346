"""Dense optical flow under one signature, and which program computed it.

Flow is u (to the right) and v (downwards), in pixels: what stands at (x, y) in the first frame
stands at (x + u, y + v) in the second.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

import microexpr
from microexpr.errors import UserError, suggest
from microexpr.preprocess.tvl1 import native_available, tvl1

Grey = NDArray[np.uint8]
Flow = NDArray[np.float32]
FlowMethod = Callable[[Grey, Grey], Flow]

BACKENDS = ("auto", "native", "opencv")
SMALLEST_SIDE = 16  # the coarsest level of Farneback's and DIS's pyramids must hold a window


def _tvl1_opencv(frame0: Grey, frame1: Grey) -> Flow:
    """TV-L1 (Zach, Pock and Bischof, 2007) with the defaults of OpenCV's DualTVL1OpticalFlow.

    tau .25, lambda .15, theta .3, 5 scales of step .8, 5 warps, epsilon .01, 10 outer and 30 inner
    iterations, median filter 5. These are the parameters behind the published flow images.
    """
    if not hasattr(cv2, "optflow"):
        raise UserError(
            "this OpenCV has no TV-L1; mend it with: pip install opencv-contrib-python-headless"
        )
    solver = cv2.optflow.DualTVL1OpticalFlow.create()
    return np.asarray(solver.calc(frame0, frame1, None), np.float32)


def _farneback(frame0: Grey, frame1: Grey) -> Flow:
    """Farneback (2003) with the parameters that the public codes of this field share."""
    found = cv2.calcOpticalFlowFarneback(frame0, frame1, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    return np.asarray(found, np.float32)


def _dis(frame0: Grey, frame1: Grey) -> Flow:
    """Dense inverse search (Kroeger et al., ECCV 2016), OpenCV's medium preset."""
    solver = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return np.asarray(solver.calc(frame0, frame1, None), np.float32)


_OPENCV: dict[str, FlowMethod] = {"tvl1": _tvl1_opencv, "farneback": _farneback, "dis": _dis}


def flow(frame0: Grey, frame1: Grey, method: str = "tvl1", backend: str = "auto") -> Flow:
    """The movement from one frame to another.

    Args:
        frame0: uint8 grey ``(height, width)``, at least 16 pixels a side.
        frame1: The same shape.
        method: A key of `FLOWS`.
        backend: ``auto``: our own TV-L1 where it could be built, else OpenCV. ``native`` and
            ``opencv`` insist. Farneback and DIS are always OpenCV's.

    Returns:
        float32 ``(height, width, 2)``: u and v in pixels.

    Raises:
        UserError: Frames that do not fit, an unknown method, or a backend that is not there.
    """
    for frame in (frame0, frame1):
        if frame.ndim != 2 or frame.dtype != np.uint8 or min(frame.shape) < SMALLEST_SIDE:
            raise UserError(
                f"flow needs grey uint8 frames of at least {SMALLEST_SIDE}x{SMALLEST_SIDE}, "
                f"got {frame.dtype} {frame.shape}"
            )
    if frame0.shape != frame1.shape:
        raise UserError(f"flow needs frames of one size, got {frame0.shape} and {frame1.shape}")
    chosen = tvl1 if _native(method, backend) else _OPENCV[method]
    return chosen(np.ascontiguousarray(frame0), np.ascontiguousarray(frame1))


def flow_backend(method: str, backend: str = "auto") -> str:
    """Names the program and version that `flow` uses: part of a cache key.

    TV-L1 differs between versions of OpenCV, and ours from OpenCV's by some thousandths of a pixel.
    OpenCV is named beside ours, too, for it reads, turns grey and aligns the frames before.

    >>> flow_backend("dis").startswith("dis-opencv-")
    True
    """
    if _native(method, backend):
        return f"{method}-native-{microexpr.__version__}-opencv-{cv2.__version__}"
    return f"{method}-opencv-{cv2.__version__}"


def _native(method: str, backend: str) -> bool:
    if method not in _OPENCV:
        raise UserError(f"unknown flow '{method}': {suggest(method, _OPENCV)}")
    if backend not in BACKENDS:
        raise UserError(f"unknown backend '{backend}': {suggest(backend, BACKENDS)}")
    there = method == "tvl1" and native_available()
    if backend == "native" and not there:
        raise UserError(f"no native {method} here (it is built with a C compiler); use 'opencv'")
    return there and backend != "opencv"


def _by_default(method: str) -> FlowMethod:
    return lambda frame0, frame1: flow(frame0, frame1, method)


FLOWS: dict[str, FlowMethod] = {method: _by_default(method) for method in _OPENCV}
