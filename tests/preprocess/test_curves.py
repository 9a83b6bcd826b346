from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microexpr.preprocess.curves import (
    BLINK,
    QUIETEST,
    activity,
    along,
    near_eyes,
    noise,
    peaks,
    runs,
    stretch,
)
from microexpr.preprocess.motion import REGIONS

FPS, COUNT = 100.0, 400
NAMES = [(region.landmark, region.side) for region in REGIONS]
MOUTH = NAMES.index(("mouth_corner", "left"))
CHEEK = NAMES.index(("cheek_low", "left"))
LIDS = [NAMES.index(("lid_upper", side)) for side in ("left", "right")]
BROWS = [i for i, (name, _) in enumerate(NAMES) if name in {"brow_inner", "brow_middle"}]
TIMES = np.arange(COUNT) / FPS


def still(seed: int = 0, sigma: float = 5e-4) -> np.ndarray:
    shape = (COUNT, len(REGIONS), 2)
    return np.random.default_rng(seed).normal(0, sigma, shape).astype(np.float32)


def pulse(at: float = 2.0, width: float = 0.07) -> np.ndarray:
    return np.exp(-0.5 * ((TIMES - at) / width) ** 2).astype(np.float32)


def test_noise_is_measured_and_has_a_floor() -> None:
    loud, quiet = (noise([stretch(still(sigma=s), TIMES, 0, FPS)]) for s in (4e-3, 1e-3))
    assert loud.shape == (len(REGIONS), 2)
    assert np.median(loud / quiet) == pytest.approx(4, rel=0.15)
    assert noise([stretch(still(sigma=0), TIMES, 0, FPS)]) == pytest.approx(QUIETEST)
    assert noise([]) == pytest.approx(QUIETEST)


def test_rare_movements_do_not_count_as_noise() -> None:
    moving = still()
    moving[:, MOUTH, 1] += 0.02 * pulse()
    plain, with_event = (noise([stretch(s, TIMES, 0, FPS)]) for s in (still(), moving))
    assert with_event[MOUTH] == pytest.approx(plain[MOUTH], rel=0.35)


def test_slow_drift_is_no_bump_and_a_pulse_is() -> None:
    drifting = still()
    drifting[..., 0] += 0.02 * np.sin(TIMES)[:, None].astype(np.float32)
    part = stretch(drifting, TIMES, 0, FPS)
    calm = activity(part.bump)
    assert calm[50:-50].max() < 2.5e-3
    drifting[:, MOUTH, 1] -= 0.02 * pulse()
    moved = stretch(drifting, TIMES, 0, FPS)
    assert np.abs(moved.bump[200, MOUTH, 1]) > 0.6 * 0.02
    assert activity(moved.bump)[200] > 2 * calm.max() / 2.5


def test_a_blink_is_found_and_passed_over() -> None:
    blinking = still()
    blinking[:, LIDS, 1] += 4 * BLINK * pulse()[:, None]
    blinking[:, BROWS, 1] += 2 * BLINK * pulse()[:, None]
    part = stretch(blinking, TIMES, 0, FPS)
    ((first, stop),) = runs(part.blinking)
    assert first < 200 < stop
    assert 15 < stop - first < 60
    assert np.abs(part.place[first:stop, near_eyes()]).max() < 0.3 * BLINK
    assert np.abs(part.bump[:, LIDS]).max() < 0.3 * BLINK


@pytest.mark.parametrize(("lids", "brows"), [(-4, 0), (2, 3), (0.5, 0)])
def test_raised_lids_lowered_brows_and_trembling_are_no_blinks(lids: float, brows: float) -> None:
    moving = still()
    moving[:, LIDS, 1] += lids * BLINK * pulse()[:, None]
    moving[:, BROWS, 1] += brows * BLINK * pulse()[:, None]
    assert not stretch(moving, TIMES, 0, FPS).blinking.any()


def test_a_wink_is_no_blink() -> None:
    moving = still()
    moving[:, LIDS[0], 1] += 4 * BLINK * pulse()
    assert not stretch(moving, TIMES, 0, FPS).blinking.any()


def test_uneven_frames_are_put_on_an_even_clock() -> None:
    times = np.cumsum(np.random.default_rng(0).choice([0.005, 0.01, 0.02], COUNT))
    fps = (COUNT - 1) / (times[-1] - times[0])
    ramp = np.broadcast_to(times[:, None, None] / 1000, (COUNT, len(REGIONS), 2))
    part = stretch(ramp.astype(np.float32), times, 7, fps)
    moments = times[0] + np.arange(len(part.at)) / fps
    inner = slice(20, -20)
    assert part.place[inner, 0, 0] == pytest.approx(moments[inner] / 1000, abs=1e-5)
    assert np.abs(times[part.at - 7] - moments).max() <= 0.0101
    assert (part.at[0], part.at[-1]) == (7, 7 + COUNT - 1)


def test_even_frames_stay_as_they_are() -> None:
    assert stretch(still(), TIMES, 3, FPS).at.tolist() == list(range(3, 3 + COUNT))


def test_displacement_is_added_up_along_the_movement() -> None:
    moving = still()
    moving[:, MOUTH] += 0.02 * pulse()[:, None] * np.float32([0.6, -0.8])
    moving[:, CHEEK] += 0.015 * pulse()[:, None] * np.float32([0, -1])
    part = stretch(moving, TIMES, 0, FPS)
    curve = along(part.place, part.bump[200], noise([part]))
    assert curve.argmax() == pytest.approx(200, abs=2)
    assert 0.012 < curve.max() - np.median(curve) < 0.02
    assert np.abs(curve[:150]).max() < 2e-3


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=30))
def test_runs_tell_the_mask(values: list[bool]) -> None:
    mask = np.array(values, bool)
    rebuilt = np.zeros_like(mask)
    for first, stop in runs(mask):
        assert mask[first:stop].all()
        rebuilt[first:stop] = True
    assert np.array_equal(rebuilt, mask)


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.integers(1, 5))
def test_peaks_are_as_high_as_all_within_reach(values: list[int], reach: int) -> None:
    level = np.array(values, np.float32)
    found = peaks(level, reach)
    for i in found:
        assert level[i] == level[max(i - reach, 0) : i + reach + 1].max()
    assert int(level.argmax()) in found
