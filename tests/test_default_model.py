"""`benchmarks/default_model.py`: made, calibrated, measured (on synthetic clips), and its card."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from microexpr.datasets.synthetic import Synthetic
from microexpr.errors import UserError
from microexpr.evaluation.calibration import certainty, risk_coverage
from microexpr.evaluation.predictions import read_predictions
from microexpr.evaluation.trust import read_looks, trust, validation_to_markdown
from microexpr.training.checkpoint import load_checkpoint
from microexpr.training.default import load_default

ROOT = Path(__file__).resolve().parents[1]
TINY = """
[data]
dataset = "synthetic"
labels = "megc3"
input = { normalisation = "relative" }
settings = { persons = 30, clips_per_person = 8, prior = "megc3" }

[data.others.validation]
dataset = "synthetic"
settings = { persons = 10, clips_per_person = 10, prior = "megc3", seed = 11 }

[protocol]
name = "kfold"

[model]
name = "smallcnn"
units = ["4", "12"]

[recipe]
lr = 4e-3

[[recipe.phases]]
name = "pretrain"
epochs = 5
batch = 32
warmup = 0
cooldown = 0
"""


@pytest.fixture(scope="module")
def bench(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("default_model.py")


@pytest.fixture(scope="module")
def made(bench: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny candidate, made."""
    folder = tmp_path_factory.mktemp("default")
    (folder / "tiny.toml").write_text(TINY)
    places = bench.Places(folder / "tiny.toml", folder / "out", folder / "results", folder)
    bench.make(places)
    return places


def test_it_is_calibrated_and_abstains_by_its_validation_persons(
    bench: ModuleType, made: Any
) -> None:
    told = json.loads((made.figures / "validation.json").read_text())
    card = json.loads((made.out / "default.json").read_text())
    found = load_checkpoint(made.weights)
    assert found.model.temperature == told["temperature"] != 1
    assert card["confidence"] == told["confidence"]
    assert (card["name"], card["uf1"]) == ("smallcnn, the default", None)
    assert "240 synthetic optical flow fields of 30 synthetic people" in card["trained_on"]
    held = bench.open_sets(bench._experiment(made.toml), None)[1]["validation"]
    rows = bench.predictions(found, held, bench.tensors(held)[0])
    confidence, right = certainty(rows.probabilities, rows.pred, rows.true)
    named = confidence >= card["confidence"]
    assert 0.2 < named.mean() < 1
    assert 1 - right[named].mean() <= bench.RISK + 0.01
    lower = risk_coverage(confidence, right)
    worse = lower.risk[lower.threshold < card["confidence"] - 0.01]
    assert bool((worse > bench.RISK).all())
    assert told["after"]["log_loss"] < told["before"]["log_loss"]
    assert told["after"]["all_right"] == told["before"]["all_right"] > 0.5
    assert (told["persons"], told["clips"]) == (10, 100)


def test_it_is_made_alike_each_time(bench: ModuleType, made: Any, tmp_path: Path) -> None:
    again = bench.Places(made.toml, tmp_path / "out", tmp_path / "results", tmp_path)
    bench.make(again)
    assert again.weights.read_bytes() == made.weights.read_bytes()
    assert (again.out / "default.json").read_bytes() == (made.out / "default.json").read_bytes()


def test_a_measurement_is_counted_once(
    bench: ModuleType, made: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in = Synthetic(None, persons=9, clips_per_person=8, seed=5, prior="megc3")
    monkeypatch.setattr(bench, "open_dataset", lambda name, root: stand_in)
    for _ in range(2):
        card = bench.measure(made, tmp_path)
    (look,) = read_looks(made.results / "zero_shot_looks.csv")
    assert (look.count, look.candidate, look.data) == (1, "tiny", "flow442, 72 clips")
    assert len(look.experiment) == len(look.weights) == 12
    rows = read_predictions(made.figures)
    assert len(rows.clip) == 72
    assert card.low <= card.uf1 <= card.high
    assert json.loads((made.out / "default.json").read_text())["uf1"] == card.uf1
    assert trust(rows, card.confidence)[0].all_right == np.mean(rows.pred == rows.true)


def test_the_documents_tell_of_it(
    program: Callable[[str], ModuleType],
    bench: ModuleType,
    made: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    stand_in = Synthetic(None, persons=9, clips_per_person=8, seed=5, prior="megc3")
    monkeypatch.setattr(bench, "open_dataset", lambda name, root: stand_in)
    bench.measure(made, tmp_path)
    tables, pictures = program("tables.py"), program("pictures.py")
    monkeypatch.setattr(tables, "BENCHMARKS", made.results.parent)
    filled = tables.filled(
        "<!-- card: tiny -->\nx\n<!-- end -->\n<!-- looks: zero_shot_looks -->\nx\n<!-- end -->\n"
        "<!-- card: none -->\nx\n<!-- end -->\n<!-- looks: none -->\nx\n<!-- end -->\n"
    )
    assert filled.count(tables.NONE_YET) == 2
    assert "| combined | 72 | 9 |" in filled or "| synthetic | 72 | 9 |" in filled
    assert "temperature " in filled
    assert filled.count("pictures/reliability.png") == 1
    assert "1 in all." in filled
    monkeypatch.setattr(pictures, "BENCHMARKS", tmp_path)
    monkeypatch.setattr(pictures, "FOLDER", tmp_path / "drawn")
    pictures.model_card()
    assert not (tmp_path / "drawn").exists()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "default_model").symlink_to(made.figures)
    pictures.model_card()
    names = {file.name for file in (tmp_path / "drawn").iterdir()}
    assert names == {"reliability.png", "risk_coverage.png"}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            '[data]\ndataset = "synthetic"',
            '[data]\ndataset = "flow442"',
            "from 'films' beside it, alone",
        ),
        ("others.validation", "others.more", "data.others.validation"),
        ("seed = 11", "seed = 0", "shows persons of the training"),
        ("[protocol]", '[grid]\n"model.dropout" = [0.1, 0.2]\n\n[protocol]', "a grid of 2 arms"),
    ],
)
def test_what_is_refused(bench: ModuleType, tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in TINY
    (tmp_path / "t.toml").write_text(TINY.replace(old, new, 1))
    places = bench.Places(tmp_path / "t.toml", tmp_path / "out", tmp_path / "results", tmp_path)
    with pytest.raises(UserError, match=says):
        bench.make(places)
    assert not places.out.exists()


def test_another_card_is_refused(bench: ModuleType, made: Any) -> None:
    card = made.out / "default.json"
    before = card.read_text()
    try:
        card.write_text(json.dumps({**json.loads(before), "sha256": "0"}))
        with pytest.raises(UserError, match="about other weights"):
            bench._read_card(made)
    finally:
        card.write_text(before)


def test_a_damaged_list_of_looks_is_told(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("count,candidate\nmany,x\n")
    with pytest.raises(UserError, match="line 2: no list of looks"):
        read_looks(tmp_path / "l.csv")


@pytest.mark.slow
def test_films_are_made_where_they_are_missing(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "FILMS", bench.Archive(persons=2, clips=3, prior="megc3"))
    films = '[data.others.films]\ndataset = "films"\nfolder = "flow"\n\n[protocol]'
    text = TINY.replace("[protocol]", films) + 'replay = "films"\nreplay_batch = 8\n'
    (tmp_path / "t.toml").write_text(text)
    places = bench.Places(tmp_path / "t.toml", tmp_path / "out", tmp_path / "results", tmp_path)
    card = bench.make(places)
    assert "people and 6 films of 2 drawn people, made from anatomy" in card.trained_on
    assert len(list((tmp_path / "films").glob("*/*.mp4"))) == 6
    told = json.loads((places.figures / "validation.json").read_text())
    assert told["films"] == 6
    assert 0.05 < told["film_seconds"] < 60
    assert "its 6 films and their flow" in validation_to_markdown(told)
    first = places.weights.read_bytes()
    bench.make(places)
    assert places.weights.read_bytes() == first


@pytest.mark.slow
def test_the_committed_experiment_describes_its_validation_persons(bench: ModuleType) -> None:
    experiment = bench._experiment(ROOT / "benchmarks" / "default_model.toml")
    fields = {n: o for n, o in experiment.data.others.items() if o.dataset == "synthetic"}
    data = bench.replace(experiment.data, others=fields)
    train, others = bench.open_sets(bench.replace(experiment, data=data), None)
    assert len(bench._validation(train, others).persons) >= 100
    assert read_looks(ROOT / "benchmarks" / "results" / "zero_shot_looks.csv")


ZERO = """
[data]
dataset = "synthetic"
labels = "megc3"
settings = { persons = 4, clips_per_person = 6, seed = 3 }

[data.others.anatomy]
dataset = "synthetic"
settings = { persons = 6, clips_per_person = 6 }

[protocol]
name = "kfold"
folds = 2

[model]
name = "smallcnn"

[recipe]
warmup = 0
cooldown = 0

[[recipe.phases]]
on = "anatomy"
epochs = 1

[run]
seeds = [0, 1]
"""


def test_a_zero_shot_run_is_counted_before_it_begins(
    program: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = program("looks.py")
    path = tmp_path / "zero.toml"
    path.write_text(ZERO)
    looking.run(path, tmp_path, tmp_path / "results")
    (look,) = read_looks(tmp_path / "results" / "zero_shot_looks.csv")
    assert (look.count, look.candidate, look.data) == (2, "zero", "synthetic, 24 clips")
    assert len(read_predictions(tmp_path / "results" / "zero").clip) == 48
    path.write_text(ZERO.replace('on = "anatomy"', 'on = "train"'))
    with pytest.raises(UserError, match="learns from real clips"):
        looking.run(path, tmp_path, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_temperatures_are_tried_on_worse_recordings(program: Callable[[str], ModuleType]) -> None:
    calibration = program("calibration.py")
    rows = calibration.compare(load_default(), persons=12)
    assert [row.disturbance for row in rows] == list(calibration.DISTURBANCES)
    assert rows[0].accuracy > rows[-1].accuracy
    assert rows[-1].temperature > rows[0].temperature
    assert all(set(row.errors) == set(calibration.DISTURBANCES) for row in rows)
    assert rows[0].errors[3.0] > rows[-1].errors[3.0]  # fitted on easy clips, too sure of hard ones
