"""Real label files with a row less, which are refused, and saved again by other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pytest

from microexpr.datasets import open_dataset
from microexpr.errors import UserError

FILES: list[tuple[str, dict[str, Any], str, int]] = [
    ("casme2", {}, "CASME2-coding-20140508.xlsx", 255),
    ("casme2", {"coding": "2019"}, "CASME2-coding-20190701.xlsx", 255),
    ("samm", {}, "SAMM_Micro_FACS_Codes_v2.xlsx", 159),
    ("smic", {}, "smic_hs_164.csv", 164),
    ("smic", {"part": "long"}, "SMIC-HS-E_annotation.xlsx", 167),
    ("dfme", {"parts": ("train",)}, "DFME/training_full_with_AU.xlsx", 1856),
    ("dfme", {"parts": ("testA",)}, "DFME/testA_full_with_AU.xlsx", 474),
    ("dfme", {"parts": ("testB",)}, "DFME/testB_full_with_AU.xlsx", 299),
    ("casme3", {}, "casme3_part_A_ME_label_JpgIndex_v2.xlsx", 860),
    ("casme3", {"part": "C"}, "casme3_part_C_ME.xlsx", 165),
    ("casme_sq", {"kind": "both"}, "casme_sq_code_final_updated.csv", 357),
    ("samm_lv", {}, "SAMM_LongVideos_V2_Release.csv", 502),
]


def without_a_row(source: Path, target: Path) -> None:
    """A copy that lacks the last row that holds anything."""
    if source.suffix == ".csv":
        lines = source.read_text(encoding="utf-8-sig").rstrip().splitlines(keepends=True)
        target.write_text("".join(lines[:-1]), encoding="utf-8")
        return
    book = openpyxl.load_workbook(source, data_only=True)
    sheet = book.worksheets[0]
    rows = [row[0].row for row in sheet.iter_rows() if any(c.value is not None for c in row)]
    sheet.delete_rows(rows[-1])
    book.save(target)


@pytest.mark.parametrize(
    ("name", "settings", "file", "count"), FILES, ids=[Path(entry[2]).stem for entry in FILES]
)
def test_a_row_too_few(
    annotations_root: Path,
    tmp_path: Path,
    name: str,
    settings: dict[str, Any],
    file: str,
    count: int,
) -> None:
    without_a_row(annotations_root / file, tmp_path / Path(file).name)
    with pytest.raises(UserError) as caught:
        open_dataset(name, tmp_path, **settings).clips()
    text = str(caught.value)
    assert f"expected {count} (" in text
    assert f"found {count - 1} (" in text
    assert "\n" not in text
    assert open_dataset(name, tmp_path, complete=False, **settings).clips()


@pytest.mark.parametrize("sign", [",", ";"])
@pytest.mark.parametrize(
    ("name", "settings", "file"),
    [entry[:3] for entry in FILES if entry[2].endswith(".xlsx") and entry[3] < 400],
    ids=[Path(entry[2]).stem for entry in FILES if entry[2].endswith(".xlsx") and entry[3] < 400],
)
def test_a_real_workbook_saved_as_text(
    annotations_root: Path,
    tmp_path: Path,
    name: str,
    settings: dict[str, Any],
    file: str,
    sign: str,
) -> None:
    source = annotations_root / file
    expected = open_dataset(name, source.parent, **settings).clips()
    table = pd.read_excel(source, header=None, dtype=object)
    table.to_csv(tmp_path / f"{source.stem}.csv", sep=sign, header=False, index=False)
    found = open_dataset(name, tmp_path, **settings).clips()
    assert [clip.id for clip in found] == [clip.id for clip in expected]
    assert found == expected
