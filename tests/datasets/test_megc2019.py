"""The composite of MEGC2019: the real label files side by side, and miniature trees."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from microexpr.datasets import open_dataset
from microexpr.errors import UserError
from microexpr.labels import label_scheme


def test_the_442_clips_of_the_flow_images(annotations_root: Path, flow442_root: Path) -> None:
    scheme = label_scheme("megc3")
    ours = open_dataset("megc2019", annotations_root).clips()
    flow = open_dataset("flow442", flow442_root).clips()
    assert [(c.id, scheme(c)) for c in ours] == [(c.id, scheme(c)) for c in flow]


def test_three_trees_below_one_root(tmp_path: Path, trees: ModuleType) -> None:
    data = open_dataset("megc2019", trees.megc2019(tmp_path), apex="middle", complete=False)
    clips = data.clips()
    assert Counter(clip.dataset for clip in clips) == {"casme2": 9, "smic": 9, "samm": 9}
    for clip in clips:
        assert {clip.onset, clip.apex, clip.offset} <= data.frames(clip).keys()


def test_a_clip_too_few_is_an_error(tmp_path: Path, annotations_root: Path) -> None:
    root = tmp_path / "labels"
    root.mkdir()
    for name in ("CASME2-coding-20140508.xlsx", "SAMM_Micro_FACS_Codes_v2.xlsx"):
        shutil.copy(annotations_root / name, root)
    lines = (annotations_root / "smic_hs_164.csv").read_text().splitlines(keepends=True)
    (root / "smic_hs_164.csv").write_text("".join(lines[:-1]))
    with pytest.raises(UserError, match=r"SMIC HS .*expected 164 .*found 163"):
        open_dataset("megc2019", root).clips()
    assert len(open_dataset("megc2019", root, complete=False).clips()) == 441
