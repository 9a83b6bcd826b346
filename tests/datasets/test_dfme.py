"""DFME: the real label files, and a miniature tree."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from microexpr.datasets import open_dataset
from microexpr.datasets.dfme import COUNTS
from microexpr.errors import UserError


def test_every_row_of_the_real_files_within_two_seconds(annotations_root: Path) -> None:
    start = time.thread_time()
    clips = open_dataset("dfme", annotations_root).clips()
    assert time.thread_time() - start < 2
    persons = {part: {c.person for c in clips if c.split == part} for part in COUNTS}
    assert Counter(clip.split for clip in clips) == {"train": 1856, "testA": 474, "testB": 299}
    assert {part: len(people) for part, people in persons.items()} == {
        "train": 176,
        "testA": 42,
        "testB": 41,
    }
    assert len(set.union(*persons.values())) == 259
    first = clips[0]
    assert (first.id, first.emotion, first.fps) == ("dfme/sub0003/sub0003_01", "anger", 500.0)
    assert (first.onset, first.apex, first.offset) == (109, 199, 228)
    assert Counter(clip.fps for clip in clips) == {500.0: 993, 300.0: 805, 200.0: 831}


def test_a_part_alone(annotations_root: Path) -> None:
    clips = open_dataset("dfme", annotations_root, parts=["testB"]).clips()
    assert {clip.split for clip in clips} == {"testB"}
    with pytest.raises(UserError, match="did you mean 'testA'"):
        open_dataset("dfme", annotations_root, parts=["testa"])
    with pytest.raises(UserError, match="at least one"):
        open_dataset("dfme", annotations_root, parts=[])


def test_frames_from_zero_in_folders_of_their_own_name(tmp_path: Path, trees: ModuleType) -> None:
    data = open_dataset("dfme", trees.dfme(tmp_path), complete=False)
    clips = data.clips()
    assert len(clips) == 3 * 2 * 7
    assert clips[0].source == "train_data/train_data/sub0001_01"
    for clip in clips:
        assert list(data.frames(clip)) == list(range(7))
        assert {clip.onset, clip.apex, clip.offset} <= data.frames(clip).keys()


@pytest.mark.parametrize(
    ("cells", "complaint"),
    [
        ({"EmotionId": 4}, r"row 2, column 'EmotionId': 4 is not the number of 'anger' \(0\)"),
        ({"Filename": "sub0002_01"}, "row 2, column 'Filename': 'sub0002_01' is not a clip of"),
        ({"Fps": "fast"}, "row 2, column 'Fps': expected a whole number, got 'fast'"),
    ],
)
def test_cells_that_contradict_each_other(
    tmp_path: Path, trees: ModuleType, cells: dict[str, object], complaint: str
) -> None:
    row: dict[str, object] = {
        "Subject": "sub0001",
        "Filename": "sub0001_01",
        "OnsetFrame": 0,
        "ApexFrame": 3,
        "OffsetFrame": 6,
        "Emotion": "anger",
        "EmotionId": 0,
        "Fps": 500,
        "AU": 4,
    } | cells
    table = {"Sheet1": [list(row), list(row.values())]}
    trees.write_sheets(tmp_path / "testB_full_with_AU.xlsx", table)
    with pytest.raises(UserError, match=complaint):
        open_dataset("dfme", tmp_path, parts=["testB"], complete=False).clips()
