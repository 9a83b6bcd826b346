"""TV-L1 optical flow: native against OpenCV, at the same algorithm and parameters.

Synthetic skin-like texture under a smooth movement. The difference is the mean endpoint difference
between the two over several pairs; beside it stands how far OpenCV is from itself when both frames
are transposed: rounding decides when iterations stop, so no two programs can be closer than that.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from microexpr.preprocess.flow import flow
from microexpr.preprocess.tvl1 import native_available
from microexpr.speed.figures import Figure
from microexpr.speed.timing import interleaved

CASES = ((112, 1.5), (224, 1.5), (224, 0.5), (224, 0.0), (448, 1.5))  # side, largest movement
QUICK = ((112, 1.5),)
PAIRS = 4
FASTER, CLOSE = 10.0, 0.005  # of moving frames

Frame = NDArray[np.uint8]
Field = NDArray[np.float32]


def flow_figures(quick: bool, rounds: int) -> Iterator[Figure]:
    """Target 5."""
    if not native_available():
        return
    for side, pixels in QUICK if quick else CASES:
        name = f"{side} x {side}, movement up to {pixels:g} px"
        first, second = pair(side, pixels, 0)
        calls = {p: partial(flow, first, second, backend=p) for p in ("opencv", "native")}
        times = interleaved(calls, rounds)
        ratio = times["opencv"] / times["native"]
        moving = pixels > 0
        least = FASTER if moving else None
        yield Figure("TV-L1", f"{name}: opencv over native", ratio, "x", least, None, times)
        ours, its_own = differences(side, pixels)
        most = CLOSE if moving else None
        yield Figure("TV-L1", f"{name}: native from opencv", ours, "px", None, most)
        yield Figure("TV-L1", f"{name}: opencv from itself, transposed", its_own, "px")


def pair(side: int, pixels: float, seed: int) -> tuple[Frame, Frame]:
    """A texture, and itself warped by a smooth movement of at most `pixels` along each axis."""
    rng = np.random.default_rng(seed)

    def smooth(sigma: float) -> Field:
        noise = rng.normal(size=(side, side)).astype(np.float32)
        found = cv2.GaussianBlur(noise, (0, 0), sigma)
        return np.asarray(found / np.abs(found).max(), np.float32)

    texture = smooth(1.5) + smooth(3) + smooth(8)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    x, y = x + pixels * smooth(side / 8), y + pixels * smooth(side / 8)
    before = cv2.remap(texture, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    frames = [np.clip(128 + 60 * t, 0, 255).astype(np.uint8) for t in (before, texture)]
    return frames[0], frames[1]


def differences(side: int, pixels: float) -> tuple[float, float]:
    """Mean endpoint difference of native from OpenCV, and of OpenCV from itself, in pixels."""
    ours, its_own = [], []
    for seed in range(PAIRS):
        first, second = pair(side, pixels, seed)
        expected = flow(first, second, backend="opencv")
        turned = flow(first.T, second.T, backend="opencv")
        ours.append(_distance(flow(first, second, backend="native"), expected))
        its_own.append(_distance(turned.swapaxes(0, 1)[..., ::-1], expected))
    return float(np.mean(ours)), float(np.mean(its_own))


def _distance(a: Field, b: Field) -> float:
    return float(np.hypot(*(a - b).transpose(2, 0, 1)).mean())
