"""Archives of films: clips with their truth, and one line for a damaged index."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from microexpr.datasets import open_dataset
from microexpr.datasets.films import COLUMNS
from microexpr.errors import UserError
from microexpr.labels import label_scheme

ROW = ["0000_fear", "s0p0000", "fear", "1+L4", 4, 9, 15, 60]


def archive(root: Path, trees: ModuleType, *rows: list[object]) -> Path:
    trees.write_lines(root / "index.csv", [[*COLUMNS, "peak"], *([*row, 1.5] for row in rows)])
    return root


def test_clips(tmp_path: Path, trees: ModuleType) -> None:
    root = archive(
        tmp_path, trees, ROW, ["0001_happiness", "s0p0000", "happiness", 12, 1, 2, 3, 30]
    )
    film = root / "s0p0000" / "0000_fear.mp4"
    film.parent.mkdir()
    film.write_bytes(b"film")
    first, second = open_dataset("films", root).clips()
    assert (first.id, first.source) == ("films/s0p0000/0000_fear", "s0p0000/0000_fear.mp4")
    assert (first.onset, first.apex, first.offset, first.fps) == (4, 9, 15, 60.0)
    assert first.action_units == ("1", "L4")
    assert second.source == ""
    assert label_scheme("megc3")(first) == "negative"
    with pytest.raises(UserError, match="is a video file"):
        open_dataset("films", root).frames(first)


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("fps", "fast", r"row 2, column 'fps': expected frames per second, got 'fast'"),
        ("fps", "-3", r"expected frames per second"),
        ("emotion", "fea", r"did you mean 'fear'"),
        ("apex", "20", r"reaches apex at frame 20, after offset at 15"),
        ("person", "../x", r"cannot be the name"),
    ],
)
def test_a_damaged_index_is_one_line(
    tmp_path: Path, trees: ModuleType, column: str, value: str, says: str
) -> None:
    row: list[object] = list(ROW)
    row[COLUMNS.index(column)] = value
    with pytest.raises(UserError, match=says):
        open_dataset("films", archive(tmp_path, trees, row)).clips()


def test_an_archive_that_was_never_finished_says_how(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="to obtain it: microexpr film"):
        open_dataset("films", tmp_path).clips()
