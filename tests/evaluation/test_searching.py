"""The search of one experiment: what is written, going on, refusing."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from microexpr.errors import UserError
from microexpr.evaluation import searching
from microexpr.evaluation.experiment import Experiment, parse, to_table
from microexpr.evaluation.run import train_on_all
from microexpr.evaluation.searching import search_experiment
from microexpr.models.ammsm import Ammsm
from microexpr.training.checkpoint import load_checkpoint

FILES = ("trials.csv", "search.csv", "search.png", "model.safetensors")


def experiment(*phases: dict[str, Any]) -> Experiment:
    """AMMSM, very small, on six made-up persons."""
    every = [
        {"name": "adapt", "mode": "adapt", "hold_out": 0.4, "epochs": 1},
        {"name": "search", "mode": "search", "hold_out": 0.4, "epochs": 2, "population": 3},
    ]
    return parse(
        {
            "data": {
                "dataset": "synthetic",
                "labels": "megc3",
                "settings": {"persons": 6, "clips_per_person": 3},
            },
            "protocol": {"name": "kfold", "folds": 2},
            "model": {"name": "ammsm", **Ammsm.smallest, "widths": [8, 8], "depths": [1, 1]},
            "recipe": {"warmup": 0, "cooldown": 0, "batch": 8, "phases": [*every, *phases]},
        }
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("search") / "whole"
    search_experiment(experiment({"name": "tune", "epochs": 1}), None, out, seed=2)
    return out


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_it_writes_what_was_judged_and_what_was_chosen(whole: Path) -> None:
    assert sorted(file.name for file in whole.iterdir()) == sorted([*FILES, "experiment.toml"])
    trials, (chosen,) = rows(whole / "trials.csv"), rows(whole / "search.csv")
    assert [row["trial"] for row in trials] == list("012345")
    best = min(trials, key=lambda row: float(row["loss"]))
    model = load_checkpoint(whole / "model.safetensors").model
    assert isinstance(model, Ammsm)
    for name, value in model.chosen.items():
        assert float(best[name]) == float(chosen[name]) == pytest.approx(value)
    assert float(chosen["loss"]) == float(best["loss"])
    assert (chosen["seed"], chosen["fold"]) == ("2", "all")


def test_it_chooses_what_train_would(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "trained.safetensors"
    train_on_all(experiment(), None, path, 2, lambda *_: None)
    assert path.read_bytes() == (whole / "model.safetensors").read_bytes()


def test_killed_and_started_again_it_ends_with_the_same_bytes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, judged = searching.judge_elsewhere, 0

    def dies(*given: Any) -> Any:
        judge = original(*given)

        def some(many: Any) -> Any:
            nonlocal judged
            for loss in judge(many):
                judged += 1
                if judged in (2, 4):
                    raise KeyboardInterrupt
                yield loss

        return some

    monkeypatch.setattr(searching, "judge_elsewhere", dies)
    three = experiment({"name": "tune", "epochs": 1})
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            search_experiment(three, None, tmp_path / "killed", seed=2)
    search_experiment(three, None, tmp_path / "killed", seed=2)
    for name in FILES:
        assert (tmp_path / "killed" / name).read_bytes() == (whole / name).read_bytes()


def test_what_is_not_the_same_search_is_refused(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"another experiment: .*seeds.*choose another"):
        search_experiment(experiment({"name": "tune", "epochs": 1}), None, whole, seed=1)
    table = experiment()
    nothing = parse({**to_table(table), "recipe": {"epochs": 1, "warmup": 0, "cooldown": 0}})
    with pytest.raises(UserError, match="no phase of its recipe has mode search"):
        search_experiment(nothing, None, tmp_path / "none")
    (tmp_path / "predictions.csv").write_text("")
    with pytest.raises(UserError, match="holds a run"):
        search_experiment(table, None, tmp_path)


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(whole: Path, tmp_path: Path) -> None:
    three = experiment({"name": "tune", "epochs": 1})
    search_experiment(three, None, tmp_path / "two", seed=2, jobs=2)
    for name in FILES:
        assert (tmp_path / "two" / name).read_bytes() == (whole / name).read_bytes()
