from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microexpr.preprocess.outline import Bump, level, outline

FPS = 100.0


def bump(count: int, onset: int, apex: int, offset: int, height: float = 1.0) -> np.ndarray:
    """A triangle."""
    return height * np.interp(np.arange(count), [onset, apex, offset], [0, 1, 0])


@settings(deadline=None)
@given(st.integers(100, 150), st.integers(8, 20), st.integers(8, 20), st.floats(-2, 2))
def test_a_bump_is_outlined_whatever_its_zero(onset: int, up: int, down: int, zero: float) -> None:
    apex, offset = onset + up, onset + up + down
    curve = zero + bump(300, onset, apex, offset, 0.5)
    found = outline(curve.astype(np.float32), apex - 2, (onset - 60, onset - 20), FPS)
    assert found is not None
    assert found.apex == apex
    assert found.complete
    assert found.height == pytest.approx(0.5, rel=0.02)
    assert onset <= found.onset <= onset + 0.12 * up + 1
    assert offset - 0.12 * down - 1 <= found.offset <= offset


@pytest.mark.parametrize("drift", [-0.004, 0.004])
def test_a_drifting_zero_is_followed(drift: float) -> None:
    curve = bump(400, 180, 200, 220) + drift * np.arange(400)
    found = outline(curve.astype(np.float32), 200, (100, 170), FPS)
    assert found is not None
    assert abs(found.onset - 180) <= 4
    assert abs(found.apex - 200) <= 1
    assert abs(found.offset - 220) <= 4
    assert found.height == pytest.approx(1, abs=0.05)


def test_a_plateau_is_one_long_bump() -> None:
    curve = np.interp(np.arange(600), [100, 130, 350, 380], [0, 1, 1, 0]).astype(np.float32)
    found = outline(curve, 130, (50, 90), FPS)
    assert found is not None
    assert (found.onset, found.offset) == (103, 377)
    assert 130 <= found.apex <= 350


def test_a_step_never_comes_back() -> None:
    curve = np.interp(np.arange(1000), [100, 120], [0, 1]).astype(np.float32)
    assert outline(curve, 130, (50, 90), FPS) is None


def test_the_end_of_the_curve_ends_an_incomplete_bump() -> None:
    curve = np.interp(np.arange(200), [100, 120], [0, 1]).astype(np.float32)
    found = outline(curve, 130, (50, 90), FPS)
    assert found == Bump(102, 120, 199, 1.0, False)


def test_two_bumps_are_not_one() -> None:
    curve = bump(400, 100, 120, 140) + bump(400, 132, 152, 172)  # they meet at .2 of the peak
    first = outline(curve.astype(np.float32), 120, (40, 90), FPS)
    assert first is not None
    assert first.apex == 120
    assert 125 <= first.offset <= 138  # the second one tilts the zero a little


def test_what_does_not_rise_is_no_bump() -> None:
    assert outline(-bump(300, 100, 120, 140).astype(np.float32), 120, (40, 90), FPS) is None


def lagging(curve: np.ndarray, slack: float) -> np.ndarray:
    """As a compressed film shows it: what it was, until that is wrong by more than `slack`."""
    shown, held = np.empty_like(curve), curve[0]
    for i, value in enumerate(curve):
        held = value if abs(value - held) > slack else held
        shown[i] = held
    return shown


def test_the_apex_is_where_a_film_that_lags_comes_to_its_top() -> None:
    ease = np.interp(np.arange(400), [180, 200, 230], [0, 1, 0])
    true = ease**2 * (3 - 2 * ease)
    window = np.exp(-0.5 * (np.arange(-8, 9) / 2.5) ** 2)
    late, middle = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        seen = np.mean([lagging(true, slack) for slack in rng.uniform(0.1, 0.4, 12)], axis=0)
        seen = np.convolve(seen + rng.normal(0, 0.05, 400), window / window.sum(), "same")
        found = outline(seen.astype(np.float32), 205, (120, 160), FPS)
        assert found is not None
        late.append(found.apex - 200)
        middle.append(np.flatnonzero(seen >= 0.8 * seen.max()).mean() - 200)
    assert abs(np.mean(late)) < 1
    assert np.abs(late).max() <= 3
    assert np.mean(middle) > 3


def test_noise_decides_what_is_as_high_as_the_top() -> None:
    curve = np.interp(np.arange(400), [180, 200, 240, 260], [0, 1, 1.02, 0])
    quiet = outline(curve.astype(np.float32), 200, (120, 160), FPS)
    trembling = curve + np.where(np.arange(400) % 2, 0.05, -0.05) * (curve < 0.01)
    noisy = outline(trembling.astype(np.float32), 200, (120, 160), FPS)
    assert quiet is not None
    assert noisy is not None
    assert (quiet.apex, quiet.height) == (240, pytest.approx(1.02, abs=0.01))
    assert 199 <= noisy.apex <= 202
    assert noisy.height == pytest.approx(1.02, abs=0.05)


def test_levels_beyond_the_ends() -> None:
    curve = np.arange(10, dtype=np.float32)
    assert level(curve, -5, -2) == 0
    assert level(curve, -5, 3) == 1
    assert level(curve, 8, 20) == 8.5
    assert level(curve, 15, 20) == 9
