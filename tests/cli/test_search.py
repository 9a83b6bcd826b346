"""`search`, and the options by which commands go to a cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SEARCH = """
[data]
dataset = "synthetic"
labels = "megc3"
settings = { persons = 5, clips_per_person = 3 }
[protocol]
name = "kfold"
folds = 2
[model]
name = "ammsm"
size = "nano"
spatial = false
widths = [8, 8]
depths = [1, 1]
magnifier = false
[recipe]
warmup = 0
cooldown = 0
[[recipe.phases]]
name = "adapt"
mode = "adapt"
hold_out = 0.4
epochs = 1
[[recipe.phases]]
name = "search"
mode = "search"
hold_out = 0.4
epochs = 1
population = 2
"""


def test_search_tells_what_it_chose(microexpr: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "search.toml").write_text(SEARCH)
    out = tmp_path / "out"
    done = microexpr("search", tmp_path / "search.toml", "--out", out, "--jobs", "1")
    assert done.returncode == 0, done.stderr
    head, row = (out / "search.csv").read_text().splitlines()
    for name, value in zip(head.split(","), row.split(","), strict=True):
        assert f"{name} " in done.stdout
        assert value in done.stdout
    assert str(out / "trials.csv") in done.stdout
    again = microexpr("search", tmp_path / "search.toml", "--out", out, "--jobs", "1")
    assert again.stdout == done.stdout


def test_search_says_what_it_cannot(
    microexpr: Callable[..., Any], toml: Path, tmp_path: Path
) -> None:
    done = microexpr("search", toml, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "no phase of its recipe has mode search" in done.stderr
    assert not (tmp_path / "out").exists()
    toml.write_text(toml.read_text() + '[grid]\n"model.dropout" = [0.1, 0.2]\n')
    done = microexpr("search", toml, "--out", tmp_path / "out")
    assert "has a grid of 2 arms" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("run", "TOML"),
        ("search", "TOML", "--out", "out"),
        ("prepare", "casme2", ".", "--out", "out"),
        ("analyze", "video.mp4", "--out", "out"),
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--engine", "rai"), "unknown engine 'rai': did you mean 'ray'"),
        (("--address", "auto"), "--address is for --engine ray"),
        (("--gpus-per-task", "0.5"), "--gpus-per-task is for --engine ray"),
        (("--engine", "ray", "--gpus-per-task", "1.5"), "must be a share up to 1, or whole GPUs"),
    ],
)
def test_options_of_the_engine(
    microexpr: Callable[..., Any],
    toml: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    words: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = microexpr(*(str(toml) if word == "TOML" else word for word in command), *words)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
