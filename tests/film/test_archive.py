"""An archive of films: a true index, the same bytes again, and flow as the script says."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from microexpr.anatomy import UNIT_INDEX
from microexpr.datasets.films import Films
from microexpr.encoding import encode
from microexpr.errors import UserError
from microexpr.film.archive import (
    RATES,
    Archive,
    Made,
    Take,
    _blink,
    _people,
    film_path,
    make_archive,
    people_of,
    true_field,
)
from microexpr.film.people import drawn_person
from microexpr.film.portrait import framed
from microexpr.film.script import Script, closure
from microexpr.inputs import Input
from microexpr.preprocess.align import TIGHT, chain, placement, similarity, warp
from microexpr.preprocess.face import load_face_models
from microexpr.preprocess.pipeline import DEFAULT, prepare_clip
from microexpr.template import template
from microexpr.video import open_video

SMALL = Archive(persons=2, clips=2, seed=4)
RELATIVE = Input(("u", "v"), 28, "tvl1", "relative")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("archive")
    assert make_archive(out, SMALL, jobs=1) == Made(4, 0)
    return out


def films(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.mp4"))
    }


def takes(asked: Archive) -> list[Take]:
    return [take for person in _people(Path(), asked) for take in person.takes]


def test_the_index_tells_the_truth(archive: Path) -> None:
    with (archive / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    clips = people_of(SMALL).clips()
    assert [row["clip"] for row in rows] == [clip.name for clip in clips]
    for row, clip, take in zip(rows, clips, takes(SMALL), strict=True):
        video = open_video(film_path(archive, clip))
        assert (video.width, video.height) == (320, 320)
        assert video.fps == pytest.approx(float(row["fps"]))
        assert float(row["fps"]) in RATES
        onset, apex, offset = (int(row[key]) for key in ("onset", "apex", "offset"))
        assert 1 <= onset < apex < offset <= video.frames
        (event,) = take.script.events
        assert abs((apex - 1) / take.script.fps - event.apex) <= 0.5 / take.script.fps + 1e-9
        assert tuple(row["units"].split("+")) == event.units
        assert set(event.units) == set(clip.action_units) - {"45"}
        assert (row["person"], row["emotion"]) == (clip.subject, clip.emotion)


def test_what_is_there_is_kept_and_what_is_lost_comes_back_the_same(archive: Path) -> None:
    before = films(archive)
    assert len(before) == 4
    first = min(before)
    (archive / first).unlink()
    (archive / "index.csv").unlink()
    assert make_archive(archive, SMALL, jobs=1) == Made(1, 3)
    assert films(archive) == before
    with (archive / "index.csv").open() as file:
        assert len(file.readlines()) == 5


def test_more_persons_leave_those_there_alone(archive: Path) -> None:
    few, many = takes(SMALL), takes(Archive(persons=3, clips=4, seed=4))
    by_id = {take.clip.id: take for take in many}
    for take in few:
        other = by_id[take.clip.id]
        assert take.script == other.script
        np.testing.assert_array_equal(take.activation, other.activation)
    with pytest.raises(UserError, match="holds films with seed 4; choose another folder"):
        make_archive(archive, Archive(persons=2, clips=2, seed=5), jobs=1)
    with pytest.raises(UserError, match="mixes cannot be 'count'"):
        make_archive(archive, Archive(mixes="count"), jobs=1)


def test_a_damaged_note_is_refused(tmp_path: Path) -> None:
    for text in ("", "[]", '{"seed": 0}'):
        (tmp_path / "archive.json").write_text(text)
        with pytest.raises(UserError, match="is damaged"):
            make_archive(tmp_path, SMALL, jobs=1)
    assert list(tmp_path.rglob("*.mp4")) == []


def test_the_note_says_what_was_asked_for(archive: Path) -> None:
    told = json.loads((archive / "archive.json").read_text())
    assert (told["seed"], told["persons"], told["mixes"]) == (4, 2, "textbook")


@pytest.mark.parametrize("closes", [0.3, 0.9, -0.3, -0.9])
def test_blinks_close_or_open_the_lids_from_onset_to_apex(closes: float) -> None:
    onset, apex = 0.45, 0.8  # late enough for any blink before
    for seed in range(5):
        blinks = _blink(np.random.default_rng(seed), closes, onset, apex)
        script = Script(seconds=2.0, blinks=blinks)
        before, after = closure(script, np.array([onset, apex]))
        assert after - before == pytest.approx(closes, abs=0.02)


def test_lids_are_drawn_and_nothing_else_of_a_blink_moves() -> None:
    shown = takes(Archive(persons=4, clips=10))
    blinking = [take for take in shown if take.script.blinks]
    assert 5 < len(blinking) < 25
    for take in shown:
        assert not take.activation[UNIT_INDEX["45"]].any()
        assert bool(take.script.blinks) == ("45" in take.clip.action_units)
        assert take.script.seconds < 1.2
        assert 0.02 < take.script.events[0].peak < 15


def truth(take: Take, landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """The film's own field in the crop that models see, ``(2, 224, 224)`` pixels of the crop."""
    field = true_field(landmarks, take)
    eyes = [landmarks[:2].reshape(-1, 2), template()[:2].reshape(-1, 2)]
    points, places = (array.astype(np.float64) for array in eyes)
    to_crop = chain(similarity(points, places), placement(TIGHT, 224))
    seen = np.stack([warp(np.ascontiguousarray(field[..., k]), to_crop, 224) for k in (0, 1)], -1)
    return np.moveaxis(seen @ to_crop[:, :2].T, -1, 0).astype(np.float32)


@pytest.mark.slow
def test_prepared_films_show_the_flow_of_their_script(tmp_path: Path) -> None:
    """Detection, alignment and TV-L1 give back what was drawn, where it is no mere shade."""
    asked = Archive(persons=6, clips=4, seed=1)
    make_archive(tmp_path, asked, jobs=1)
    clips = {(clip.subject, clip.name): clip for clip in Films(tmp_path).clips()}
    models = load_face_models()
    likeness, error, size = [], [], []
    for person in _people(tmp_path, asked):
        portrait = drawn_person(*person.key, person.landmarks)
        for take in person.takes:
            if take.script.events[0].peak < 1.5 or take.script.blinks:
                continue
            clip = clips[take.clip.subject, take.clip.name]
            found = prepare_clip(clip, tmp_path, DEFAULT, models).planes
            true = truth(take, framed(portrait, 320, 320, take.script.eyes).landmarks)
            a, b = (encode(planes, DEFAULT, RELATIVE).ravel() for planes in (found, true))
            likeness.append(np.corrcoef(a, b)[0, 1])
            there = np.hypot(*true) > 0.5 * np.hypot(*true).max()
            error.append(np.hypot(*(found - true))[there].mean())
            size.append(np.hypot(*true)[there].mean())
    assert len(likeness) >= 6
    assert np.median(likeness) > 0.75
    assert min(likeness) > 0.3
    assert np.median(np.array(error) / np.array(size)) < 0.5  # mean endpoint error, of the motion
