"""`microexpr analyze` as a user types it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from microexpr import cli
from microexpr.videowriter import write_video


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A video without a face."""
    random = np.random.default_rng(0)
    write_video(tmp_path / "v.mp4", random.integers(0, 255, (12, 48, 64, 3), np.uint8), 30)
    return tmp_path / "v.mp4"


def run(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["microexpr", "analyze", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_no_face_ends_well_and_says_so(
    video: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = video.parent / "out"
    assert run(monkeypatch, video, "--out", out) == 0
    assert "No face was found" in capsys.readouterr().out
    assert run(monkeypatch, video, "--out", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["face"]["seen"] is False


def test_errors_are_one_line_and_code_2(
    video: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = video.parent / "out"
    wrong = [
        ((video.parent / "none.mp4",), "No such file"),
        ((video, "--onset", "3"), "--apex"),
        ((video, "--confidence", "7"), "between 0 and 1"),
        ((video, "--model", video), "safetensors"),
        ((video, "--jobs", "0"), "--jobs"),
    ]
    for words, says in wrong:
        assert run(monkeypatch, *words, "--out", out) == 2
        told = capsys.readouterr().err.strip().splitlines()
        assert says in told[-1]
        assert told[-1].startswith("error: ")
    assert not out.exists()
