"""Films on disk and the truth beside them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from microexpr.errors import UserError
from microexpr.film import (
    Blink,
    Movement,
    Script,
    default_portrait,
    drawn_portrait,
    film,
    write_script,
)
from microexpr.video import frames, open_video

FACE = drawn_portrait()
SHORT = Script(
    fps=25.0,
    seconds=1.2,
    events=(Movement("happiness", ("L12", "6"), 0.2, 0.44, 0.68, 1.5),),
    blinks=(Blink(0.8, 0.9, 1.1),),
    width=160,
    height=120,
    eyes=30.0,
)


def test_a_film_and_its_truth(tmp_path: Path) -> None:
    path = tmp_path / "films" / "a.mp4"
    told = film(FACE, SHORT, path)
    assert sorted(file.name for file in path.parent.iterdir()) == ["a.json", "a.mp4"]
    written = json.loads(path.with_suffix(".json").read_text())
    assert written == json.loads(json.dumps(asdict(told)))
    (event,) = written["events"]
    assert [event[key] for key in ("onset", "apex", "offset")] == [5, 11, 17]
    assert [event[key] for key in ("onset_time", "apex_time", "offset_time")] == [0.2, 0.44, 0.68]
    assert (event["units"], event["emotion"]) == (["L12", "6"], "happiness")
    assert (event["peak"], event["peak_pixels"]) == (1.5, pytest.approx(0.45))
    assert written["blinks"] == [{"onset": 20, "closed": 22, "offset": 28}]
    assert len(written["head"]["x"]) == written["frames"] == 30
    assert written["head"]["reach"] == pytest.approx(3.0, rel=0.05)
    video = open_video(path)
    assert (video.frames, video.fps, video.width, video.height) == (30, 25, 160, 120)
    assert video.codec == "h264"
    assert all(frame.image.std() > 10 for frame in frames(video))


def test_frames_are_those_nearest_and_within_the_film(tmp_path: Path) -> None:
    script = write_script(11, fps=30, seconds=4, events=2)
    told = film(FACE, Script(**{**vars_of(script), **SMALL}), tmp_path / "b.gif")
    for event, true in zip(script.events, told.events, strict=True):
        for name in ("onset", "apex", "offset"):
            number = getattr(true, name)
            assert abs(number / 30 - getattr(event, name)) <= 0.5 / 30 + 1e-9
            assert 0 <= number < told.frames
    assert [e.onset for e in told.events] == sorted(e.onset for e in told.events)


SMALL = {"width": 64, "height": 64, "eyes": 16.0}


def vars_of(script: Script) -> dict[str, object]:
    return {name: getattr(script, name) for name in script.__dataclass_fields__}


def test_the_same_film_twice_is_the_same_file(tmp_path: Path) -> None:
    for name in ("one.mp4", "two.mp4"):
        film(FACE, SHORT, tmp_path / name)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_there_is_always_a_portrait() -> None:
    portrait = default_portrait()
    assert portrait.image.ndim == 3
    assert np.isfinite(portrait.landmarks).all()


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must end in .mp4 or .gif"):
        film(FACE, SHORT, tmp_path / "a.avi")
    assert list(tmp_path.iterdir()) == []
