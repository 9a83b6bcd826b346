"""The counted table: what the label files say, and what is left of it for the generator."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from microexpr.anatomy import EMOTIONS, EXPRESSIVE
from microexpr.clip import Clip
from microexpr.mixes import (
    COLUMNS,
    TABLE,
    Count,
    count_units,
    counted_mixes,
    known_units,
    read_counts,
    unit_shares,
    write_counts,
)

CLIPS = {"dfme": 2629, "casme3_a": 860, "casme3_c": 165}


@pytest.fixture(scope="module")
def script(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("count_units.py")


def test_the_table_is_what_the_label_files_say(script: ModuleType, shared_data: Path) -> None:
    assert script.counted(shared_data / "annotations") == read_counts()


def test_every_clip_was_counted_and_nothing_else_stands_there() -> None:
    rows = read_counts()
    clips = Counter[str]()
    for row in rows:
        clips[row.source] += row.count
    assert clips == CLIPS
    assert TABLE.read_text(encoding="utf-8").startswith(",".join(COLUMNS) + "\n")


def test_counting(tmp_path: Path) -> None:
    seen = [("anger", ("12", "L4")), ("anger", ("L4", "12")), ("anger", ("4",)), ("fear", ("1",))]
    clips = [Clip("x", "p", str(i), e, action_units=units) for i, (e, units) in enumerate(seen)]
    rows = count_units("x", clips)
    assert rows == [
        Count("x", "anger", ("L4", "12"), 2),
        Count("x", "anger", ("4",), 1),
        Count("x", "fear", ("1",), 1),
    ]
    write_counts(rows, tmp_path / "table.csv")
    assert read_counts(tmp_path / "table.csv") == rows


@pytest.mark.parametrize(
    ("codes", "left"),
    [
        (("4", "7"), ("4", "7")),
        (("AD38", "M58", "38", "45", "13?", "(R6 or R12)"), ()),
        (("L1", "R1", "R2"), ("1", "R2")),
        (("12", "L12"), ("12",)),
        (("T24", "B23"), ("23", "24")),
        (("12", "R4"), ("R4", "12")),
    ],
)
def test_what_anatomy_does_not_know_is_lost(codes: tuple[str, ...], left: tuple[str, ...]) -> None:
    assert known_units(codes) == left


def test_mixes_are_the_counts_of_the_same_emotion() -> None:
    mixes = counted_mixes()
    assert set(mixes) == set(EMOTIONS)
    raised = {mix.units: mix.weight for mix in mixes["surprise"]}
    assert raised["1", "2", "5"] == max(raised.values()) == 201
    contempt = {mix.units: mix.weight for mix in mixes["contempt"]}
    assert (contempt["L12",], contempt["R12",]) == (33, 36)
    rows = read_counts()
    left = sum(bool(known_units(row.units)) * row.count for row in rows)
    others = sum(
        row.count
        for row in rows
        if row.emotion in {"others", "negative"} and known_units(row.units)
    )
    assert sum(mix.weight for found in mixes.values() for mix in found) == left - others


def test_shares() -> None:
    shares = unit_shares()
    assert tuple(shares) == EXPRESSIVE
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=lambda unit: shares[unit]) == "4"


def test_the_script_writes_it(
    script: ModuleType,
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, out = shared_data / "annotations", tmp_path / "mixes.csv"
    words = ["count_units.py", "--annotations", str(folder), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    script.main()
    assert out.read_bytes() == TABLE.read_bytes()
    said = capsys.readouterr().out
    assert "3654 clips" in said
    assert "  12   246    87    89       0.42" in said
