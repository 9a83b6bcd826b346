from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from microexpr.errors import UserError
from microexpr.preprocess.align import FACE, places
from microexpr.preprocess.apex import APEX_METHODS, apex, motion_curves, unimodal_fit

SIZE, COUNT, TRUE_APEX = 96, 21, 13


def skin(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(SIZE, SIZE)).astype(np.float32)
    layers = [cv2.GaussianBlur(noise, (0, 0), sigma) for sigma in (1.5, 3, 8)]
    return 128 + 25 * sum(layer / layer.std() for layer in layers)


def clip(x: float, y: float, pixels: float, drift: float = 0.0, flicker: float = 0.0) -> np.ndarray:
    """A patch of skin at (x, y) IOD is pulled up and let go, the apex at `TRUE_APEX`."""
    rng = np.random.default_rng(1)
    texture = skin()
    across, down = places(FACE, SIZE)
    blob = np.exp(-0.5 * ((across - x) ** 2 + (down - y) ** 2) / 0.18**2).astype(np.float32)
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    frames = []
    for i in range(COUNT):
        share = min(i / TRUE_APEX, (COUNT - 1 - i) / (COUNT - 1 - TRUE_APEX))
        at = (columns + drift * i, rows + pixels * share * blob)
        frame = cv2.remap(texture, *at, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        bright = 1 + flicker * rng.normal()
        noise = rng.normal(size=frame.shape)
        frames.append(np.clip(bright * frame + noise, 0, 255).astype(np.uint8))
    return np.array(frames)


@pytest.mark.parametrize("place", [(0.45, 1.04), (-0.55, -0.33), (0.7, 0.6)])
@pytest.mark.parametrize("method", ["unimodal", "maximum"])
def test_the_apex_is_found(place: tuple[float, float], method: str) -> None:
    frames = clip(*place, pixels=2.0)
    assert abs(apex(frames, 0, COUNT - 1, method) - TRUE_APEX) <= 1


def test_head_drift_and_flicker_do_not_matter() -> None:
    frames = clip(0.45, 1.04, pixels=2.0, drift=0.15, flicker=0.03)
    assert abs(apex(frames, 0, COUNT - 1) - TRUE_APEX) <= 1
    shifted = np.concatenate([frames[:1], frames[:1], frames])  # two still frames before
    assert abs(apex(shifted, 2, COUNT + 1) - TRUE_APEX - 2) <= 1


def test_eyes_count_only_where_nothing_else_moves() -> None:
    blink = clip(0.5, -0.01, pixels=3.0).astype(int)
    mouth = clip(0.45, 1.04, pixels=1.5).astype(int)
    late = np.roll(blink, 5, axis=0)  # the lid closes five frames after the mouth moves
    both = np.clip(mouth + late - skin()[None], 0, 255).astype(np.uint8)
    assert abs(apex(both, 0, COUNT - 1) - TRUE_APEX) <= 1


def test_curves_have_a_name_and_begin_at_zero() -> None:
    curves = motion_curves(clip(0.45, 1.04, pixels=2.0))
    moved = {key: curve.max() for key, curve in curves.items() if key[1] == "magnitude"}
    assert max(moved, key=moved.__getitem__) == ("right mouth", "magnitude")
    assert all(len(curve) == COUNT for curve in curves.values())
    assert max(curve[0] for curve in curves.values()) < 0.3 * max(moved.values())


def slow_fit(curve: np.ndarray) -> float:
    """The least squared error of a rise followed by a fall, by trying every split."""

    def error(part: np.ndarray, rising: bool) -> float:
        if not len(part):
            return 0.0
        fit = IsotonicRegression(increasing=rising).fit_transform(np.arange(len(part)), part)
        return float(((part - fit) ** 2).sum())

    return min(error(curve[:m], True) + error(curve[m:], False) for m in range(len(curve) + 1))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=14))
def test_the_fit_is_the_best_unimodal_one(values: list[float]) -> None:
    curve = np.array(values)
    mode, explained = unimodal_fit(curve)
    total = ((curve - curve.mean()) ** 2).sum()
    if total > 1e-6:
        assert 1 - explained == pytest.approx(slow_fit(curve) / total, abs=1e-6)
    assert 0 <= mode < len(curve)


@settings(deadline=None)
@given(st.integers(0, 9), st.integers(0, 9))
def test_a_clean_bump_is_explained_and_its_mode_found(up: int, down: int) -> None:
    curve = np.concatenate([np.arange(up), [up + down], np.arange(down)[::-1]]).astype(float)
    mode, explained = unimodal_fit(curve)
    assert explained == pytest.approx(1)
    assert curve[mode] == curve.max()


def test_short_clips_and_the_midpoint() -> None:
    frames = np.zeros((9, SIZE, SIZE), np.uint8)
    assert apex(frames, 2, 8, "midpoint") == 5
    assert apex(frames, 4, 4) == 4
    assert apex(frames, 4, 6) == 5


@pytest.mark.parametrize("method", APEX_METHODS)
def test_a_clip_without_motion_still_has_an_answer(method: str) -> None:
    assert 1 <= apex(np.full((9, SIZE, SIZE), 90, np.uint8), 1, 7, method) <= 7


def test_bad_input() -> None:
    frames = np.zeros((5, SIZE, SIZE), np.uint8)
    with pytest.raises(UserError, match="did you mean 'unimodal'"):
        apex(frames, 0, 4, "unimodel")
    for onset, offset in ((3, 2), (-1, 3), (0, 5)):
        with pytest.raises(UserError, match="not frames in order"):
            apex(frames, onset, offset)
