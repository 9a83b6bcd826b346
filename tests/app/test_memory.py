"""Memory does not grow with the length of a video: pictures are held one at a time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from microexpr.film import Script, drawn_portrait, shoot
from microexpr.video import open_video
from microexpr.videowriter import write_video

FPS = 30
MEGA = 2**20


def swaying(seconds: float) -> Iterator[np.ndarray]:
    """A face in 1080p that sways by a pixel or two."""
    script = Script(fps=FPS, seconds=0.03, width=1920, height=1080, eyes=220, noise=0)
    (image,) = shoot(drawn_portrait(), script)
    for number in range(round(seconds * FPS)):
        yield np.roll(image, round(2 * np.sin(number / 9)), axis=1)


# A process begins with the peak of the one that started it, so a small one stands between the
# tests and what is measured.
MEASURE = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, used = os.wait4(child.pid, 0)
print(os.waitstatus_to_exitcode(status), used.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def peak(*command: str) -> int:
    """Bytes that a command held at most."""
    measure = [sys.executable, "-c", MEASURE, *command]
    code, held = subprocess.run(measure, capture_output=True, text=True, check=True).stdout.split()
    assert code == "0"
    return int(held)


def analysing(video: Path, out: Path) -> int:
    """Bytes that `microexpr analyze` held at most."""
    return peak(sys.executable, "-m", "microexpr", "analyze", str(video), "--out", str(out))


def test_what_the_tests_hold_is_not_counted() -> None:
    much = np.ones(400 * MEGA, np.uint8)
    assert peak(sys.executable, "-c", "pass") < much.nbytes / 4


@pytest.mark.slow
def test_ten_minutes_of_1080p_fit_in_two_gigabytes(tmp_path: Path) -> None:
    held = {}
    for seconds in (4, 16):
        video = tmp_path / f"{seconds}.mp4"
        write_video(video, swaying(seconds), FPS)
        assert open_video(video).frames == seconds * FPS
        held[seconds] = analysing(video, tmp_path / str(seconds))
    a_second = (held[16] - held[4]) / 12
    frame = 1920 * 1080 * 3
    assert a_second < frame / 2  # far less than the 30 pictures of a second
    assert held[16] + 584 * max(a_second, 0) < 2000 * MEGA
