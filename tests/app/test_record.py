"""An analysis written down is the same when it is read again."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microexpr.analysis import Analysis, KeyFrames, analyze
from microexpr.app.record import RECORD, Record, read_record, write_movements, write_record
from microexpr.film import Script, Truth, drawn_portrait, film, write_script


@pytest.fixture(scope="module")
def shot(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    path = tmp_path_factory.mktemp("film") / "smile.mp4"
    script: Script = write_script(
        5, fps=50, seconds=1.2, events=1, peak=(1.8, 2.0), emotions=("happiness",), drift=1.0
    )
    return path, film(drawn_portrait(), script, path)


@pytest.fixture(scope="module")
def analysis(shot: tuple[Path, Truth]) -> Analysis:
    true = shot[1].events[0]
    return analyze(shot[0], key_frames=KeyFrames(true.onset, true.apex, true.offset))


def same(a: Any, b: Any) -> bool:
    """Equal in value and type, arrays and NaN too."""
    if type(a) is not type(b):
        return False
    if is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return bool(a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
    return bool(a == b or (a != a and b != b))


def test_all_of_it_comes_back(analysis: Analysis, tmp_path: Path) -> None:
    write_record(Record(analysis, ("<p>é</p>",)), tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(RECORD)
    again = read_record(tmp_path, analysis.video.path)
    assert same(again.analysis, analysis)
    assert again.drawn == ("<p>é</p>",)
    moved = read_record(tmp_path, Path("elsewhere.mp4")).analysis
    assert not same(moved, analysis)
    assert moved.video.path.name == "elsewhere.mp4"


def test_a_correction_changes_the_movements_alone(analysis: Analysis, tmp_path: Path) -> None:
    write_record(Record(analysis, ("",)), tmp_path)
    before = (tmp_path / "arrays.npz").read_bytes()
    by_hand = replace(analysis.findings[0], by_hand=("emotion",), reading=None)
    changed = replace(analysis, findings=(by_hand, *analysis.findings))
    write_movements(Record(changed, ("a", "b"), 2), tmp_path)
    again = read_record(tmp_path, analysis.video.path)
    assert same(again.analysis.findings, changed.findings)
    assert again.drawn == ("a", "b")
    assert again.removed == 2
    assert (tmp_path / "arrays.npz").read_bytes() == before
