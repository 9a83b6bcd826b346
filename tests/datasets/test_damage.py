"""Any label file damaged: it reads right, or one line names file, row and column."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Table:
    """The label file of a miniature tree, and what reads it."""

    path: Path
    title: str
    rows: list[list[Any]]
    start: int  # index of the header, or of the first row where there is none
    headed: bool
    clips: Callable[[], list[Clip]]

    def attempt(self) -> list[Clip] | str:
        """The clips, or the message of the `UserError`."""
        try:
            return self.clips()
        except UserError as error:
            return str(error)


@pytest.fixture(params=MAKERS, ids=lambda pair: pair[0])
def table(request: pytest.FixtureRequest, tmp_path: Path, trees: ModuleType) -> Table:
    maker, name = request.param
    root = getattr(trees, maker)(tmp_path)
    for part in ("test", "CAS(ME)3"):  # of several label files the last remains
        for path in root.glob(f"{part}*.xlsx"):
            path.unlink()
    options: dict[str, Any] = {"part": "long"} if maker == "smic_long" else {}
    if maker in {"casme_sq", "samm_lv"}:
        options["kind"] = "both"
    if maker == "dfme":
        options["parts"] = ("train",)
    (path,) = (p for p in root.iterdir() if p.suffix in {".csv", ".xlsx"})
    title, rows = read(path)
    start = next(i for i, row in enumerate(rows) if sum(c not in (None, "") for c in row) > 5)

    def clips() -> list[Clip]:
        return open_dataset(name, root, complete=False, **options).clips()

    return Table(path, title, rows, start, maker != "casme_sq", clips)


few = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


def test_a_damaged_cell_reads_or_is_refused_at_its_place(table: Table, trees: ModuleType) -> None:
    count = len(table.clips())

    @few
    @given(data=st.data())
    def damage(data: st.DataObject) -> None:
        row = data.draw(st.integers(table.start, len(table.rows) - 1))
        column = data.draw(st.integers(0, len(table.rows[row]) - 1))
        damaged = [list(line) for line in table.rows]
        damaged[row][column] = data.draw(CELLS)
        write(table.path, table.title, damaged, trees)
        found = table.attempt()
        if isinstance(found, str):
            assert "\n" not in found
            assert table.path.name in found
            assert re.search(r", row \d+.* column '", found)
        else:
            assert len({clip.id for clip in found}) == len(found)
            assert abs(len(found) - count) <= 1  # a second movement of SMIC-E may come or go

    damage()


def test_columns_in_any_order_among_other_columns(table: Table, trees: ModuleType) -> None:
    expected = table.clips()
    if not table.headed:  # its columns have no names: another order is refused
        write(table.path, table.title, [line[::-1] for line in table.rows], trees)
        found = table.attempt()
        assert isinstance(found, str)
        assert ", row 1, column '" in found
        return

    @few
    @given(data=st.data())
    def shuffle(data: st.DataObject) -> None:
        width = max(map(len, table.rows))
        order = data.draw(st.permutations(range(width + 2)))  # two empty columns more
        rows = [[*line, *[None] * (width + 2 - len(line))] for line in table.rows]
        write(table.path, table.title, [[line[i] for i in order] for line in rows], trees)
        assert table.clips() == expected

    shuffle()


def test_a_repeated_row_is_refused_at_its_place(table: Table, trees: ModuleType) -> None:
    @few
    @given(data=st.data())
    def repeat(data: st.DataObject) -> None:
        row = data.draw(st.integers(table.start + table.headed, len(table.rows) - 1))
        write(table.path, table.title, [*table.rows, list(table.rows[row])], trees)
        found = table.attempt()
        assert isinstance(found, str)
        assert f"{table.path.name}" in found
        assert f", row {len(table.rows) + 1}, column '" in found
        assert f"it stands in row {row + 1} already" in found

    repeat()


def test_another_sheet_is_no_label_file(table: Table, trees: ModuleType) -> None:
    write(table.path, "About", [["who", "what"], ["me", "nothing"]], trees)
    found = table.attempt()
    assert isinstance(found, str)
    assert "\n" not in found
    assert table.path.name in found
    if table.path.suffix == ".xlsx":
        assert "'About'" in found or "no sheet" in found


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
