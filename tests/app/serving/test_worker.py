"""The work itself: its result names no path of the server."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from microexpr.app.outputs import FILES, Settings
from microexpr.app.serving.queue import STEPS
from microexpr.app.serving.schema import Report
from microexpr.app.serving.uploads import Limits
from microexpr.app.serving.worker import Task, analyse
from microexpr.errors import UserError
from microexpr.film import drawn_portrait, film, write_script
from microexpr.training.default import WEIGHTS
from microexpr.videowriter import write_video


@pytest.fixture(autouse=True)
def back_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work changes the folder of its process, here that of the tests."""
    monkeypatch.chdir(Path.cwd())


def test_the_result_is_as_documented_and_keeps_the_paths_of_the_server(tmp_path: Path) -> None:
    video, model = tmp_path / "smile.mp4", WEIGHTS / "default.safetensors"
    script = write_script(5, fps=50, seconds=1.5, events=1, peak=(1.8, 2.0), drift=1.0)
    film(drawn_portrait(), script, video)
    steps: list[tuple[str, int, int]] = []
    task = Task(video, tmp_path / "out", Settings(model=model), Limits())
    report = analyse(task, lambda *step: steps.append(step))
    assert report["video"]["path"] == report["settings"]["video"] == "smile.mp4"
    assert report["settings"]["model"] == "default.safetensors"
    assert steps == [(name, number, len(STEPS)) for number, name in enumerate(STEPS)]
    assert len(report["events"]) >= 1
    for name in FILES:
        assert str(tmp_path).encode() not in (tmp_path / "out" / name).read_bytes()
    assert str(WEIGHTS) not in json.dumps(report)
    told = Report.model_validate(report).model_dump(mode="json", by_alias=True)
    assert told == report, "schema.py and docs/video.md describe another report"


def test_a_bad_video_is_told_by_its_name(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    write_video(tmp_path / "n.mp4", random.integers(0, 255, (4, 48, 64, 3), np.uint8), 5)
    (tmp_path / "text.mp4").write_text("no video")
    for name, says in (("n.mp4", "n.mp4 has 5 frames per second"), ("text.mp4", "text.mp4 is")):
        task = Task(tmp_path / name, tmp_path / "out", Settings(), Limits())
        with pytest.raises(UserError) as caught:
            analyse(task, lambda *_: None)
        assert str(caught.value).startswith(says)
        assert not (tmp_path / "out").exists()
