"""The files of an analysis: what they hold, and that they are whole or not there."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from microexpr.analysis import KeyFrames
from microexpr.app.outputs import (
    FILES,
    SCHEMA,
    Job,
    Outcome,
    Settings,
    analyze_all,
    do_job,
    exit_code,
    find_videos,
    folders,
)
from microexpr.errors import UserError
from microexpr.film import Truth, drawn_portrait, film, write_script
from microexpr.training.default import load_default
from microexpr.video import open_video
from microexpr.videowriter import write_video


@pytest.fixture(scope="module")
def shot(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    """A short film with one smile, and what is true of it."""
    path = tmp_path_factory.mktemp("film") / "smile.mp4"
    script = write_script(
        5, fps=50, seconds=1.5, events=1, peak=(1.8, 2.0), emotions=("happiness",), drift=1.0
    )
    return path, film(drawn_portrait(), script, path)


@pytest.fixture(scope="module")
def outcome(shot: tuple[Path, Truth], tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return do_job(Job(shot[0], tmp_path_factory.mktemp("out") / "smile", Settings()))


def grey_video(path: Path, frames: int = 12, fps: float = 30) -> Path:
    """A video without a face."""
    random = np.random.default_rng(0)
    write_video(path, random.integers(0, 255, (frames, 48, 64, 3), np.uint8), fps)
    return path


def job(video: Path, out: Path, **settings: object) -> Job:
    return Job(video, out, Settings(**settings))  # type: ignore[arg-type]


def test_the_smile_is_found_and_told(shot: tuple[Path, Truth], outcome: Outcome) -> None:
    report, (true,) = outcome.report, shot[1].events
    assert report is not None, outcome.error
    assert report["schema"] == SCHEMA
    (event,) = [e for e in report["events"] if e["kind"] == "micro"]
    assert abs(event["apex"]["frame"] - true.apex) <= 3
    assert event["onset"]["frame"] < event["apex"]["frame"] < event["offset"]["frame"]
    assert "12" in {unit["unit"] for unit in event["action_units"]}
    assert sum(p["mean"] for p in event["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert set(event["unit_probabilities"] or ()) == set(load_default().model.units)
    assert report == json.loads((outcome.job.out / "report.json").read_text())


def test_the_table_tells_the_same(outcome: Outcome) -> None:
    assert outcome.report is not None
    with (outcome.job.out / "events.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    events = outcome.report["events"]
    assert [int(row["apex_frame"]) for row in rows] == [e["apex"]["frame"] for e in events]
    assert [row["emotion"] for row in rows] == [e["emotion"] or "" for e in events]
    assert {"p_negative", "p_positive", "p_surprise", "quality", "action_units"} <= set(rows[0])
    for row, event in zip(rows, events, strict=True):
        read = dict(cell.split() for cell in row["unit_probabilities"].split("; ") if cell)
        told = {f"AU{u}": p for u, p in (event["unit_probabilities"] or {}).items() if p >= 0.1}
        assert read == {unit: f"{p:.2f}" for unit, p in told.items()}
        assert list(read) == sorted(read, key=lambda unit: -told[unit])


def test_the_page_needs_no_network_and_says_what_it_cannot(outcome: Outcome) -> None:
    page = (outcome.job.out / "report.html").read_text(encoding="utf-8")
    assert "lie detector" in page
    assert "50 frames per second" in page
    assert "synthetic" in page
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert "://" not in page
    assert "<script" not in page
    assert page.count("data:video/mp4") == len(outcome.report["events"])  # type: ignore[index]
    assert page.count("data:image/") == 5 * page.count("data:video/mp4")


def test_the_annotated_video_plays_as_long(shot: tuple[Path, Truth], outcome: Outcome) -> None:
    drawn, filmed = open_video(outcome.job.out / "annotated.mp4"), open_video(shot[0])
    assert drawn.codec == "h264"
    assert drawn.duration == pytest.approx(filmed.duration, abs=2 / 50)
    assert sorted(file.name for file in outcome.job.out.iterdir()) == sorted(FILES)


def test_a_finished_folder_is_skipped_and_another_job_refused(outcome: Outcome) -> None:
    before = (outcome.job.out / "report.html").stat().st_mtime_ns
    again = do_job(outcome.job)
    assert again.skipped
    assert again.report == outcome.report
    assert (outcome.job.out / "report.html").stat().st_mtime_ns == before
    other = do_job(job(outcome.job.video, outcome.job.out, confidence=0.9))
    assert "another analysis" in other.error


def test_known_key_frames_are_taken_as_they_are(shot: tuple[Path, Truth], tmp_path: Path) -> None:
    true = shot[1].events[0]
    known = KeyFrames(true.onset, None, true.offset)
    done = do_job(job(shot[0], tmp_path, key_frames=known))
    assert done.report is not None, done.error
    (event,) = done.report["events"]
    assert (event["onset"]["frame"], event["offset"]["frame"]) == (true.onset, true.offset)
    assert abs(event["apex"]["frame"] - true.apex) <= 4
    assert event["score"] is None
    assert done.report["not_analysed"] == []
    assert "12" in {unit["unit"] for unit in event["action_units"]}
    beyond = job(shot[0], tmp_path / "b", key_frames=KeyFrames(10, 20, 4000))
    assert "no frames 10, 20 and 4000" in do_job(beyond).error
    assert not (tmp_path / "b").exists()


def test_a_face_that_is_not_there_is_said(shot: tuple[Path, Truth], tmp_path: Path) -> None:
    done = do_job(job(shot[0], tmp_path / "out", face=1))
    assert "shows at most 1 face at once; counted from 0, there is no 1" in done.error
    assert not (tmp_path / "out").exists()


def test_no_face_is_a_result(tmp_path: Path) -> None:
    done = do_job(job(grey_video(tmp_path / "v.mp4"), tmp_path / "out"))
    assert exit_code([done]) == 0
    assert done.report is not None
    assert done.report["face"]["seen"] is False
    assert done.report["events"] == []
    assert done.report["not_analysed"] == [[0.0, pytest.approx(0.4)]]
    assert "No face was found" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert len((tmp_path / "out" / "events.csv").read_text().splitlines()) == 1


def test_a_run_after_a_killed_one_completes(tmp_path: Path) -> None:
    task = job(grey_video(tmp_path / "v.mp4"), tmp_path / "out")
    left = task.out / ".unfinished"
    left.mkdir(parents=True)
    (left / "report.json").write_text("{half")
    assert do_job(task).error == ""
    assert sorted(file.name for file in task.out.iterdir()) == sorted(FILES)


def test_a_folder_of_videos_goes_on_after_a_bad_one(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    grey_video(folder / "good.mp4")
    (folder / "bad.mp4").write_text("this is no video")
    (folder / "notes.txt").touch()
    bad, good = analyze_all([folder], tmp_path / "out", Settings(), jobs=1)
    assert "cannot read" in bad.error
    assert good.report is not None
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["good"]
    assert exit_code([bad, good]) == 2
    assert analyze_all([folder], tmp_path / "out", Settings(), jobs=1)[1].skipped


def test_which_videos_are_meant(tmp_path: Path) -> None:
    assert find_videos([tmp_path / "a.mp4"]) == [tmp_path / "a.mp4"]
    with pytest.raises(UserError, match="neither videos nor pictures"):
        find_videos([tmp_path])
    (tmp_path / "img1.png").touch()
    assert find_videos([tmp_path]) == [tmp_path]
    (tmp_path / "b.MOV").touch()
    assert find_videos([tmp_path]) == [tmp_path / "b.MOV"]
    with pytest.raises(UserError, match="two videos"):
        folders([Path("x/a.mp4"), Path("y/a.mp4")], tmp_path)
    known = Settings(key_frames=KeyFrames(0, 1, 2))
    with pytest.raises(UserError, match="key frames are those of one video"):
        analyze_all([Path("a.mp4"), Path("b.mp4")], tmp_path, known)


@pytest.mark.slow
def test_killed_in_the_middle(shot: tuple[Path, Truth], tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "microexpr", "analyze", str(shot[0]), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(6000):
        if (out / ".unfinished").exists() or process.poll() is not None:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [file.name for file in out.iterdir()] == [".unfinished"]
    subprocess.run(command, check=True, capture_output=True)
    assert sorted(file.name for file in out.iterdir()) == sorted(FILES)


@pytest.mark.slow
def test_several_at_a_time_tell_the_same_and_go_on(tmp_path: Path) -> None:
    videos = [grey_video(tmp_path / f"{n}.mp4", frames=10 + n) for n in range(3)]
    first = do_job(job(videos[1], tmp_path / "both" / "1"))  # an earlier run came as far as this
    both = analyze_all(videos, tmp_path / "both", Settings(), jobs=2)
    alone = analyze_all(videos, tmp_path / "alone", Settings(), jobs=1)
    assert [outcome.skipped for outcome in both] == [False, True, False]
    assert [outcome.report for outcome in both] == [outcome.report for outcome in alone]
    assert both[1].report == first.report


@pytest.mark.slow
def test_real_clips(shared_data: Path, tmp_path: Path) -> None:
    clips = [shared_data / "clips" / name for name in ("single_face.mp4", "no_face.mp4")]
    face, none = analyze_all(clips, tmp_path, Settings(), jobs=2)
    assert face.report is not None
    assert none.report is not None
    (event,) = face.report["events"]
    assert event["kind"] == "macro"
    assert 13 <= event["onset"]["frame"] <= 18
    assert 22 <= event["apex"]["frame"] <= 68
    assert event["offset"]["frame"] >= 68
    assert none.report["face"]["seen"] is False
