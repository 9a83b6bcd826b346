"""The demonstration: its film, and the table of what was found beside what is there."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from microexpr import cli, demo
from microexpr.evaluation.experiment import Chosen, Data, Experiment
from microexpr.film import Movement, Script, drawn_portrait
from microexpr.film import truth as truth_of
from microexpr.training.recipe import Phase, Recipe

SCRIPT = Script(
    fps=50.0,
    seconds=4.0,
    events=(
        Movement("happiness", ("12",), 0.5, 0.7, 0.9, 2.0),
        Movement("contempt", ("L14",), 2.0, 2.1, 2.3, 2.0),
    ),
)


def event(onset: int, apex: int, offset: int, **more: Any) -> dict[str, Any]:
    """A found movement as in report.json, 50 frames a second."""
    moments = {"onset": onset, "apex": apex, "offset": offset}
    found: dict[str, Any] = {k: {"frame": f, "time": f / 50} for k, f in moments.items()}
    return {**found, "emotion": None, "probabilities": None, "action_units": [], **more}


def test_what_was_found_stands_beside_what_is_there() -> None:
    found = event(
        26,
        34,
        44,
        emotion="positive",
        probabilities={"positive": {"mean": 0.91}},
        action_units=[{"unit": "12", "side": "both"}, {"unit": "6", "side": "left"}],
    )
    rows = demo.against_truth(truth_of(SCRIPT), [found, event(150, 160, 170)])
    assert rows == [
        (
            "0.50 0.70 0.90 s  happiness  AU12",
            "0.52 0.68 0.88 s  positive 0.91  AU12, AU6 (left)",
        ),
        ("2.00 2.10 2.30 s  contempt  AU14 (right)", "not found"),
        ("nothing", "3.00 3.20 3.40 s  no emotion named"),
    ]


def test_the_films_script_is_as_promised() -> None:
    script = demo.demo_script()
    assert (script.fps, script.seconds, len(script.events)) == (100.0, 6.0, 3)
    assert script.blinks


def test_a_film_is_made_once_and_anew_when_another_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "default_portrait", drawn_portrait)
    script = Script(fps=25.0, seconds=0.12, width=160, height=120, eyes=24.0)
    path = tmp_path / "film.mp4"
    truth = demo.sample_film(path, script)
    assert truth.frames == 3
    path.write_bytes(b"this very file")
    assert demo.sample_film(path, script) == truth
    assert path.read_bytes() == b"this very file"
    longer = demo.sample_film(path, replace(script, seconds=0.2))
    assert longer.frames == 5
    assert path.read_bytes() != b"this very file"


@pytest.mark.slow
def test_the_command_shows_film_page_and_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = replace(SCRIPT, seconds=1.5, events=SCRIPT.events[:1], drift=2.0)
    small = Experiment(
        Data("synthetic", "megc3", {"persons": 4, "clips_per_person": 6}),
        Chosen("kfold", {"folds": 2}),
        Chosen("smallcnn", {}),
        Recipe((Phase(epochs=1, warmup=0, cooldown=0),)),
    )
    monkeypatch.setattr(demo, "demo_script", lambda: short)
    monkeypatch.setattr(demo, "demo_experiment", lambda: small)
    monkeypatch.setenv("COLUMNS", "120")
    for _ in range(2):  # a second run finds everything done
        monkeypatch.setattr(sys, "argv", ["microexpr", "demo", "--out", str(tmp_path)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        told = capsys.readouterr().out
        assert "0.50 0.70 0.90 s  happiness  AU12" in told
        assert "negative, positive, surprise" in told
        assert "confusion matrix" in told
    for name in ("film.mp4", "film.json", "analysis/report.html", "kfold/report.md"):
        assert (tmp_path / name).stat().st_size > 0
