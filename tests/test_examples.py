"""The scripts in examples/ do what their heads say, and are short."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SHORT = ("compare_models", "events", "own_clips")


def run(folder: Path, *words: str) -> str:
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(EXAMPLES / words[0]), *words[1:]]
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def film(rehearsal: ModuleType, tmp_path: Path) -> Path:
    """A film with one smile, from frame 25 over 35 to 45."""
    (tmp_path / "film.mp4").write_bytes(rehearsal.film_bytes())
    return tmp_path


def test_the_short_ones_are_short_and_say_how_they_are_called() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*SHORT, "magnify"}
    for name in SHORT:
        text = (EXAMPLES / f"{name}.py").read_text()
        assert len(text.splitlines()) < 40
        assert f"\n    python examples/{name}.py " in text


@pytest.mark.parametrize("name", ["events", "own_clips"])
def test_without_arguments_they_tell_how_they_are_called(name: str) -> None:
    command = [sys.executable, str(EXAMPLES / f"{name}.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"python examples/{name}.py" in done.stderr


@pytest.mark.slow
def test_events_are_printed(film: Path) -> None:
    told = run(film, "events.py", "film.mp4")
    match = re.search(r"^micro  (\S+) (\S+) (\S+) s  \w+", told, re.MULTILINE)
    assert match, told
    for found, true in zip(match.groups(), (0.5, 0.7, 0.9), strict=True):
        assert abs(float(found) - true) < 0.1
    assert re.search(r"negative \.?\d.*, positive \.?\d.*, surprise \.?\d", told)


@pytest.mark.slow
def test_models_are_compared(tmp_path: Path) -> None:
    small = ("--persons", "5", "--epochs", "1", "--out", "runs")
    told = run(tmp_path, "compare_models.py", "smallcnn", "ststnet", *small)
    assert told.startswith("| run | UF1 | UAR |")
    assert re.search(r"^\| ststnet \| .* \| [−+]?\.?\d", told, re.MULTILINE)
    assert (tmp_path / "runs" / "ststnet" / "predictions.csv").is_file()


@pytest.mark.slow
def test_clips_of_ones_own_are_scored(film: Path) -> None:
    rows = ["video,onset,apex,label", "film.mp4,25,35,positive", "film.mp4,25,34,positive"]
    (film / "clips.csv").write_text("\n".join(rows) + "\n")
    told = run(film, "own_clips.py", "clips.csv")
    assert told.count("film.mp4: positive, read as positive") == 2
    assert told.endswith("2 clips: UF1 1.000, UAR 1.000\n")
