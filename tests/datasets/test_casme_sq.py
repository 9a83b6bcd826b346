"""CAS(ME)^2: the real label file, and a miniature tree."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from types import ModuleType

import pytest

from microexpr.datasets import open_dataset
from microexpr.datasets.casme_sq import CORRECTIONS
from microexpr.errors import UserError


@pytest.mark.parametrize(("kind", "count"), [("micro", 57), ("macro", 300), ("both", 357)])
def test_every_row_of_the_real_file_within_two_seconds(
    annotations_root: Path, kind: str, count: int
) -> None:
    start = time.thread_time()
    data = open_dataset("casme_sq", annotations_root, kind=kind)
    clips = data.clips()
    assert time.thread_time() - start < 2
    assert len(clips) == count
    assert {clip.video for clip in clips} <= {video.id for video in data.videos()}


def test_the_recordings_are_those_that_the_copy_names(annotations_root: Path) -> None:
    with (annotations_root / "casme_sq_code_final_updated.csv").open(newline="") as file:
        named = {row[10] for row in csv.reader(file)}
    videos = open_dataset("casme_sq", annotations_root).videos()
    assert {f"{video.subject}/{video.name}" for video in videos} == named
    assert len(videos) == 95


def test_missing_offsets_and_impossible_apexes_are_none(annotations_root: Path) -> None:
    clips = open_dataset("casme_sq", annotations_root, kind="both").clips()
    assert sum(clip.offset is None for clip in clips) == 44
    assert {c.split for c in clips if c.offset is None} == {"macro"}
    none = {f"{clip.subject}/{clip.name}" for clip in clips if clip.apex is None}
    assert none == {correction.clip for correction in CORRECTIONS}
    raw = open_dataset("casme_sq", annotations_root, kind="both", corrected=False).clips()
    assert all(clip.apex is not None for clip in raw)


def test_a_tree(tmp_path: Path, trees: ModuleType) -> None:
    data = open_dataset("casme_sq", trees.casme_sq(tmp_path), kind="both", complete=False)
    clips = data.clips()
    assert [(c.id, c.split, c.offset) for c in clips] == [
        ("casme_sq/s15/anger1_1", "macro", 8),
        ("casme_sq/s15/anger1_2", "micro", 13),
        ("casme_sq/s16/happy2_1", "macro", None),
        ("casme_sq/s16/happy2_2", "micro", 9),
    ]
    assert [clip.action_units for clip in clips[2:]] == [(), ("6", "12")]
    assert clips[0].source == "rawpic/s15/15_0401girlcrashing"
    assert [video.name for video in data.videos()] == [
        "15_0401girlcrashing",
        "16_0101disgust",
        "16_0503unnyfarting",
    ]
    assert len(data.frames(clips[0])) == 15


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ([23, "anger1_1", 1, 2, 3, "4", "others", "micro-expression"], "column 'participant'"),
        ([1, "joy1_1", 1, 2, 3, "4", "others", "micro-expression"], "column 'event': unknown film"),
        ([1, "anger1_1", 1, 2, 3, "4", "others", "mini"], "column 'type': unknown 'mini'"),
        (
            [1, "anger1_1", "x", 2, 3, "", "others", "micro-expression"],
            "column 'onset': expected a whole number",
        ),
    ],
)
def test_complaints(tmp_path: Path, trees: ModuleType, row: list[object], complaint: str) -> None:
    good = [1, "anger1_2", 10, 12, 13, "38", "others", "micro-expression"]
    trees.write_lines(tmp_path / "casme_sq_code_final_updated.csv", [good, row])
    with pytest.raises(UserError, match=f"row 2, {complaint}"):
        open_dataset("casme_sq", tmp_path, complete=False).clips()
