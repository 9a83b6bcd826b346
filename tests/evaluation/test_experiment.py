from __future__ import annotations

import copy
from pathlib import Path

import pytest
import tomli_w

from microexpr.errors import UserError
from microexpr.evaluation.experiment import difference, parse, read_experiment, to_table

TEXT = """
[data]
dataset = "synthetic"
labels = "megc3"
settings = { persons = 6 }
[data.others.films]
dataset = "synthetic"
settings = { persons = 3, seed = 1 }
[protocol]
name = "kfold"
folds = 3
[model]
name = "smallcnn"
[recipe]
epochs = 2
lr = 1
warmup = 0
cooldown = 0
[[recipe.phases]]
name = "pre"
on = "films"
[[recipe.phases]]
name = "main"
epochs = 4
[run]
seeds = [0, 1]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "one.toml"
    path.write_text(text)
    return path


def test_reading(tmp_path: Path) -> None:
    experiment = read_experiment(written(tmp_path, TEXT))[""]
    assert experiment.data.others["films"].settings == {"persons": 3, "seed": 1}
    assert experiment.protocol.settings == {"folds": 3}
    assert [(p.name, p.epochs, p.lr) for p in experiment.recipe.phases] == [
        ("pre", 2, 1.0),
        ("main", 4, 1.0),
    ]
    assert experiment.run.seeds == (0, 1)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    experiment = read_experiment(written(tmp_path, TEXT))[""]
    table = to_table(experiment)
    assert parse(table) == experiment
    path = written(tmp_path, tomli_w.dumps(table))
    assert read_experiment(path)[""] == experiment


def test_a_grid_makes_arms(tmp_path: Path) -> None:
    grid = '[grid]\n"model.orders" = [["a"], ["a", "b"]]\n"recipe.lr" = [0.1, 0.2]\n'
    arms = read_experiment(written(tmp_path, TEXT + grid))
    assert list(arms) == [
        "orders=a,lr=0.1",
        "orders=a,lr=0.2",
        "orders=a+b,lr=0.1",
        "orders=a+b,lr=0.2",
    ]
    assert arms["orders=a+b,lr=0.2"].model.settings == {"orders": ["a", "b"]}
    assert {p.lr for p in arms["orders=a,lr=0.1"].recipe.phases} == {0.1}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "epochs = 2",
            "epoch = 2",
            r"unknown key 'recipe.phases\[0\].epoch': did you mean 'epochs'",
        ),
        ("[protocol]", "[protocl]", "unknown key 'protocl': did you mean 'protocol'"),
        ('labels = "megc3"', "labels = 3", "data.labels must be a str, got 3"),
        ("seeds = [0, 1]", "seeds = [0, 0]", "each once"),
        ("seeds = [0, 1]", 'selections = ["last", "orakle"]', "did you mean 'oracle'"),
        ("seeds = [0, 1]", 'selections = ["inner"]', "must include 'last'"),
        ('name = "smallcnn"', "", r"\[model\] needs a name"),
        ('dataset = "synthetic"\nlabels', "labels", "missing key 'data.dataset'"),
        ("lr = 1", "lr = true", r"phases\[0\].lr must be a float, got True"),
        ("lr = 1", "lr = = 1", "no valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = written(tmp_path, TEXT.replace(old, new, 1))
    with pytest.raises(UserError, match=says) as caught:
        read_experiment(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the experiment"):
        read_experiment(tmp_path / "none.toml")


def test_difference_names_the_field(tmp_path: Path) -> None:
    one = to_table(read_experiment(written(tmp_path, TEXT))[""])
    two = to_table(read_experiment(written(tmp_path, TEXT.replace("lr = 1", "lr = 2")))[""])
    assert difference(one, one) is None
    assert difference(one, two) == "recipe.phases.0.lr is 1.0 there and 2.0 here"


def test_a_field_that_is_missing_there_has_its_default(tmp_path: Path) -> None:
    """A folder written before a field existed still holds the same experiment."""
    new = to_table(read_experiment(written(tmp_path, TEXT))[""])
    old = copy.deepcopy(new)
    for phase in old["recipe"]["phases"]:
        for key in ("mode", "hold_out", "mesa", "mesa_start", "population", "mutation"):
            del phase[key]
    assert difference(old, new) is None
    new["recipe"]["phases"][1]["mode"] = "adapt"
    assert difference(old, new) == "recipe.phases.1.mode is train there and adapt here"
