"""What an experiment would cost: the arithmetic, and the table."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from microexpr.evaluation import cost
from microexpr.evaluation.cost import (
    LEAST,
    RATE,
    Estimate,
    cost_to_markdown,
    estimate,
    read_estimates,
    step_operations,
    write_estimates,
)
from microexpr.evaluation.experiment import parse
from microexpr.models import create_model
from microexpr.training.recipe import Phase

TABLE = {
    "data": {
        "dataset": "flow442",
        "labels": "megc3",
        "others": {"more": {"dataset": "synthetic", "settings": {"persons": 7}}},
    },
    "protocol": {"name": "loso"},
    "model": {"name": "smallcnn"},
    "recipe": {
        "batch": 8,
        "warmup": 0,
        "cooldown": 0,
        "phases": [{"name": "pretrain", "on": "more", "epochs": 2}, {"name": "main", "epochs": 3}],
    },
    "run": {"seeds": [0, 1], "selections": ["last", "inner", "oracle"]},
}


def test_steps_times_folds_seeds_and_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pre-training is done once a seed; the oracle trains nothing of its own."""
    monkeypatch.setattr(cost, "step_seconds", lambda model, phase: 3.6)
    monkeypatch.setattr(cost, "step_operations", lambda model, phase: RATE / 100)
    found = estimate("small", parse(TABLE), folds=5, clips=17, others={"more": 40})
    assert (found.times, found.trainings) == ("5 x 2 x 2", 20)
    steps = 2 * (2 * 5) + 20 * (3 * 3)
    assert found.core_hours == pytest.approx(steps / 1000)
    assert found.gpu_hours == pytest.approx(steps / 100 / 3600)
    monkeypatch.setattr(cost, "step_operations", lambda model, phase: 1.0)
    found = estimate("small", parse(TABLE), folds=5, clips=17, others={"more": 40})
    assert found.gpu_hours == pytest.approx(steps * LEAST / 3600)


def test_operations_are_counted() -> None:
    """Backward costs twice what forward does, but for the first layer; a batch is linear."""
    model = create_model("smallcnn", 3)
    one = step_operations(model, Phase(batch=8))
    assert step_operations(model, Phase(batch=16)) == pytest.approx(2 * one, rel=1e-3)
    looked = step_operations(model, Phase(mode="search", hold_out=0.2, population=2, batch=8))
    assert 2 * looked < one <= 3 * looked


def test_the_table_sets_measured_beside_extrapolated(tmp_path: Path) -> None:
    rows = [Estimate("made", "68 x 1 x 1", 68, 1.5, 0.25), Estimate("other", "2", 2, 120.0, 3.0)]
    write_estimates(rows, "a processor", tmp_path / "cost.json")
    assert read_estimates(tmp_path / "cost.json") == (rows, "a processor")
    (tmp_path / "made").mkdir()
    told = {"core_seconds": 3600 * 3.4, "trainings": 68}
    (tmp_path / "made" / "environment.json").write_text(json.dumps(told))
    table = cost_to_markdown({row.name: tmp_path / row.name for row in rows}, rows)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert lines[0] == ["`made`", "68 x 1 x 1", "68", "3.4", "1.5", "0.10", "0.25"]
    assert lines[1] == ["`other`", "2", "2", "", "120", "60", "3.0"]
    assert math.isclose(3.4 / 68 * 2, 0.1)  # 68 trainings on 64 cores: two rounds
