"""Any cell of any label file damaged: it reads, or one line says which file."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from microexpr.clip import Clip
from microexpr.datasets import open_dataset
from microexpr.errors import UserError

SETS = ("casme2", "samm", "smic", "dfme", "casme3", "casme_sq", "samm_lv", "mmew", "fourd_me")
MAKERS = [*((name, name) for name in SETS), ("smic_long", "smic")]
CELLS = st.one_of(
    st.none(), st.integers(-5, 10**6), st.floats(0, 99), st.text("aß中 /+.?-0_1", max_size=6)
)


def read(path: Path) -> tuple[str, list[list[Any]]]:
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return "", [list(row) for row in csv.reader(file)]
    sheet = openpyxl.load_workbook(path).worksheets[0]
    return sheet.title, [list(row) for row in sheet.iter_rows(values_only=True)]


def write(path: Path, title: str, rows: list[list[Any]], trees: ModuleType) -> None:
    if path.suffix == ".csv":
        trees.write_lines(path, [["" if cell is None else cell for cell in row] for row in rows])
    else:
        trees.write_sheets(path, {title: rows})


def attempt(call: Callable[[], list[Clip]]) -> list[Clip] | str:
    """What it returns, or the message of its `UserError`."""
    try:
        return call()
    except UserError as error:
        return str(error)


@pytest.mark.parametrize(("maker", "name"), MAKERS)
def test_a_damaged_cell_reads_or_is_refused_in_one_line(
    tmp_path: Path, trees: ModuleType, maker: str, name: str
) -> None:
    root = getattr(trees, maker)(tmp_path)
    path = sorted(p for p in root.iterdir() if p.suffix in {".csv", ".xlsx"})[-1]
    title, rows = read(path)
    start = next(i for i, row in enumerate(rows) if sum(c not in (None, "") for c in row) > 5)
    options: dict[str, Any] = {"part": "long"} if maker == "smic_long" else {}
    if maker in {"casme_sq", "samm_lv"}:
        options["kind"] = "both"
    count = len(open_dataset(name, root, complete=False, **options).clips())

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def damage(data: st.DataObject) -> None:
        row = data.draw(st.integers(start, len(rows) - 1))
        column = data.draw(st.integers(0, len(rows[row]) - 1))
        damaged = [list(line) for line in rows]
        damaged[row][column] = data.draw(CELLS)
        write(path, title, damaged, trees)
        found = attempt(lambda: open_dataset(name, root, complete=False, **options).clips())
        if isinstance(found, str):
            assert "\n" not in found
            assert path.name in found
        else:
            assert len({clip.id for clip in found}) == len(found)
            assert abs(len(found) - count) <= 1  # a second movement of SMIC-E may come or go

    damage()


@pytest.mark.parametrize("name", SETS)
def test_label_files_alone_still_list_every_clip(
    tmp_path: Path, trees: ModuleType, name: str
) -> None:
    full = getattr(trees, name)(tmp_path / "full")
    alone = tmp_path / "alone"
    alone.mkdir()
    for path in full.iterdir():
        if path.is_file():
            (alone / path.name).write_bytes(path.read_bytes())
    with_frames = open_dataset(name, full, complete=False).clips()
    without = open_dataset(name, alone, complete=False)
    assert [clip.id for clip in without.clips()] == [clip.id for clip in with_frames]
    assert {clip.source for clip in without.clips()} == {""}
    assert all(clip.source for clip in with_frames)
    with pytest.raises(UserError, match="to obtain them"):
        without.frames(without.clips()[0])
