"""Scripts: what random ones promise, time courses, the head's path, and what is refused."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microexpr.errors import UserError
from microexpr.film.script import (
    Blink,
    Movement,
    Script,
    closure,
    course,
    head,
    light,
    write_script,
)

SMILE = Movement("happiness", ("12",), 0.1, 0.2, 0.4, 1.0)
positive = st.floats(0.01, 5)


@given(st.floats(0, 5), positive, positive, st.lists(st.floats(-1, 20), min_size=1))
def test_a_course_rises_to_one_and_falls(
    onset: float, rise: float, fall: float, times: list[float]
) -> None:
    apex, offset = onset + rise, onset + rise + fall
    level = course(np.array(times), onset, apex, offset)
    assert ((level >= 0) & (level <= 1)).all()
    assert np.allclose(course(np.array([onset, apex, offset]), onset, apex, offset), [0, 1, 0])
    moving = np.linspace(onset, apex, 20)
    assert (np.diff(course(moving, onset, apex, offset)) >= 0).all()
    outside = np.array([onset - 0.1, offset + 0.1])
    assert not course(outside, onset, apex, offset).any()


@given(st.integers(0, 10_000), st.floats(0.1, 1), st.floats(1.0, 4))
def test_a_random_script_keeps_its_promises(seed: int, low: float, times: float) -> None:
    script = write_script(seed, seconds=12, events=3, peak=(low, low * times), blinks_per_minute=12)
    assert len(script.events) == 3
    assert len(script.blinks) >= 12 * 12 / 60
    assert all(low <= event.peak <= low * times for event in script.events)
    assert all(0.2 <= event.offset - event.onset <= 0.5 + 1e-9 for event in script.events)
    for parts in (script.events, script.blinks):
        assert all(a.offset <= b.onset for a, b in itertools.pairwise(parts))
        assert parts[-1].offset <= script.seconds
    assert write_script(seed, seconds=12, peak=(low, low * times), blinks_per_minute=12) == script


def test_the_frame_rate_changes_nothing_but_the_frames() -> None:
    fast, slow = write_script(5, fps=200), write_script(5, fps=25)
    assert replace(slow, fps=200) == fast
    assert (fast.frames, slow.frames) == (2000, 250)
    at = np.arange(slow.frames) / slow.fps
    for way in (head, light, closure):
        there = np.array(way(fast, np.arange(fast.frames) / fast.fps))[..., ::8]
        assert np.array_equal(np.array(way(slow, at)), there)


def test_emotions_are_chosen_among_those_named() -> None:
    drawn = [e for seed in range(20) for e in write_script(seed, emotions=("contempt",)).events]
    assert {event.emotion for event in drawn} == {"contempt"}
    sides = {event.units[0][0] for event in drawn}
    assert sides == {"1", "L", "R"}  # 14 on both sides, on the left, on the right


@pytest.mark.parametrize("drift", [0.0, 2.0, 6.0])
def test_the_head_goes_as_far_as_it_should(drift: float) -> None:
    script = Script(seconds=8, drift=drift, seed=3)
    way = head(script, np.linspace(0, 8, 800))
    assert (way.x[0], way.y[0], way.turn[0], way.zoom[0]) == (0, 0, 0, 1)
    assert np.hypot(way.x, way.y).max() == pytest.approx(drift / 100, abs=1e-6)
    assert np.abs(np.degrees(way.turn)).max() == pytest.approx(0.3 * drift, abs=1e-6)
    assert np.abs(way.zoom - 1).max() == pytest.approx(0.0025 * drift, abs=1e-6)


def test_light_stays_within_its_amplitude() -> None:
    bright = light(Script(flicker=2.0, seconds=20), np.linspace(0, 20, 4000))
    assert 0.98 <= bright.min() < 0.99 < 1.01 < bright.max() <= 1.02
    assert (light(Script(flicker=0), np.linspace(0, 1, 9)) == 1).all()


def test_lids_close_once_a_blink() -> None:
    script = Script(seconds=3, blinks=(Blink(0.5, 0.6, 0.8), Blink(2.0, 2.1, 2.3)))
    shut = closure(script, np.array([0.0, 0.6, 1.5, 2.1, 2.9]))
    assert shut.tolist() == [0, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"fps": 0}, "fps of a film must be positive, got 0"),
        ({"seconds": -1}, "seconds of a film must be positive"),
        ({"noise": -1}, "noise of a film must not be below 0"),
        ({"width": 8}, "at least 16x16 pixels"),
        ({"crf": 60}, "crf of at most 51"),
        ({"seconds": 0.3, "events": (SMILE,)}, "an event ends at 0.4 s, after the film of 0.3 s"),
    ],
)
def test_impossible_films_are_refused(values: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        Script(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"apex": 0.05}, "must follow each other"),
        ({"units": ()}, "needs an action unit"),
        ({"peak": 0}, "a peak above 0"),
        ({"units": ("99",)}, "unknown action unit '99'"),
    ],
)
def test_impossible_movements_are_refused(values: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        replace(SMILE, **values)


def test_impossible_wishes_are_refused() -> None:
    with pytest.raises(UserError, match="a blink's onset, closed, offset"):
        Blink(0.2, 0.1, 0.3)
    with pytest.raises(UserError, match="did you mean 'happiness'"):
        write_script(0, emotions=("hapiness",))
    with pytest.raises(UserError, match="too short for 9 events"):
        write_script(0, seconds=4, events=9)
    with pytest.raises(UserError, match="too short for 4 blinks"):
        write_script(0, seconds=1, events=0, blinks_per_minute=200)
