from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from microexpr.evaluation.honesty import honesty
from microexpr.evaluation.metrics import uf1
from microexpr.evaluation.pictures import draw_honesty
from microexpr.evaluation.predictions import Predictions, concatenate, write_predictions
from microexpr.evaluation.report import honesty_to_markdown
from microexpr.evaluation.statistics import paired_difference
from microexpr.evaluation.tables import table

Maker = Callable[..., Predictions]


@pytest.fixture
def folder(tmp_path: Path, by_chance: Maker) -> Path:
    """`whole` has all columns, `plain` the last alone; `missing` is not there."""
    parts = [
        by_chance(12, skill, selection=name, salt=i)
        for i, (name, skill) in enumerate((("last", 0.5), ("inner", 0.6), ("oracle", 0.9)))
    ]
    write_predictions(concatenate(parts), tmp_path / "whole" / "predictions.csv")
    write_predictions(parts[0], tmp_path / "plain" / "predictions.csv")
    return tmp_path


def test_the_columns_of_each_run(folder: Path, by_chance: Maker) -> None:
    names = ("whole", "missing", "plain")
    whole, plain = honesty([folder / name for name in names], resamples=50)
    assert (whole.name, plain.name, whole.folds) == ("whole", "plain", 12)
    found = table(folder / "whole", resamples=50)
    assert {c.selection: c.parts[0].scores for c in found.columns} == whole.scores
    last, oracle = by_chance(12, 0.5), by_chance(12, 0.9, selection="oracle", salt=2)
    assert whole.inflation == paired_difference(oracle, last, uf1, resamples=50)
    assert whole.inflation.value > 0.1
    assert list(plain.scores) == ["last"]
    assert plain.inflation is None


def test_table_and_picture_show_what_there_is(folder: Path) -> None:
    rows = honesty([folder / "whole", folder / "plain"], resamples=50)
    lines = honesty_to_markdown(rows).splitlines()
    assert lines[0].startswith("| run | folds | UF1, last epoch |")
    assert lines[3].count("–") == 4  # no inner and no oracle, neither UF1 nor UAR
    scores, added = draw_honesty(rows).axes
    dots = [line for line in scores.lines if line.get_marker() == "o"]
    assert len(dots) == 4
    (dot,) = [line for line in added.lines if line.get_marker() == "o"]
    assert rows[0].inflation is not None
    assert float(dot.get_xdata()[0]) == rows[0].inflation.value
