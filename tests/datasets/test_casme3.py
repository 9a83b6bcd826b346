"""CAS(ME)^3: the real label files, and a miniature tree."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from pathlib import Path
from types import ModuleType

from microexpr.datasets import open_dataset
from microexpr.datasets.casme3 import CORRECTIONS


def test_every_row_of_part_a_within_two_seconds(annotations_root: Path) -> None:
    start = time.thread_time()
    clips = open_dataset("casme3", annotations_root).clips()
    assert time.thread_time() - start < 2
    assert (len(clips), len({clip.person for clip in clips})) == (860, 94)
    second = clips[1]
    assert (second.id, second.emotion) == ("casme3/spNO.1/b_166", "disgust")
    assert (second.onset, second.apex, second.offset) == (166, 175, 179)
    assert (second.video, second.action_units) == ("casme3/spNO.1/b", ("4",))


def test_part_c_has_no_apex_and_other_persons(annotations_root: Path) -> None:
    a = open_dataset("casme3", annotations_root).clips()
    c = open_dataset("casme3", annotations_root, part="C").clips()
    assert Counter(clip.emotion for clip in c)["negative"] == 99
    assert (len(c), {clip.apex for clip in c}) == (165, {None})
    assert not {clip.person for clip in a} & {clip.person for clip in c}
    assert {clip.action_units for clip in c if clip.subject == "C04"} >= {("4", "11")}


def test_raw_and_corrected_values_under_the_same_ids(annotations_root: Path) -> None:
    raw = {c.id: c for c in open_dataset("casme3", annotations_root, corrected=False).clips()}
    mended = {c.id: c for c in open_dataset("casme3", annotations_root).clips()}
    assert raw.keys() == mended.keys()
    changed = {name for name in raw if raw[name] != mended[name]}
    assert changed == {f"casme3/{correction.clip}" for correction in CORRECTIONS}
    bad = [c for c in raw.values() if not c.onset <= c.apex <= c.offset]  # type: ignore[operator]
    assert len(bad) == 4
    for clip in mended.values():
        assert clip.onset <= clip.apex <= clip.offset  # type: ignore[operator]


def test_every_recording_is_a_video(annotations_root: Path) -> None:
    data = open_dataset("casme3", annotations_root)
    videos = data.videos()
    assert {clip.video for clip in data.clips()} == {video.id for video in videos}
    assert "casme3/spNO.14/J" not in {video.id for video in videos}


def test_cut_clips_then_whole_recordings(tmp_path: Path, trees: ModuleType) -> None:
    root = trees.casme3(tmp_path)
    data = open_dataset("casme3", root, complete=False)
    clips = data.clips()
    assert clips[0].source == "Part_A_ME_clip/frame/spNO.1_a_166"
    for clip in clips:
        assert {clip.onset, clip.apex, clip.offset} <= data.frames(clip).keys()
    cut = root / "Part_A_ME_clip" / "frame"
    for letter in "ab":
        color = root / "part_A" / "spNO.1" / letter / "color"
        shutil.copytree(cut / "spNO.1_a_166", color)
    shutil.copytree(cut / "spNO.1_a_166", root / "part_A" / "spNO.1" / "z" / "color")
    shutil.rmtree(root / "Part_A_ME_clip")
    data = open_dataset("casme3", root, complete=False)
    assert [c.source for c in data.clips()[:3]] == [
        "part_A/spNO.1/a/color",
        "part_A/spNO.1/b/color",
        "",
    ]
    silent = [video for video in data.videos() if video.name == "z"]
    assert [video.source for video in silent] == ["part_A/spNO.1/z/color"]


def test_part_c_of_a_tree(tmp_path: Path, trees: ModuleType) -> None:
    data = open_dataset("casme3", trees.casme3(tmp_path), part="C", complete=False)
    assert [clip.id for clip in data.clips()] == ["casme3/C01/1_373", "casme3/C02/1_311"]
    assert data.videos() == []
