"""`run`, `report`, `compare` and `train`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_run_report_compare_train(
    microexpr: Callable[..., Any], toml: Path, tmp_path: Path
) -> None:
    done = microexpr("run", toml, "--jobs", "1")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "results" / "small"
    assert {
        "predictions.csv",
        "experiment.toml",
        "environment.json",
        "report.md",
        "report.json",
    } < {file.name for file in out.iterdir()}
    assert (out / "confusion.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(microexpr("report", out, "--json").stdout)
    assert found["clips"] == 24
    other = microexpr("run", toml, "--jobs", "1", "--out", tmp_path / "other")
    assert other.returncode == 0
    compared = json.loads(microexpr("compare", out, tmp_path / "other", "--json").stdout)
    assert [row["differences"] for row in compared["rows"]][1]["uf1"]["value"] == 0
    told = microexpr("compare", out, tmp_path / "other", "--out", tmp_path / "both")
    assert "comparison.png" in told.stderr
    names = {file.name for file in (tmp_path / "both").iterdir()}
    assert names == {"comparison.md", "comparison.json", "comparison.png"}
    assert microexpr("compare", out, "--selection", "inner").returncode == 2
    weights = tmp_path / "weights.safetensors"
    assert microexpr("train", toml, "--out", weights).returncode == 0
    assert weights.stat().st_size > 10_000


def test_a_grid_runs_every_arm(microexpr: Callable[..., Any], toml: Path, tmp_path: Path) -> None:
    toml.write_text(toml.read_text() + '[grid]\n"model.dropout" = [0.1, 0.2]\n')
    done = microexpr("run", toml, "--jobs", "1")
    assert done.returncode == 0
    results = tmp_path / "results" / "small"
    assert sorted(path.name for path in results.iterdir()) == [
        "dropout=0.1",
        "dropout=0.2",
        "table.md",
    ]
    assert (results / "table.md").read_text() in done.stdout


def test_dry_run_trains_nothing(microexpr: Callable[..., Any], toml: Path, tmp_path: Path) -> None:
    done = microexpr("run", toml, "--dry-run")
    assert "2 folds, 2 trainings" in done.stdout
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('dataset = "synthetic"', 'dataset = "synthetc"', "did you mean 'synthetic'"),
        ("persons = 4", "person = 4", "has no setting 'person': did you mean 'persons'"),
        ('name = "smallcnn"', 'name = "smalcnn"', "did you mean 'smallcnn'"),
        ("folds = 2", "fold = 2", "protocol 'kfold' has no setting 'fold'"),
        ('name = "kfold"\nfolds = 2', 'name = "kfolds"', "did you mean 'kfold'"),
        ("epochs = 1", "epochz = 1", "did you mean 'epochs'"),
        ('labels = "megc3"', 'labels = "megc"', "did you mean 'megc3'"),
        ("folds = 2", "folds = 5", "folds must be 2 to 4"),
    ],
)
def test_mistakes_in_the_file(
    microexpr: Callable[..., Any], toml: Path, old: str, new: str, says: str
) -> None:
    toml.write_text(toml.read_text().replace(old, new))
    done = microexpr("run", toml, "--jobs", "1")
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_or_wrong_folder(
    microexpr: Callable[..., Any], toml: Path, tmp_path: Path
) -> None:
    text = toml.read_text().replace('"synthetic"', '"flow442"').replace("settings", "# settings")
    toml.write_text(text)
    for folder in (tmp_path / "missing", tmp_path):
        done = microexpr("run", toml, "--jobs", "1", "--data", folder)
        assert done.returncode == 2
        assert "flow.npz" in done.stderr
        assert "Traceback" not in done.stderr
    assert "give --data" in microexpr("run", toml).stderr
