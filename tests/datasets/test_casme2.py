"""CASME II: the real coding sheets, and a miniature tree."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from types import ModuleType

import pytest

from microexpr.clip import Clip
from microexpr.datasets import open_dataset
from microexpr.datasets.casme2 import CORRECTIONS
from microexpr.errors import UserError
from microexpr.inputs import Input


def by_name(clips: list[Clip]) -> dict[str, Clip]:
    return {f"{clip.subject}/{clip.name}": clip for clip in clips}


def test_every_row_of_the_real_sheet_within_two_seconds(annotations_root: Path) -> None:
    start = time.thread_time()
    clips = open_dataset("casme2", annotations_root).clips()
    assert time.thread_time() - start < 2
    assert (len(clips), len({clip.person for clip in clips})) == (255, 26)
    assert clips[0] == Clip(
        "casme2",
        "sub01",
        "EP02_01f",
        "happiness",
        onset=46,
        apex=59,
        offset=86,
        fps=200.0,
        action_units=("12",),
    )


def test_the_coding_of_2019_changes_three_emotions_and_57_cells_of_units(
    annotations_root: Path,
) -> None:
    old = by_name(open_dataset("casme2", annotations_root, coding="2014").clips())
    new = by_name(open_dataset("casme2", annotations_root, coding="2019").clips())
    assert old.keys() == new.keys()
    moved = {name for name in old if old[name].emotion != new[name].emotion}
    assert moved == {"sub24/EP07_01", "sub24/EP07_04f", "sub24/EP10_03"}
    assert {new[name].emotion for name in moved} == {"surprise"}
    assert sum(old[name].action_units != new[name].action_units for name in old) == 57


def test_raw_and_corrected_values(annotations_root: Path) -> None:
    raw = by_name(open_dataset("casme2", annotations_root, corrected=False).clips())
    mended = by_name(open_dataset("casme2", annotations_root).clips())
    changed = {name for name in raw if raw[name] != mended[name]}
    assert changed == {correction.clip for correction in CORRECTIONS}
    for correction in CORRECTIONS:
        assert getattr(raw[correction.clip], correction.field) == correction.raw
        assert getattr(mended[correction.clip], correction.field) == correction.value
        assert correction.reason
    for clip in mended.values():
        assert clip.onset < clip.apex <= clip.offset  # type: ignore[operator]


def test_frames_of_a_tree(tmp_path: Path, trees: ModuleType) -> None:
    data = open_dataset("casme2", trees.casme2(tmp_path), complete=False)
    clips = data.clips()
    assert len(clips) == 12
    assert clips[0].source == "CASME2_RAW_selected/sub01/EP01_01f"
    for clip in clips:
        frames = data.frames(clip)
        assert list(frames) == list(range(46, 53))
        assert {clip.onset, clip.apex, clip.offset} <= frames.keys()
    assert data.videos() == []
    with pytest.raises(UserError, match=r"run `microexpr prepare casme2 .* --out STORE` first"):
        data.read(clips[0], Input())


def test_a_clip_missing_on_disk_is_listed_and_says_so(tmp_path: Path, trees: ModuleType) -> None:
    root = trees.casme2(tmp_path)
    shutil.rmtree(root / "CASME2_RAW_selected" / "sub02" / "EP01_01f")
    data = open_dataset("casme2", root, complete=False)
    gone = [clip for clip in data.clips() if not clip.source]
    assert [clip.id for clip in gone] == ["casme2/sub02/EP01_01f"]
    with pytest.raises(UserError, match=r"casme2/sub02/EP01_01f are not under .*licence"):
        data.frames(gone[0])


def test_cropped_frames_and_videos(tmp_path: Path, trees: ModuleType) -> None:
    root = trees.casme2(tmp_path)
    (root / "Cropped" / "sub01").mkdir(parents=True)
    clip = root / "Cropped" / "sub01" / "EP01_01f"
    clip.mkdir()
    (clip / "reg_img46.jpg").touch()
    (root / "Cropped" / "sub01" / "EP02_02f.avi").touch()
    data = open_dataset("casme2", root, pictures="cropped", complete=False)
    first, second, *others = data.clips()
    assert first.source == "Cropped/sub01/EP01_01f"
    assert list(data.frames(first)) == [46]
    assert second.source == "Cropped/sub01/EP02_02f.avi"
    with pytest.raises(UserError, match="video file"):
        data.frames(second)
    assert not any(clip.source for clip in others)


def test_a_part_of_the_set_is_refused_unless_asked_for(tmp_path: Path, trees: ModuleType) -> None:
    root = trees.casme2(tmp_path)
    with pytest.raises(UserError, match=r"expected 255 \(disgust 63, .*found 12 \(disgust 3"):
        open_dataset("casme2", root).clips()


def test_wrong_settings_and_absent_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"coding cannot be '2015': did you mean '201"):
        open_dataset("casme2", tmp_path, coding="2015")
    with pytest.raises(UserError, match=r"no label file under .*casme2-coding-2019"):
        open_dataset("casme2", tmp_path, coding="2019").clips()
