from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microexpr.errors import UserError
from microexpr.evaluation.comparison import compare
from microexpr.evaluation.metrics import uf1
from microexpr.evaluation.predictions import Predictions, concatenate, take, write_predictions
from microexpr.evaluation.statistics import holm, paired_difference
from microexpr.evaluation.tables import Run, table

Maker = Callable[..., Predictions]


def _run(name: str, predictions: Predictions) -> Run:
    return Run(name, predictions, {}, {})


def test_each_run_is_scored_and_compared_with_the_first(by_chance: Maker) -> None:
    made = [by_chance(12, skill, salt=i) for i, skill in enumerate((0.8, 0.5, 0.7))]
    runs = [_run(name, p) for name, p in zip("abc", made, strict=True)]
    found = compare(runs, metrics=("uf1",), resamples=100)
    assert [row.name for row in found.rows] == ["a", "b", "c"]
    assert found.rows[0].differences == {}
    expected = [paired_difference(p, made[0], uf1, resamples=100) for p in made[1:]]
    assert [row.differences["uf1"] for row in found.rows[1:]] == expected
    assert [row.adjusted["uf1"] for row in found.rows[1:]] == holm([d.p for d in expected])
    for row, p in zip(found.rows, made, strict=True):
        assert row.column == table(p, resamples=100).columns[0]
    assert found.flags == tuple(
        f"{name}, {part}: only {n} person(s): the interval is rough"
        for name in "abc"
        for part, n in (("samm", 8), ("smic", 4))
    )


def test_only_the_asked_selection_is_compared(by_chance: Maker) -> None:
    good, bad = by_chance(8, 0.9), by_chance(8, 0.3, selection="oracle")
    run = _run("a", concatenate([good, bad]))
    assert compare([run], "oracle", resamples=5).title == "oracle (leaky)"
    score = compare([run], "oracle", resamples=5).rows[0].column.parts[0].scores["uf1"]
    assert score.value == table(bad, resamples=5).columns[0].parts[0].scores["uf1"].value
    with pytest.raises(UserError, match="no predictions of the selection 'inner'"):
        compare([run], "inner")


def test_other_clips_and_other_folds_are_flagged(by_chance: Maker) -> None:
    whole = by_chance(30)
    some = take(whole, np.flatnonzero(whole.person != whole.person[0]))
    grouped = replace(whole, fold=np.full(len(whole.fold), "1"))
    runs = [_run("a", whole), _run("b", some), _run("c", grouped)]
    flags = compare(runs, resamples=5).flags
    assert f"b: the difference is over {len(some.clip)} common clips only" in flags
    assert "c: other folds than a, so other training clips" in flags


def test_folders_are_told_apart(by_chance: Maker, tmp_path: Path) -> None:
    for folder in ("x/last", "y/last", "z/other", "z/mixer=scan"):
        (tmp_path / folder).mkdir(parents=True)
        write_predictions(by_chance(5), tmp_path / folder / "predictions.csv")
    asked = [tmp_path / "x/last", tmp_path / "y/last/predictions.csv", tmp_path / "z/other"]
    arm = tmp_path / "z/mixer=scan"
    names = [row.name for row in compare([*asked, arm], resamples=5).rows]
    assert names == ["x/last", "y/last", "other", "z/mixer=scan"]
    names = [row.name for row in compare([asked[2], arm], resamples=5).rows]
    assert names == ["other", "mixer=scan"]


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(UserError, match="name at least one run"):
        compare([])
