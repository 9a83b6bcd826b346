"""MMEW, whose label file was never at hand: the format as described."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from microexpr.datasets import dataset_class, open_dataset
from microexpr.datasets.mmew import COUNTS, REPAIRS
from microexpr.errors import UserError

HEAD = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units"]
HEAD += ["Estimated Emotion", "remarks"]


def test_it_says_that_it_is_unverified() -> None:
    assert dataset_class("mmew").unverified
    assert not dataset_class("casme2").unverified
    assert sum(COUNTS.values()) == 300


def test_a_tree(tmp_path: Path, trees: ModuleType) -> None:
    data = open_dataset("mmew", trees.mmew(tmp_path), complete=False)
    clips = data.clips()
    assert clips[0].id == "mmew/S13/S13-01-001"
    assert clips[0].source == "Micro_Expression/happiness/S13-01-001"
    for clip in clips:
        assert {clip.onset, clip.apex, clip.offset} <= data.frames(clip).keys()
    with pytest.raises(UserError, match="expected 300"):
        open_dataset("mmew", tmp_path).clips()


def test_only_rows_that_are_out_of_order_are_repaired(tmp_path: Path, trees: ModuleType) -> None:
    rows: list[list[Any]] = [
        ["S13", f"S13-01-{n:03d}", 1, 4, 7, "4", "disgust", None] for n in range(37)
    ]
    rows[33][3] = None  # missing
    rows[35][3:5] = [90, 54]  # out of order
    rows[10][3] = None  # missing, and no repair is known
    trees.write_sheets(tmp_path / "MMEW_Micro_Exp.xlsx", {"Sheet1": [HEAD, *rows]})
    clips = open_dataset("mmew", tmp_path, complete=False).clips()
    assert (clips[33].apex, clips[33].offset) == REPAIRS[33]
    assert (clips[35].apex, clips[35].offset) == REPAIRS[35]
    assert (clips[36].apex, clips[36].offset) == (4, 7)
    assert (clips[10].apex, clips[10].offset) == (None, 7)
    raw = open_dataset("mmew", tmp_path, corrected=False, complete=False).clips()
    assert (raw[33].apex, raw[35].apex) == (None, 90)


def test_a_person_that_is_none(tmp_path: Path, trees: ModuleType) -> None:
    row = ["thirteen", "S13-01-001", 1, 4, 7, "4", "disgust", None]
    trees.write_sheets(tmp_path / "MMEW_Micro_Exp.xlsx", {"Sheet1": [HEAD, row]})
    with pytest.raises(UserError, match="row 2, column 'Subject': expected 13 or S13"):
        open_dataset("mmew", tmp_path, complete=False).clips()
