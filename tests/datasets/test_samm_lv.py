"""SAMM long videos: the real label file, and a miniature tree."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from microexpr.datasets import open_dataset
from microexpr.errors import UserError


@pytest.mark.parametrize(("kind", "count"), [("micro", 159), ("macro", 343), ("both", 502)])
def test_every_row_of_the_real_file_within_two_seconds(
    annotations_root: Path, kind: str, count: int
) -> None:
    start = time.thread_time()
    data = open_dataset("samm_lv", annotations_root, kind=kind)
    clips = data.clips()
    assert time.thread_time() - start < 2
    assert (len(clips), len({clip.id for clip in clips})) == (count, count)
    assert len(data.videos()) == 147
    assert {clip.video for clip in clips} <= {video.id for video in data.videos()}


def test_emotions_come_from_the_codes_of_samm_where_those_are(
    annotations_root: Path, tmp_path: Path
) -> None:
    both = open_dataset("samm_lv", annotations_root).clips()
    cut = {clip.name: clip.emotion for clip in open_dataset("samm", annotations_root).clips()}
    assert {clip.name: clip.emotion for clip in both} == cut
    shutil.copy(annotations_root / "SAMM_LongVideos_V2_Release.csv", tmp_path)
    alone = open_dataset("samm_lv", tmp_path).clips()
    assert Counter(clip.emotion for clip in alone) == {"unknown": 159}


def test_a_tree(tmp_path: Path, trees: ModuleType) -> None:
    data = open_dataset("samm_lv", trees.samm_lv(tmp_path), kind="both", complete=False)
    clips = data.clips()
    assert [(clip.name, clip.split, clip.apex) for clip in clips] == [
        ("006_1_1", "macro", None),
        ("006_1_2", "micro", 12),
        ("037_4_1", "micro", 4),
        ("037_4_1_macro", "macro", 5),
    ]
    assert clips[0].action_units == ("4(B/C)", "7B")
    assert clips[0].source == "SAMM_longvideos/006_1"
    assert {clips[0].onset, clips[0].offset} <= data.frames(clips[0]).keys()
    assert [video.id for video in data.videos()] == [
        "samm_lv/006/006_1",
        "samm_lv/037/037_4",
        "samm_lv/037/037_5",
    ]


def test_another_type_is_refused(tmp_path: Path, trees: ModuleType) -> None:
    path = trees.samm_lv(tmp_path) / "SAMM_LongVideos_V2_Release.csv"
    path.write_text(path.read_text().replace("Micro - 1/2", "Mini"))
    with pytest.raises(UserError, match="row 12, column 'Type': expected Macro or Micro"):
        open_dataset("samm_lv", tmp_path, complete=False).clips()
