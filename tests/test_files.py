from __future__ import annotations

from pathlib import Path

import pytest

from microexpr.files import replacing, write_text


def _fail_half_way(target: Path) -> None:
    with replacing(target) as temporary:
        temporary.write_text("half of the n")
        assert target.read_text() == "old"
        raise RuntimeError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    write_text("old", target)
    with pytest.raises(RuntimeError):
        _fail_half_way(target)
    assert target.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]


def test_text_is_utf8_with_plain_newlines(tmp_path: Path) -> None:
    write_text("−1\n2\n", tmp_path / "new" / "text.md")
    assert (tmp_path / "new" / "text.md").read_bytes() == b"\xe2\x88\x921\n2\n"
