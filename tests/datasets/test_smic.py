"""SMIC: the real tables, and miniature trees of cut clips and long recordings."""

from __future__ import annotations

import csv
import time
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from microexpr.datasets import open_dataset
from microexpr.errors import UserError


def test_every_row_of_the_real_table_within_two_seconds(annotations_root: Path) -> None:
    start = time.thread_time()
    clips = open_dataset("smic", annotations_root).clips()
    assert time.thread_time() - start < 2
    assert (len(clips), len({clip.person for clip in clips})) == (164, 16)
    first = clips[0]
    assert (first.id, first.emotion) == ("smic/s01/s01_ne_01", "negative")
    assert (first.onset, first.apex, first.offset, first.fps) == (559740, None, 559775, 100.0)


def test_the_middle_is_the_apex_of_the_circulating_table(annotations_root: Path) -> None:
    with (annotations_root / "smic_hs_164.csv").open(newline="") as file:
        table = [int(row["ApexFrame"]) for row in csv.DictReader(file)]
    clips = open_dataset("smic", annotations_root, apex="middle").clips()
    assert [clip.apex for clip in clips] == table


def test_spotted_apexes_lie_within_their_clips(annotations_root: Path) -> None:
    clips = open_dataset("smic", annotations_root, apex="spotted").clips()
    assert len(clips) == 164
    for clip in clips:
        assert clip.onset <= clip.apex <= clip.offset  # type: ignore[operator]
    assert {c.name: c.apex for c in clips}["s01_ne_02"] == 563884


@pytest.mark.parametrize(
    ("modality", "part", "clips", "videos", "persons"),
    [("HS", "long", 167, 162, 16), ("VIS", "long", 76, 71, 8), ("VIS", "cut", 71, 0, 8)],
)
def test_the_sheets_of_smic_e(
    annotations_root: Path, modality: str, part: str, clips: int, videos: int, persons: int
) -> None:
    data = open_dataset("smic", annotations_root, modality=modality, part=part)
    found = data.clips()
    assert (len(found), len({clip.person for clip in found})) == (clips, persons)
    assert len(data.videos()) == videos
    if part == "long":
        assert {clip.video for clip in found} == {video.id for video in data.videos()}
        second = [clip for clip in found if clip.name.endswith("_2")]
        assert len(second) == 5


def test_the_wrong_class_of_one_clip_raw_and_corrected(annotations_root: Path) -> None:
    def emotion(corrected: bool) -> str:
        data = open_dataset("smic", annotations_root, modality="VIS", corrected=corrected)
        return {clip.name: clip.emotion for clip in data.clips()}["s18_sur_03"]

    assert (emotion(False), emotion(True)) == ("negative", "surprise")


@pytest.mark.parametrize("table", [True, False])
def test_a_tree_with_and_without_the_table(tmp_path: Path, trees: ModuleType, table: bool) -> None:
    data = open_dataset("smic", trees.smic(tmp_path, table=table), complete=False)
    clips = data.clips()
    assert Counter(clip.emotion for clip in clips) == dict.fromkeys(trees.THREE, 3)
    first = clips[0]
    assert first.id == "smic/s01/s01_ne_01"
    assert first.source == "SMIC_all_raw/HS/s1/micro/negative/s1_ne_01"
    assert (first.onset, first.offset) == (35208, 35214)
    for clip in clips:
        assert {clip.onset, clip.offset} <= data.frames(clip).keys()


def test_the_camera_s_folder_as_the_root_or_right_below_it(
    tmp_path: Path, trees: ModuleType
) -> None:
    root = trees.smic(tmp_path, table=False) / "SMIC_all_raw"
    below = open_dataset("smic", root, complete=False).clips()
    itself = open_dataset("smic", root / "HS", complete=False).clips()
    assert below[0].source == "HS/s1/micro/negative/s1_ne_01"
    assert itself[0].source == "s1/micro/negative/s1_ne_01"
    assert [clip.id for clip in below] == [clip.id for clip in itself]


def test_raw_and_cropped_are_not_mixed_up(tmp_path: Path, trees: ModuleType) -> None:
    data = open_dataset("smic", trees.smic(tmp_path), pictures="cropped", complete=False)
    assert {clip.source for clip in data.clips()} == {""}


def test_long_recordings(tmp_path: Path, trees: ModuleType) -> None:
    data = open_dataset("smic", trees.smic_long(tmp_path), part="long", complete=False)
    clips, videos = data.clips(), data.videos()
    assert [clip.name for clip in clips[:3]] == ["s01_ne_01", "s01_ne_01_2", "s01_po_01"]
    assert (clips[1].onset, clips[1].offset) == (35216, 35218)
    assert videos[0].source == "HS_long/SMIC-HS-E/s01/s1_ne_01"
    assert videos[0].frames == len(data.frames(clips[0])) == 14
    assert clips[1].video == videos[0].id


def test_nir_comes_from_folders_alone(tmp_path: Path) -> None:
    clip = tmp_path / "SMIC_all_raw" / "NIR" / "s11" / "micro" / "surprise" / "s11_sur_02"
    clip.mkdir(parents=True)
    for number in (64912, 64920):
        (clip / f"image{number}.bmp").touch()
    found = open_dataset("smic", tmp_path, modality="NIR", complete=False).clips()
    assert [(c.id, c.modality, c.fps) for c in found] == [("smic/s11/s11_sur_02", "nir", 25.0)]
    assert (found[0].onset, found[0].offset) == (64912, 64920)


def test_complaints(tmp_path: Path, annotations_root: Path) -> None:
    with pytest.raises(UserError, match="no label file"):
        open_dataset("smic", tmp_path).clips()
    with pytest.raises(UserError, match="spotted apexes exist for HS only"):
        open_dataset("smic", annotations_root, modality="VIS", apex="spotted").clips()
    bad = tmp_path / "SMIC_all_raw" / "HS" / "s1" / "micro" / "negative" / "clip1"
    bad.mkdir(parents=True)
    with pytest.raises(UserError, match="a name like s1_ne_01"):
        open_dataset("smic", tmp_path).clips()
