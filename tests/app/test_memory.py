"""Memory does not grow with the length of a video: pictures are held one at a time."""

from __future__ import annotations

import os
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


def peak(video: Path, out: Path) -> int:
    """Bytes that `microexpr analyze` held at most."""
    command = [sys.executable, "-m", "microexpr", "analyze", str(video), "--out", str(out)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.slow
def test_ten_minutes_of_1080p_fit_in_two_gigabytes(tmp_path: Path) -> None:
    held = {}
    for seconds in (4, 16):
        video = tmp_path / f"{seconds}.mp4"
        write_video(video, swaying(seconds), FPS)
        assert open_video(video).frames == seconds * FPS
        held[seconds] = peak(video, tmp_path / str(seconds))
    a_second = (held[16] - held[4]) / 12
    frame = 1920 * 1080 * 3
    assert a_second < frame / 2  # far less than the 30 pictures of a second
    assert held[16] + 584 * max(a_second, 0) < 2000 * MEGA
