"""What cannot be analysed, through the command: one clear line, exit code 2, nothing half-written.

Errors are read at the level of the process, so that nothing of FFmpeg's or OpenCV's slips through.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from microexpr import cli, files
from microexpr.app import outputs
from microexpr.app.outputs import FILES
from microexpr.videowriter import write_video

Capture = pytest.CaptureFixture[str]
Analyze = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def analyze(monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> Analyze:
    """Runs `microexpr analyze`: the exit code, and the lines of stderr but the progress bar's."""

    def run(*words: str | Path) -> tuple[int, list[str]]:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["microexpr", "analyze", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        lines = capfd.readouterr().err.strip().splitlines()
        return int(ended.value.code or 0), [line for line in lines if "━" not in line]

    return run


@pytest.fixture
def nobody(analyze: Analyze) -> Iterator[Path]:
    """A folder with a video in it, seen by a user who is not root."""
    folder = Path(tempfile.mkdtemp())
    video = noise(folder / "v.mp4")
    assert analyze(folder / "none.mp4", "--out", folder / "out")[0] == 2  # imports what it needs
    for path in (folder, video):
        os.chown(path, 65534 if os.geteuid() == 0 else -1, -1)
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 0)
    yield folder
    if os.getresuid()[2] == 0:
        os.setresuid(0, 0, 0)
    shutil.rmtree(folder)


def noise(path: Path, frames: int = 12, shape: tuple[int, int] = (48, 64)) -> Path:
    """A video without a face."""
    random = np.random.default_rng(0)
    write_video(path, random.integers(0, 255, (frames, *shape, 3), np.uint8), 30)
    return path


def _cut(path: Path) -> Path:
    """Cut off in its index."""
    noise(path)
    path.write_bytes(path.read_bytes()[:500])
    return path


def _cut_without_index(path: Path) -> Path:
    """The index at the end, as cameras write it, is gone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(30):
            image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes()[:-600])
    return path


def _empty(path: Path) -> Path:
    path.touch()
    return path


def _sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    return path


def _text(path: Path) -> Path:
    path.write_text("this is no video\n" * 100)
    return path


def _one_frame(path: Path) -> Path:
    return noise(path, frames=1)


def _large_picture(path: Path) -> Path:
    path = path.with_suffix(".png")
    cv2.imwrite(str(path), np.zeros((6000, 8000), np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return path


def _one_pixel(path: Path) -> Path:
    path = path.with_suffix(".gif")
    write_video(path, np.zeros((5, 1, 1, 3), np.uint8), 25)
    return path


def _two_pixels(path: Path) -> Path:
    write_video(path, np.zeros((5, 2, 2, 3), np.uint8), 25)
    return path


def _slow(path: Path) -> Path:
    write_video(path, np.zeros((5, 48, 64, 3), np.uint8), 5)
    return path


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _nothing(path: Path) -> Path:
    return path


def _below_a_file(path: Path) -> Path:
    return _text(path) / "v.mp4"


def _circle(path: Path) -> Path:
    path.symlink_to(path)
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_cut, "damaged, cut off"),
        (_cut_without_index, "damaged, cut off"),
        (_empty, "is empty (0 bytes)"),
        (_sound, "has no video in it, only: audio"),
        (_text, "no video at all"),
        (_one_frame, "a single frame; a movement needs at least two"),
        (_large_picture, "a single frame; a movement needs at least two"),
        (_one_pixel, "1x1 pixels, too small"),
        (_two_pixels, "2x2 pixels, too small"),
        (_slow, "too few"),
        (_folder, "neither videos nor pictures"),
        (_nothing, "No such file"),
        (_below_a_file, "Not a directory"),
        (_circle, "symbolic links"),
    ],
)
def test_a_bad_video_is_one_line(
    make: Callable[[Path], Path], says: str, tmp_path: Path, analyze: Analyze
) -> None:
    video, out = make(tmp_path / "v.mp4"), tmp_path / "out"
    code, told = analyze(video, "--out", out)
    assert code == 2
    (line,) = told
    assert line.startswith("error: ")
    assert str(video) in line
    assert says in line
    assert not out.exists()


def test_a_film_cut_off_in_its_pictures_is_analysed_as_far_as_it_goes(
    tmp_path: Path, analyze: Analyze
) -> None:
    video = noise(tmp_path / "v.mp4", frames=30)
    video.write_bytes(video.read_bytes()[: int(0.7 * video.stat().st_size)])
    assert analyze(video, "--out", tmp_path / "out")[0] == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert 0 < report["video"]["frames"] < 30
    assert any("is cut off" in warning for warning in report["warnings"])
    assert "is cut off" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_large_pictures_are_analysed(tmp_path: Path, analyze: Analyze) -> None:
    folder = tmp_path / "ep"
    folder.mkdir()
    for number in (1, 2, 3):
        _large_picture(folder / f"{number}.png")
    assert analyze(folder, "--fps", "30", "--out", tmp_path / "out")[0] == 0
    report = json.loads((tmp_path / "out" / "ep" / "report.json").read_text())
    assert (report["video"]["width"], report["video"]["height"]) == (8000, 6000)


def test_a_file_that_may_not_be_read(nobody: Path, analyze: Analyze) -> None:
    (nobody / "v.mp4").chmod(0)
    (nobody / "locked").mkdir(mode=0)
    for path in (nobody / "v.mp4", nobody / "locked"):
        code, (line,) = analyze(path, "--out", nobody / "out")
        assert code == 2
        assert line.startswith(f"error: cannot read {path}")
        assert "Permission denied" in line
    assert not (nobody / "out").exists()


def test_an_output_that_cannot_be_written_is_said_before_the_work(
    nobody: Path, analyze: Analyze, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, locked = nobody / "v.mp4", nobody / "locked"
    locked.mkdir(mode=0o500)
    monkeypatch.setattr(outputs, "analyze", None)
    for out in (locked, locked / "out" / "deep", video / "out", video):
        code, (line,) = analyze(video, "--out", out)
        assert code == 2
        assert "give another --out" in line
    assert list(locked.iterdir()) == []


@pytest.mark.parametrize("name", FILES)
def test_a_full_disk_leaves_what_was_there(
    name: str, tmp_path: Path, analyze: Analyze, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at each of the files in turn."""
    write = files.write_text

    def full(text: str, path: Path) -> None:
        if path.name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(text, path)

    def annotate(_: object, path: Path) -> None:
        full("a film", path)

    monkeypatch.setattr(outputs, "write_text", full)
    monkeypatch.setattr(outputs, "annotate", annotate)
    video, out = noise(tmp_path / "v.mp4"), tmp_path / "out"
    for there in ([], ["mine.txt"]):
        for file in there:
            out.mkdir()
            (out / file).touch()
        code, (line,) = analyze(video, "--out", out)
        assert code == 2
        assert "No space left on device" in line
        assert sorted(p.name for p in out.iterdir()) == there if there else not out.exists()


def test_a_file_system_that_takes_no_more(tmp_path: Path) -> None:
    """A real write that fails in the middle of the annotated film, in a process of its own."""
    video, out = noise(tmp_path / "v.mp4", shape=(240, 320)), tmp_path / "out"
    ended = subprocess.run(
        [sys.executable, "-m", "microexpr", "analyze", str(video), "--out", str(out)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000)),
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    (line,) = [line for line in ended.stderr.strip().splitlines() if "━" not in line]
    assert line.startswith("error: cannot write")
    assert "File too large" in line
    assert not out.exists()
