"""`analyze`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microexpr.videowriter import write_video


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A video without a face."""
    random = np.random.default_rng(0)
    write_video(tmp_path / "v.mp4", random.integers(0, 255, (12, 48, 64, 3), np.uint8), 30)
    return tmp_path / "v.mp4"


def test_no_face_ends_well_and_says_so(video: Path, microexpr: Callable[..., Any]) -> None:
    out = video.parent / "out"
    done = microexpr("analyze", video, "--out", out)
    assert done.returncode == 0
    assert "No face was found" in done.stdout
    done = microexpr("analyze", video, "--out", out, "--json")
    assert json.loads(done.stdout)["face"]["seen"] is False


def test_errors_are_one_line_and_code_2(video: Path, microexpr: Callable[..., Any]) -> None:
    out = video.parent / "out"
    wrong = [
        ((video.parent / "none.mp4",), "No such file"),
        ((video, "--onset", "3"), "--apex"),
        ((video, "--confidence", "7"), "between 0 and 1"),
        ((video, "--model", video), "safetensors"),
        ((video, "--jobs", "0"), "--jobs"),
    ]
    for words, says in wrong:
        done = microexpr("analyze", *words, "--out", out)
        assert done.returncode == 2
        told = done.stderr.strip().splitlines()
        assert says in told[-1]
        assert told[-1].startswith("error: ")
    assert not out.exists()
