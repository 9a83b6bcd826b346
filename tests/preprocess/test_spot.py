from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from microexpr.errors import UserError
from microexpr.preprocess.face import load_face_models
from microexpr.preprocess.motion import REGIONS, Motion, motion
from microexpr.preprocess.spot import THRESHOLD, spot
from microexpr.preprocess.track import track
from microexpr.video import open_video

NAMES = [(region.landmark, region.side) for region in REGIONS]
LIDS = [i for i, (name, _) in enumerate(NAMES) if name == "lid_upper"]
MOUTH = [
    i
    for i, (name, _) in enumerate(NAMES)
    if name in {"mouth_corner", "cheek_low", "fold_middle", "lip_upper_side"}
]


def film(
    fps: float = 100.0, seconds: float = 10.0, sigma: float = 4e-4, drift: float = 0.01
) -> Motion:
    """A face at rest: every region trembles and drifts."""
    rng = np.random.default_rng(0)
    times = np.arange(round(fps * seconds)) / fps
    noise = rng.normal(0, sigma, (len(times), len(REGIONS), 2))
    phase = rng.uniform(0, 6, (len(REGIONS), 2))
    slow = drift * np.sin(0.7 * times[:, None, None] + phase)
    head = np.zeros((len(times), 2), np.float32)
    return Motion(times, np.arange(len(times)), (noise + slow).astype(np.float32), head)


def moved(base: Motion, regions: list[int], onset: float, apex: float, offset: float, by: float):
    """The regions go up by `by` IOD and come back, smoothly."""
    ease = np.interp(base.times, [onset, apex, offset], [0, 1, 0])
    shift = base.shift.copy()
    shift[:, regions, 1] -= (by * ease**2 * (3 - 2 * ease)).astype(np.float32)[:, None]
    return dataclasses.replace(base, shift=shift)


@pytest.mark.parametrize("fps", [30.0, 100.0, 200.0])
@pytest.mark.parametrize("by", [0.006, -0.02])
def test_a_micro_expression_is_spotted(fps: float, by: float) -> None:
    found = spot(moved(film(fps), MOUTH, 5.0, 5.2, 5.4, by), fps)
    (event,) = found.events
    assert event.kind == "micro"
    assert event.complete
    assert event.onset_time == pytest.approx(5.0, abs=0.08)
    assert event.apex_time == pytest.approx(5.2, abs=0.04)
    assert event.offset_time == pytest.approx(5.4, abs=0.08)
    assert (event.onset, event.apex, event.offset) == tuple(
        round(time * fps) for time in (event.onset_time, event.apex_time, event.offset_time)
    )
    assert event.score > THRESHOLD
    assert 0.5 * abs(by) < event.displacement < 1.2 * abs(by)
    strongest = np.argsort(-np.hypot(*event.shift.T))[: len(MOUTH)]
    assert set(strongest) == set(MOUTH)
    assert np.sign(event.shift[MOUTH, 1]).tolist() == [-np.sign(by)] * len(MOUTH)
    assert found.lost == ()


@pytest.mark.parametrize("fps", [30.0, 200.0])
@pytest.mark.parametrize("sigma", [1e-4, 1e-3, 5e-3])
def test_rest_holds_no_event_however_noisy(fps: float, sigma: float) -> None:
    found = spot(film(fps, sigma=sigma), fps)
    assert found.events == ()
    assert np.nanmax(found.activity) < THRESHOLD


def test_the_threshold_follows_the_noise() -> None:
    quiet, loud = film(sigma=4e-4), film(sigma=5e-3)
    assert len(spot(moved(quiet, MOUTH, 5, 5.2, 5.4, 0.006), 100).events) == 1
    assert len(spot(moved(loud, MOUTH, 5, 5.2, 5.4, 0.006), 100).events) == 0
    assert len(spot(moved(loud, MOUTH, 5, 5.2, 5.4, 0.04), 100).events) == 1


def test_several_events_come_in_order() -> None:
    base = film()
    for at in (2.0, 4.5, 8.0):
        base = moved(base, MOUTH, at, at + 0.15, at + 0.3, 0.01)
    found = spot(base, 100)
    assert [event.apex_time for event in found.events] == pytest.approx(
        [2.15, 4.65, 8.15], abs=0.04
    )
    assert spot(base, 100, threshold=1e6).events == ()


def test_a_long_movement_is_macro() -> None:
    base, shift = film(), film().shift.copy()
    shift[:, MOUTH, 1] -= 0.06 * np.interp(base.times, [3, 3.3, 5, 5.4], [0, 1, 1, 0])[:, None]
    found = spot(dataclasses.replace(base, shift=shift.astype(np.float32)), 100)
    (event,) = found.events
    assert event.kind == "macro"
    assert event.onset_time == pytest.approx(3.03, abs=0.1)
    assert 3.2 < event.apex_time < 5.1
    assert event.offset_time == pytest.approx(5.35, abs=0.1)


@pytest.mark.parametrize(("seconds", "least"), [(0.45, 0.0018), (0.7, 0.005), (1.0, 0.01)])
def test_a_longer_movement_must_be_larger(seconds: float, least: float) -> None:
    for by, there in ((1.3 * least / 0.8, 1), (0.5 * least, 0)):
        base = moved(film(sigma=5e-5, drift=0), MOUTH, 5, 5 + seconds / 2, 5 + seconds, by)
        assert len(spot(base, 100).events) == there


def test_a_movement_that_the_recording_cuts_off_says_so() -> None:
    base, shift = film(seconds=5), film(seconds=5).shift.copy()
    shift[:, MOUTH, 1] -= 0.06 * np.interp(base.times, [3, 3.3], [0, 1])[:, None]
    (event,) = spot(dataclasses.replace(base, shift=shift.astype(np.float32)), 100).events
    assert (event.kind, event.complete, event.offset) == ("macro", False, len(base.times) - 1)


def test_a_change_of_posture_is_no_event() -> None:
    base, shift = film(), film().shift.copy()
    shift[..., 0] += 0.05 * np.interp(base.times, [3, 3.3], [0, 1])[:, None]
    found = spot(dataclasses.replace(base, shift=shift.astype(np.float32)), 100)
    assert found.events == ()


def test_blinks_are_told_apart() -> None:
    base = film()
    for at in (2.0, 5.0, 8.0):
        base = moved(base, LIDS, at, at + 0.1, at + 0.25, -0.04)
    found = spot(moved(base, MOUTH, 5.05, 5.25, 5.45, 0.01), 100)
    assert len(found.blinks) == 3
    assert found.blinks[0][0] < 2.1 < found.blinks[0][1]
    (event,) = found.events  # the mouth moved during the second blink
    assert event.apex_time == pytest.approx(5.25, abs=0.04)


def test_what_was_lost_is_said_and_not_guessed() -> None:
    base = moved(moved(film(), MOUTH, 2, 2.2, 2.4, 0.01), MOUTH, 8, 8.2, 8.4, 0.01)
    base.shift[400:600] = np.nan
    found = spot(base, 100)
    assert found.lost == ((4.0, 6.0),)
    assert np.isnan(found.activity[400:600]).all()
    assert not np.isnan(found.activity[:400]).any()
    assert [event.apex_time for event in found.events] == pytest.approx([2.2, 8.2], abs=0.04)
    assert any("20% of the recording was not analysed" in text for text in found.warnings)


def test_a_recording_without_any_face() -> None:
    base = film(seconds=2)
    base.shift[:] = np.nan
    found = spot(base, 100)
    assert found.events == ()
    assert found.lost == ((0.0, 2.0),)
    assert "100% of the recording was not analysed: no face to be seen" in found.warnings


def test_variable_frame_rate_keeps_the_clock() -> None:
    base = moved(film(100), MOUTH, 5.0, 5.2, 5.4, 0.01)
    kept = np.flatnonzero(np.random.default_rng(0).random(len(base.times)) < 0.6)
    kept = np.union1d(kept, [0, len(base.times) - 1])
    uneven = Motion(base.times[kept], base.numbers[kept], base.shift[kept], base.head[kept])
    (event,) = spot(uneven, (len(kept) - 1) / base.times[-1]).events
    assert event.apex_time == pytest.approx(5.2, abs=0.05)
    assert event.apex == round(100 * event.apex_time)


def test_slow_cameras_are_warned_of_or_refused() -> None:
    assert "cannot be told from noise" in spot(film(30), 30).warnings[0]
    assert spot(film(100), 100).warnings == ()
    with pytest.raises(UserError, match="too few"):
        spot(film(10), 10)
    with pytest.raises(UserError, match="must be positive"):
        spot(film(), 100, threshold=0)


def test_a_real_smile(shared_data: Path) -> None:
    """Onset at frame 13 to 18, a plateau from 22 to 68, the end after it; a blink at 27."""
    video = open_video(shared_data / "clips" / "single_face.mp4")
    found = spot(motion(video, track(load_face_models(), video)), video.fps or 0)
    (event,) = found.events
    assert event.kind == "macro"
    assert 13 <= event.onset <= 18
    assert 22 <= event.apex <= 68
    assert event.offset >= 68
    ((first, last),) = found.blinks
    assert first < 27 / 30 < last
    assert np.hypot(*event.shift[NAMES.index(("mouth_corner", "left"))]) > 0.04


def test_a_film_without_a_face(shared_data: Path) -> None:
    video = open_video(shared_data / "clips" / "no_face.mp4")
    found = spot(motion(video, track(load_face_models(), video)), video.fps or 0)
    assert found.events == ()
    assert found.lost[0][0] == 0
    assert found.lost[0][1] == pytest.approx(video.duration)
