from __future__ import annotations

import csv
from pathlib import Path

from microexpr.evaluation.choices import note_choices, write_choices
from microexpr.models.ammsm import Ammsm


def test_table_and_picture_of_what_was_chosen(tmp_path: Path) -> None:
    notes = []
    for fold, alpha in (("1", 2.0), ("2", 3.5)):
        model = Ammsm(3, **Ammsm.smallest)
        model.choose({"ratio_2_1": 0.7, "alpha": alpha})
        notes.append(tmp_path / f"{fold}.json")
        note_choices(notes[-1], model, seed=0, fold=fold, selection="last", loss=0.5)
    write_choices([*notes, tmp_path / "missing.json"], tmp_path)
    with (tmp_path / "search.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["fold"], r["loss"], r["ratio_1_1"], r["ratio_2_1"], r["alpha"]) for r in rows] == [
        ("1", "0.5", "0.4", "0.7", "2.0"),
        ("2", "0.5", "0.4", "0.7", "3.5"),
    ]
    assert (tmp_path / "search.png").stat().st_size > 1000


def test_without_a_search_nothing_is_written(tmp_path: Path) -> None:
    write_choices([tmp_path / "missing.json"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_without_choices_has_a_table_and_no_picture(tmp_path: Path) -> None:
    model = Ammsm(3, **Ammsm.smallest, magnifier=False, sparsity=False)
    note_choices(tmp_path / "a.json", model, seed=1, fold="x", selection="inner", loss=1.0)
    write_choices([tmp_path / "a.json"], tmp_path)
    assert (tmp_path / "search.csv").read_text() == "seed,fold,selection,loss\n1,x,inner,1.0\n"
    assert not (tmp_path / "search.png").exists()
