from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from microexpr.errors import UserError
from microexpr.evaluation.metrics import METRICS, confusion
from microexpr.evaluation.predictions import Predictions, concatenate, take, write_predictions
from microexpr.evaluation.tables import read_run, table

Maker = Callable[..., Predictions]


def test_parts_are_pooled_predictions_filtered_by_data_set(by_chance: Maker) -> None:
    made = by_chance(10)
    (column,) = table(made, resamples=20).columns
    assert [part.name for part in column.parts] == ["combined", "samm", "smic"]
    for part in column.parts:
        rows = np.array([part.name in ("combined", c.split("/")[0]) for c in made.clip.tolist()])
        matrix = confusion(made.true[rows], made.pred[rows], 3)
        assert part.confusion == tuple(map(tuple, matrix.tolist()))
        assert part.clips == rows.sum()
        assert part.persons == len(set(made.person[rows].tolist()))
        for name, score in part.scores.items():
            assert score.value == pytest.approx(float(METRICS[name](matrix)))
            assert score.low <= score.value <= score.high


def test_a_single_data_set_has_one_part(hand_made: Maker) -> None:
    made = hand_made([("smic/s1/c1", 0, 0), ("smic/s2/c1", 1, 1)])
    (column,) = table(made, resamples=5).columns
    assert [part.name for part in column.parts] == ["combined"]


def test_seeds_give_mean_median_and_each_value(by_chance: Maker) -> None:
    seeds = (4, 0, 2)
    report = table(by_chance(8, seeds=seeds), resamples=10)
    (column,) = report.columns
    assert column.seeds == (0, 2, 4)
    singles = [
        table(by_chance(8, seeds=(s,)), resamples=10).columns[0].parts[0] for s in column.seeds
    ]
    score = column.parts[0].scores["uf1"]
    assert score.per_seed == pytest.approx([part.scores["uf1"].value for part in singles])
    assert score.value == pytest.approx(np.mean(score.per_seed))
    assert score.median == np.median(score.per_seed)
    for k, found in enumerate(column.parts[0].classes):
        assert found.f1 == pytest.approx(np.mean([part.classes[k].f1 for part in singles]))
        assert found.support == singles[0].classes[k].support
    assert np.mean([c.f1 for c in column.parts[0].classes]) == pytest.approx(score.value)


def test_class_scores_equal_scikit_learn(by_chance: Maker) -> None:
    made = by_chance(20)
    found = table(made, resamples=5).columns[0].parts[0].classes
    expected = precision_recall_fscore_support(made.true, made.pred)
    for k, c in enumerate(found):
        assert (c.precision, c.recall, c.f1) == pytest.approx(tuple(e[k] for e in expected[:3]))
        assert c.support == expected[3][k]


def test_columns_stand_in_order_and_oracle_is_marked(by_chance: Maker) -> None:
    made = concatenate([by_chance(6, selection=s) for s in ("oracle", "last", "inner")])
    titles = [(c.selection, c.title) for c in table(made, resamples=5).columns]
    assert titles == [
        ("last", "last epoch"),
        ("inner", "inner validation"),
        ("oracle", "oracle (leaky)"),
    ]


def test_absent_classes_few_persons_and_missing_rows_are_flagged(hand_made: Maker) -> None:
    rows = [("smic/s1/c1", 0, 0), ("smic/s1/c2", 1, 1), ("samm/1/c1", 0, 2)]
    made = concatenate([hand_made(rows), hand_made(rows[:1], seed=1)])
    report = table(made, resamples=5)
    combined, samm, smic = report.columns[0].parts
    assert any(line.startswith("surprise: no true clip, but predicted") for line in combined.flags)
    assert any(line.startswith("positive: neither") for line in samm.flags)
    assert "only 1 person(s): the interval is rough" in smic.flags
    assert report.flags == ("last epoch, seed 1: 1 of 3 clips predicted",)
    assert math.isnan(samm.scores["uf1"].low)
    assert math.isnan(samm.classes[1].f1)


def test_a_headline_other_than_the_last_epoch_is_flagged(by_chance: Maker) -> None:
    report = table(by_chance(5, selection="oracle"), resamples=5)
    assert report.flags == ("no predictions of the last epoch; the headline is oracle (leaky)",)


def test_hardest_persons_come_first_and_need_three_clips(hand_made: Maker) -> None:
    rows = [(f"smic/s1/c{i}", 0, int(i < 2)) for i in range(4)]  # half right
    rows += [(f"smic/s2/c{i}", 0, 1) for i in range(3)]  # all wrong
    rows += [(f"smic/s3/c{i}", 0, 1) for i in range(2)]  # all wrong, but two clips only
    rows += [(f"smic/s4/c{i}", 0, 0) for i in range(5)]
    worst = table(hand_made(rows), resamples=5).worst
    assert [(w.person, w.clips, w.accuracy) for w in worst] == [
        ("smic/s2", 3, 0.0),
        ("smic/s1", 4, 0.5),
        ("smic/s4", 5, 1.0),
    ]


def test_a_folder_is_read_with_its_settings(by_chance: Maker, tmp_path: Path) -> None:
    run = tmp_path / "merba_nano"
    write_predictions(by_chance(5), run / "predictions.csv")
    (run / "experiment.toml").write_text(
        '[model]\nname = "merba"\n[protocol]\nname = "loso"\n'
        '[data]\ndataset = "flow442"\nlabels = "megc3"\n'
    )
    (run / "environment.json").write_text('{"torch": "2.13.0"}')
    for path in (run, run / "predictions.csv"):
        report = table(path, resamples=5)
        assert report.name == "merba_nano"
        assert report.about == "merba, loso, flow442, megc3"
        assert report.environment == {"torch": "2.13.0"}
        assert (report.persons, report.folds) == (5, 5)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("experiment.toml", "a = = 1", "cannot read"),
        ("environment.json", "[1]", "must hold a table"),
        ("environment.json", "{", "cannot read"),
        ("experiment.toml", '[data]\nlabels = "casme5"', "the scheme casme5 is happiness"),
        ("experiment.toml", '[data]\nlabels = "megc4"', "did you mean 'megc3'"),
    ],
)
def test_bad_settings_get_one_line(
    by_chance: Maker, tmp_path: Path, name: str, text: str, message: str
) -> None:
    write_predictions(by_chance(3), tmp_path / "predictions.csv")
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_settings_that_are_no_tables_do_not_stop_a_report(by_chance: Maker, tmp_path: Path) -> None:
    write_predictions(take(by_chance(3), np.arange(3)), tmp_path / "predictions.csv")
    (tmp_path / "experiment.toml").write_text('model = "merba"')
    assert table(tmp_path, resamples=5).about == ""
