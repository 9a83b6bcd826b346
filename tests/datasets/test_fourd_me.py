"""4DME, whose label file was never at hand: the format as described."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from microexpr.datasets import dataset_class, open_dataset
from microexpr.errors import UserError
from microexpr.lists import unit_numbers


def test_a_tree(tmp_path: Path, trees: ModuleType) -> None:
    assert dataset_class("fourd_me").unverified
    data = open_dataset("fourd_me", trees.fourd_me(tmp_path), complete=False)
    clips = data.clips()
    assert [clip.emotion for clip in clips[:2]] == ["positive", "negative+repression"]
    assert clips[0].source == "gray_micro/F01/F01_01"
    for clip in clips:
        assert {clip.onset, clip.apex, clip.offset} <= data.frames(clip).keys()
        assert unit_numbers(clip) == {4}
    with pytest.raises(UserError, match="expected 267 clips, found 4"):
        open_dataset("fourd_me", tmp_path).clips()


def test_two_rows_get_their_own_action_units_back(tmp_path: Path, trees: ModuleType) -> None:
    head = ["sub_ID", "fold_name", "Emotion", "Onset", "Apex", "Offset", "AUs"]
    rows = [["F01", f"c{n}", "Others", 1, 2, 3, f"AU{n}"] for n in range(147)]
    path = tmp_path / "4DME_Labelling_Micro_release v1.xlsx"
    trees.write_sheets(path, {"Sheet1": [head, *rows]})

    def units(corrected: bool) -> list[tuple[str, ...]]:
        data = open_dataset("fourd_me", tmp_path, corrected=corrected, complete=False)
        return [clip.action_units for clip in data.clips()[143:147]]

    assert units(True) == [("AU143",), ("AU145",), ("AU144",), ("AU146",)]
    assert units(False) == [("AU143",), ("AU144",), ("AU145",), ("AU146",)]
