"""What docs/datasets.md and docs/extend.md show works: the lists; a data set, whole and short."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import microexpr.datasets
from microexpr.datasets import dataset_names, open_dataset
from microexpr.doctor import examine_dataset
from microexpr.errors import UserError
from microexpr.evaluation.experiment import read_experiment
from microexpr.evaluation.plan import plan
from microexpr.lists import LISTS
from microexpr.preparation import prepare_dataset

DOCS = Path(__file__).resolve().parents[2] / "docs"
DOCUMENT = DOCS / "datasets.md"


EXPERIMENT = """
[data]
dataset = "mine"
labels = "megc3"
[protocol]
name = "loso"
[model]
name = "smallcnn"
"""


def blocks(page: Path) -> list[str]:
    """The blocks of Python in a document."""
    return re.findall(r"```python[^\n]*\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def code() -> str:
    """The adapter."""
    (block,) = (block for block in blocks(DOCS / "extend.md") if "class Mine(Dataset)" in block)
    return block


def test_the_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, annotations_root: Path) -> None:
    (tmp_path / "labels").symlink_to(annotations_root)
    monkeypatch.chdir(tmp_path)
    (block,) = (block for block in blocks(DOCUMENT) if "expect(" in block)
    names: dict[str, Any] = {}
    exec(block, names)
    assert len(names["listed"]) == len(names["targets"]) == 1274
    assert [fold.name for fold in names["folds"]] == ["casme2", "casme3", "samm"]
    for name in LISTS:
        assert f"`{name}`" in DOCUMENT.read_text(encoding="utf-8"), name


def test_it_is_short() -> None:
    assert len(code().splitlines()) < 60


def test_one_file_is_all_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trees: ModuleType
) -> None:
    adapters = tmp_path / "adapters"
    adapters.mkdir()
    (adapters / "mine.py").write_text(code())
    path = [*microexpr.datasets.__path__, str(adapters)]
    monkeypatch.setattr(microexpr.datasets, "__path__", path)
    monkeypatch.delitem(sys.modules, "microexpr.datasets.mine", raising=False)
    assert "mine" in dataset_names()
    root, store = tmp_path / "root", tmp_path / "store"
    trees.write_lines(
        root / "labels.csv",
        [
            ["Person", "Clip", "Onset", "Apex", "Offset", "Emotion", "AU"],
            ["p1", "a", 3, 7, 12, "happiness", "6+12"],
            ["p2", "a", 1, "", 9, "disgust", "9"],
        ],
    )
    names = [f"{number}.png" for number in range(3, 13)]
    trees.write_frames(root / "frames" / "p1" / "a", names, "p1", "happiness", trees.face)
    first, second = open_dataset("mine", root).clips()
    assert (first.id, first.source, first.apex) == ("mine/p1/a", "frames/p1/a", 7)
    assert first.action_units == ("6", "12")
    assert (second.source, second.apex) == ("", None)
    assert examine_dataset("mine", root, {})[-2].detail.startswith(
        "1 of 2 clips have none: mine/p2"
    )
    done = prepare_dataset("mine", root, store, sheet=0, jobs=1)
    assert (done["made"], list(done["failed"])) == (1, ["mine/p2/a"])
    names = [f"{number}.png" for number in range(1, 10)]
    trees.write_frames(root / "frames" / "p2" / "a", names, "p2", "disgust", trees.face)
    done = prepare_dataset("mine", root, store, sheet=0, jobs=1)
    assert (done["made"], done["kept"]) == (1, 1)
    (tmp_path / "mine.toml").write_text(EXPERIMENT)
    said = plan(read_experiment(tmp_path / "mine.toml")[""], store)
    assert "2 clips of 2 persons (negative 1, positive 1, surprise 0)" in said
    (root / "labels.csv").write_text((root / "labels.csv").read_text().replace("disgust", "joy"))
    with pytest.raises(UserError, match=r"labels.csv, row 3, column 'Emotion'"):
        open_dataset("mine", root).clips()
    sys.modules.pop("microexpr.datasets.mine", None)
