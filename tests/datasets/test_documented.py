"""The data set that docs/datasets.md shows is whole, short, and works."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import cv2
import pytest

import microexpr.datasets
from microexpr.datasets import dataset_names, open_dataset
from microexpr.errors import UserError

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "datasets.md"


def code() -> str:
    """The last block of Python in the document."""
    return re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)[-1]


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
    root = tmp_path / "root"
    trees.write_lines(
        root / "labels.csv",
        [
            ["Person", "Clip", "Onset", "Apex", "Offset", "Emotion", "AU"],
            ["p1", "a", 3, 7, 12, "happiness", "6+12"],
            ["p2", "a", 1, "", 9, "disgust", "9"],
        ],
    )
    (root / "frames" / "p1" / "a").mkdir(parents=True)
    cv2.imwrite(str(root / "frames" / "p1" / "a" / "3.png"), trees.noise("p1", "x", 0))
    first, second = open_dataset("mine", root).clips()
    assert (first.id, first.source, first.apex) == ("mine/p1/a", "frames/p1/a", 7)
    assert first.action_units == ("6", "12")
    assert (second.source, second.apex) == ("", None)
    (root / "labels.csv").write_text((root / "labels.csv").read_text().replace("disgust", "joy"))
    with pytest.raises(UserError, match=r"labels.csv, row 3, column 'Emotion'"):
        open_dataset("mine", root).clips()
    sys.modules.pop("microexpr.datasets.mine", None)
