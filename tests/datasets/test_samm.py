"""SAMM: the real sheet, and a miniature tree."""

from __future__ import annotations

import time
from pathlib import Path
from types import ModuleType

from microexpr.datasets import open_dataset
from microexpr.datasets.samm import CORRECTIONS


def test_every_row_of_the_real_sheet_within_two_seconds(annotations_root: Path) -> None:
    start = time.thread_time()
    clips = open_dataset("samm", annotations_root).clips()
    assert time.thread_time() - start < 2
    assert (len(clips), len({clip.person for clip in clips})) == (159, 29)
    first = clips[0]
    assert (first.id, first.emotion, first.modality) == ("samm/006/006_1_2", "anger", "grey")
    assert (first.onset, first.apex, first.offset, first.fps) == (5562, 5588, 5632, 200.0)
    assert first.action_units == ("4", "7")


def test_the_two_typos_raw_and_corrected(annotations_root: Path) -> None:
    raw = {c.name: c for c in open_dataset("samm", annotations_root, corrected=False).clips()}
    mended = {c.name: c for c in open_dataset("samm", annotations_root).clips()}
    assert (raw["028_4_1"].apex, mended["028_4_1"].apex) == (1143, 1124)
    assert (raw["032_3_1"].apex, mended["032_3_1"].apex) == (1930, 4930)
    changed = {name for name in raw if raw[name] != mended[name]}
    assert changed == {correction.clip.split("/")[1] for correction in CORRECTIONS}
    assert mended["032_3_2"].apex == mended["032_3_2"].onset + 1  # odd, but as annotated
    for clip in mended.values():
        assert clip.onset < clip.apex < clip.offset
        assert not any(" or " in code for code in clip.action_units)


def test_frames_padded_to_four_and_to_five_digits(tmp_path: Path, trees: ModuleType) -> None:
    data = open_dataset("samm", trees.samm(tmp_path), complete=False)
    clips = data.clips()
    assert [clip.source for clip in clips[:2]] == ["SAMM/006/006_1_1", "SAMM/006/006_1_2"]
    assert data.frames(clips[0])[1100].name == "006_01100.jpg"
    assert data.frames(clips[1])[1200].name == "006_1200.jpg"
    for clip in clips:
        assert {clip.onset, clip.apex, clip.offset} <= data.frames(clip).keys()


def test_the_sheet_with_its_header_on_the_first_row(tmp_path: Path, trees: ModuleType) -> None:
    head = ["Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame"]
    head += ["Action Units", "Estimated Emotion"]
    row = [28, "028_4_1", 4, 1071, 1124, 1134, "A14C", "Other"]
    trees.write_sheets(tmp_path / "SAMM.xlsx", {"Sheet1": [head, row]})
    clip = open_dataset("samm", tmp_path, complete=False).clips()[0]
    assert (clip.id, clip.apex) == ("samm/028/028_4_1", 1124)
