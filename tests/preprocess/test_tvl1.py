"""The native TV-L1 against OpenCV's, which is its slow and obvious twin."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from microexpr import native
from microexpr.errors import UserError
from microexpr.preprocess.tvl1 import native_available, tvl1, tvl1_pairs

pytestmark = pytest.mark.skipif(not native_available(), reason="the native library was not built")

Frame = NDArray[np.uint8]


@pytest.fixture(params=native.INSTRUCTION_SETS)
def instruction_set(request: pytest.FixtureRequest):
    """Each instruction set this machine has, then back to the best."""
    if native.instruction_set(request.param) != request.param:
        native.instruction_set()
        pytest.skip(f"no {request.param} here")
    yield request.param
    native.instruction_set()


def pair(height: int, width: int, pixels: float, seed: int = 0) -> tuple[Frame, Frame]:
    """A texture like skin, and itself warped by a smooth movement of at most `pixels`."""
    rng = np.random.default_rng(seed)

    def smooth(sigma: float) -> NDArray[np.float32]:
        noise = rng.normal(size=(height, width)).astype(np.float32)
        found = cv2.GaussianBlur(noise, (0, 0), sigma)
        return found / np.abs(found).max()

    texture = smooth(1.5) + smooth(3) + smooth(8)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    moved = [a + pixels * smooth(min(height, width) / 8) for a in (x, y)]
    before = cv2.remap(texture, *moved, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    frames = [np.clip(128 + 60 * t, 0, 255).astype(np.uint8) for t in (before, texture)]
    return frames[0], frames[1]


def opencv(frame0: Frame, frame1: Frame) -> NDArray[np.float32]:
    flow = cv2.optflow.DualTVL1OpticalFlow_create().calc(frame0, frame1, None)
    return np.asarray(flow, np.float32)


def distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Mean endpoint difference in pixels."""
    return float(np.hypot(*(a - b).transpose(2, 0, 1)).mean())


needs_exact_remap = pytest.mark.skipif(
    int(cv2.__version__.split(".")[0]) < 5, reason="OpenCV 4 warps to 1/32 pixel"
)


@needs_exact_remap
@pytest.mark.parametrize(
    ("height", "width", "pixels"), [(112, 112, 1.0), (90, 133, 0.6), (40, 24, 0.4), (17, 16, 0.3)]
)
def test_equals_opencv(instruction_set: str, height: int, width: int, pixels: float) -> None:
    frames = pair(height, width, pixels)
    expected = opencv(*frames)
    assert distance(expected, np.zeros_like(expected)) > 0.05
    assert distance(tvl1(*frames), expected) < 0.005


@needs_exact_remap
def test_is_no_farther_from_opencv_than_opencv_from_itself() -> None:
    """Rounding decides when an iteration stops; so OpenCV differs from itself on turned frames."""

    def turned(f: NDArray[np.generic]) -> NDArray:
        return np.ascontiguousarray(f.swapaxes(0, 1))

    ours, its_own = [], []
    for seed in range(6):
        frames = pair(64, 64, 1.0, seed)
        expected = opencv(*frames)
        ours.append(distance(tvl1(*frames), expected))
        other = turned(opencv(*map(turned, frames)))[..., ::-1]
        its_own.append(distance(other, expected))
    assert np.mean(ours) < 1.5 * np.mean(its_own) + 0.001


def test_threads_and_batches_do_not_change_a_bit() -> None:
    frames = [pair(40, 20, 0.5, seed) for seed in range(2)]
    first, second = (np.stack(column) for column in zip(*frames, strict=True))
    alone = np.stack([tvl1(a, b) for a, b in frames])
    assert np.array_equal(tvl1_pairs(first, second, threads=1), alone)
    assert np.array_equal(tvl1_pairs(first, second, threads=2), alone)  # over the pairs
    assert np.array_equal(tvl1(*frames[0], threads=2), alone[0])  # within the pair


def test_equal_frames_do_not_move(instruction_set: str) -> None:
    frame, _ = pair(70, 70, 0.0)
    assert np.abs(tvl1(frame, frame)).max() < 1e-3


def test_strided_frames(instruction_set: str) -> None:
    a, b = pair(80, 90, 1.0)
    found = tvl1(a[::-1, ::2], b[::-1, ::2])
    assert np.array_equal(found, tvl1(a[::-1, ::2].copy(), b[::-1, ::2].copy()))


@settings(deadline=None, max_examples=25)
@given(
    shape=st.tuples(st.integers(3, 40), st.integers(3, 40)),
    data=st.data(),
    limit=st.sampled_from(native.INSTRUCTION_SETS),
)
def test_any_frames_give_finite_flow(
    shape: tuple[int, int], data: st.DataObject, limit: str
) -> None:
    frames = [data.draw(arrays.arrays(np.uint8, shape)) for _ in range(2)]
    try:
        native.instruction_set(limit)
        assert np.isfinite(tvl1(*frames)).all()
    finally:
        native.instruction_set()


GOOD = np.zeros((20, 20), np.uint8)


@pytest.mark.parametrize(
    "wrong",
    [
        GOOD.astype(np.float32),
        GOOD[0],
        GOOD[None],
        GOOD[:0],
        GOOD[:2],
        GOOD[:19],
        GOOD.tolist(),
        None,
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_wrong_frame_is_named(wrong: object, first: bool) -> None:
    with pytest.raises(UserError, match=r"^frames?[01]: "):
        tvl1(*((wrong, GOOD) if first else (GOOD, wrong)))  # type: ignore[arg-type]


def test_wrong_batches_are_named() -> None:
    with pytest.raises(UserError, match=r"^frames0: "):
        tvl1_pairs(GOOD, GOOD)
    with pytest.raises(UserError, match=r"^frames0: "):
        tvl1_pairs(GOOD[None][:0], GOOD[None][:0])
    with pytest.raises(UserError, match=r"^threads: "):
        tvl1_pairs(GOOD[None], GOOD[None], threads=0)
