"""Files of users: private, for a while, and gone; and what is taken for a video."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from microexpr.app.serving.uploads import Limits, Uploads, check_video, safe_name
from microexpr.errors import UserError
from microexpr.videowriter import write_video

SERVER = """
import sys
from pathlib import Path
from microexpr.app.serving.uploads import Limits, Uploads
uploads = Uploads(Path(sys.argv[1]), Limits())
(uploads.session() / "film.mp4").touch()
print(uploads.root, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def uploads(tmp_path: Path) -> Iterator[Uploads]:
    made = Uploads(tmp_path / "base", Limits(keep=3600))
    yield made
    made.clear()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Two seconds of noise."""
    random = np.random.default_rng(0)
    write_video(tmp_path / "noise.mp4", random.integers(0, 255, (40, 48, 64, 3), np.uint8), 20)
    return tmp_path / "noise.mp4"


def test_a_session_is_private_and_nobody_can_guess_it(uploads: Uploads) -> None:
    first, second = uploads.session(), uploads.session()
    assert first != second
    assert len(first.name) >= 32
    for folder in (uploads.root, first, uploads.gradio):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert uploads.session(first.name) == first


@pytest.mark.parametrize(
    "name",
    ["../gradio", "..", ".", "a/b/c/d/e/f", "/etc/passwd", "short", "x" * 81, "nul\0nul_nul"],
)
def test_a_session_has_no_other_name(name: str, uploads: Uploads) -> None:
    with pytest.raises(UserError, match="not the name of a session"):
        uploads.session(name)


def test_closing_removes_a_session_and_nothing_else(uploads: Uploads) -> None:
    mine, other = uploads.session(), uploads.session()
    (mine / "deep").mkdir()
    (mine / "deep" / "film.mp4").touch()
    (other / "film.mp4").touch()
    uploads.close(mine)
    uploads.close(mine)
    assert not mine.exists()
    assert (other / "film.mp4").exists()
    for wrong in (uploads.root, uploads.gradio, other / "film.mp4", other / ".." / other.name):
        with pytest.raises(UserError, match="not the folder of a session"):
            uploads.close(wrong)
    assert (other / "film.mp4").exists()


def test_what_is_not_used_for_an_hour_goes(uploads: Uploads) -> None:
    old, used, kept = (uploads.session() for _ in range(3))
    cached = uploads.gradio / "hash"
    cached.mkdir()
    (cached / "film.mp4").touch()
    (uploads.temporary / "half").touch()
    now = time.time()
    for folder in (old, used, cached, uploads.temporary / "half"):
        os.utime(folder, (now - 3700, now - 3700))
    uploads.touch(used / "job" / "results")
    assert sorted(uploads.sweep(now)) == sorted([old.name, "hash", "half"])
    assert used.exists()
    assert kept.exists()
    assert len(uploads.sweep(now + 3601)) == 2
    uploads.touch(used)
    uploads.touch(Path("/etc"))


def test_the_folder_of_a_killed_server_goes_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    def server() -> tuple[subprocess.Popen[str], Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(tmp_path / "base")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        return process, Path(process.stdout.readline().strip())

    (living, kept), (killed, left) = server(), server()
    killed.kill()
    killed.wait()
    assert left.is_dir()
    uploads = Uploads(tmp_path / "base", Limits())
    assert not left.exists()
    assert kept.is_dir()
    uploads.clear()
    assert not uploads.root.exists()
    living.kill()
    living.wait()


def test_a_folder_that_is_not_ours_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="set TMPDIR"):
        Uploads(tmp_path / "file", Limits())
    with pytest.raises(UserError, match="belongs to somebody else"):
        Uploads(tmp_path / "link", Limits())
    (tmp_path / "open").mkdir(mode=0o777)
    Uploads(tmp_path / "open", Limits())
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o700


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give")
def test_a_folder_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 65534, 65534)
    with pytest.raises(UserError, match="belongs to somebody else"):
        Uploads(tmp_path / "theirs", Limits())


def test_names_are_made_harmless() -> None:
    for name in ("a/../../b", "..", "", "\0", "-", "x" * 400 + ".mp4", "é" * 400 + "." + "é" * 99):
        safe = safe_name(name)
        assert safe not in ("", ".", "..")
        assert not set(safe) & set('/\\:|%,;"\0')
        assert len(safe.encode()) <= 255


def test_a_video_is_taken(video: Path) -> None:
    check_video(video, Limits(seconds=2.5))


def test_what_is_too_large_or_too_long_is_said(video: Path) -> None:
    for limits, says in (
        (Limits(megabytes=0.001), "noise.mp4 is larger than 0.001 MB"),
        (Limits(seconds=1.5), "noise.mp4 is 0.0 minutes long; at most 0.025 are taken"),
    ):
        with pytest.raises(UserError) as caught:
            check_video(video, limits)
        assert says in str(caught.value)
        assert "microexpr analyze" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"this is no video\n" * 100, "is damaged, or not a video"),
        (
            b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nnoise.mp4\n#EXT-X-ENDLIST\n",
            "not a video",
        ),
        (b"ffconcat version 1.0\nfile noise.mp4\n", "not a video"),
        (
            b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
            "not a video",
        ),
        (b'<?xml version="1.0"?><MPD></MPD>', "not a video"),
    ],
)
@pytest.mark.parametrize("name", ["x.mp4", "x.m3u8"])
def test_what_is_no_video_or_names_other_files_is_refused(
    content: bytes, says: str, name: str, video: Path
) -> None:
    path = video.with_name(name)
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        check_video(path, Limits())
    assert says in str(caught.value)
    assert str(path.parent) not in str(caught.value)
