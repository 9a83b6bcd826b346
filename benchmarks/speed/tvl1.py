"""TV-L1 optical flow: native against OpenCV, at the same algorithm and parameters.

    python benchmarks/speed/tvl1.py [--json] [--rounds 5]

Synthetic skin-like texture under a smooth movement. Milliseconds, one thread. `difference` is the
mean endpoint difference between the two in pixels, over several pairs; `opencv's own` is how far
OpenCV is from itself when both frames are transposed: rounding decides when iterations stop, so
no two programs can be closer than about that.
"""

from __future__ import annotations

import argparse
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from timing import interleaved, show, single_thread

from microexpr.preprocess.tvl1 import tvl1

CASES = ((112, 1.5), (224, 1.5), (224, 0.5), (224, 0.0), (448, 1.5))  # side, largest movement
SEEDS = range(4)

Frame = NDArray[np.uint8]


def pair(side: int, pixels: float, seed: int) -> tuple[Frame, Frame]:
    """A texture, and itself warped by a smooth movement of at most `pixels` along each axis."""
    rng = np.random.default_rng(seed)

    def smooth(sigma: float) -> NDArray[np.float32]:
        noise = rng.normal(size=(side, side)).astype(np.float32)
        found = cv2.GaussianBlur(noise, (0, 0), sigma)
        return found / np.abs(found).max()

    texture = smooth(1.5) + smooth(3) + smooth(8)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    moved = [a + pixels * smooth(side / 8) for a in (x, y)]
    before = cv2.remap(texture, *moved, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    frames = [np.clip(128 + 60 * t, 0, 255).astype(np.uint8) for t in (before, texture)]
    return frames[0], frames[1]


def opencv(frame0: Frame, frame1: Frame) -> NDArray[np.float32]:
    """OpenCV's with its defaults."""
    return cv2.optflow.DualTVL1OpticalFlow_create().calc(frame0, frame1, None)


def turned(image: NDArray) -> NDArray:
    """Rows and columns exchanged."""
    return np.ascontiguousarray(image.swapaxes(0, 1))


def distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Mean endpoint difference in pixels."""
    return float(np.hypot(*(a - b).transpose(2, 0, 1)).mean())


def measure(side: int, pixels: float, rounds: int) -> dict[str, Any]:
    """One row: times of one pair, differences over several."""
    frames = pair(side, pixels, 0)
    times = interleaved(
        {"opencv": lambda: opencv(*frames), "native": lambda: tvl1(*frames)}, rounds
    )
    ours, its_own, length = [], [], []
    for seed in SEEDS:
        frames = pair(side, pixels, seed)
        expected = opencv(*frames)
        other = turned(opencv(*map(turned, frames)))[..., ::-1]
        ours.append(distance(tvl1(*frames), expected))
        its_own.append(distance(other, expected))
        length.append(distance(expected, np.zeros_like(expected)))
    return {
        "frames": f"{side} x {side}",
        "movement px": float(np.mean(length)),
        "opencv ms": times["opencv"],
        "native ms": times["native"],
        "opencv/native": times["opencv"] / times["native"],
        "difference px": float(np.mean(ours)),
        "opencv's own px": float(np.mean(its_own)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    single_thread()
    show("tvl1", [measure(*case, chosen.rounds) for case in CASES], chosen.json)


if __name__ == "__main__":
    main()
