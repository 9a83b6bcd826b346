"""The reader of annotation tables: what it reads, and that every complaint names its place."""

from __future__ import annotations

import datetime
import random
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from microexpr.annotations import (
    Correction,
    Row,
    action_units,
    check_counts,
    choice,
    name,
    read_rows,
    settle,
    whole,
    whole_or_none,
)
from microexpr.clip import Clip
from microexpr.datasets import open_dataset
from microexpr.errors import UserError

HEAD = [
    "Subject",
    "Filename",
    None,
    "OnsetFrame",
    "ApexFrame",
    "OffsetFrame",
    None,
    "Action Units",
    "Estimated Emotion",
]
TABLE: list[list[Any]] = [
    ["01", "EP02_01f", None, 46, 59, 86, None, 12, "happiness"],
    ["01", "EP19_05f", None, 396, 416, 446, None, "4+L10", "disgust"],
    ["02", "EP02_01f", None, 5, "/", 46, None, "?", "others"],
    [3, "EP06_02_01", None, "71", 80.0, 102, None, None, "Repression "],
]
FILE = "CASME2-coding-20140508.xlsx"
NEEDED = (0, 1, 3, 4, 5, 7, 8)  # columns that are read


def write(path: Path, sheets: dict[str, list[list[Any]]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def clips(folder: Path, rows: list[list[Any]], **sheets: list[list[Any]]) -> list[Clip]:
    """What CASME II's adapter makes of a table."""
    write(folder / FILE, {**sheets, "Sheet1": rows})
    return open_dataset("casme2", folder, complete=False).clips()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def message(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_the_table_reads_as_written(folder: Path) -> None:
    read = clips(folder, [HEAD, *TABLE])
    assert [c.id for c in read] == [
        "casme2/sub01/EP02_01f",
        "casme2/sub01/EP19_05f",
        "casme2/sub02/EP02_01f",
        "casme2/sub03/EP06_02_01",
    ]
    assert [(c.onset, c.apex, c.offset) for c in read] == [
        (46, 59, 86),
        (396, 416, 446),
        (5, None, 46),
        (71, 80, 102),
    ]
    assert [c.action_units for c in read] == [("12",), ("4", "L10"), (), ()]
    assert [c.emotion for c in read] == ["happiness", "disgust", "others", "repression"]


fuzz = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@fuzz
@given(order=st.permutations(range(len(HEAD))), preamble=st.integers(0, 15), junk=st.booleans())
def test_shuffled_columns_a_preamble_and_other_sheets_change_nothing(
    folder: Path, order: list[int], preamble: int, junk: bool
) -> None:
    expected = clips(folder, [HEAD, *TABLE])
    rows = [[row[i] for i in order] for row in [HEAD, *TABLE]]
    notes: list[list[Any]] = [[f"note {i}"] if i % 2 else [] for i in range(preamble)]
    other = {"Notes": [["Subject", "said"], ["01", "nothing"]]} if junk else {}
    assert clips(folder, [*notes, *rows, []], **other) == expected


@fuzz
@given(row=st.integers(0, 3), column=st.sampled_from(NEEDED))
def test_a_missing_cell(folder: Path, row: int, column: int) -> None:
    rows = [list(line) for line in TABLE]
    rows[row][column] = None
    if HEAD[column] in {"ApexFrame", "Action Units"}:
        read = clips(folder, [HEAD, *rows])[row]
        assert (read.apex is None) if HEAD[column] == "ApexFrame" else read.action_units == ()
    else:
        text = message(lambda: clips(folder, [HEAD, *rows]))
        assert FILE in text
        assert f"row {row + 2}, column '{HEAD[column]}'" in text


@fuzz
@given(
    row=st.integers(0, 3),
    column=st.sampled_from((0, 3, 4, 5)),
    cell=st.one_of(
        st.text("abcxyz ?-é中²", min_size=1).filter(str.strip).map(lambda t: "x" + t),
        st.floats(0.1, 0.9).map(lambda f: 46 + f),
        st.integers(-99, -2),
        st.just(True),
    ),
)
def test_text_in_a_number_cell(folder: Path, row: int, column: int, cell: Any) -> None:
    rows = [list(line) for line in TABLE]
    rows[row][column] = cell
    text = message(lambda: clips(folder, [HEAD, *rows]))
    assert FILE in text
    assert f"row {row + 2}, column '{HEAD[column]}': expected a whole number" in text


@fuzz
@given(row=st.integers(0, 3), at=st.integers(0, 4))
def test_a_repeated_row_names_both(folder: Path, row: int, at: int) -> None:
    rows = [list(line) for line in TABLE]
    rows.insert(at, list(TABLE[row]))
    first, second = sorted((at, row if row < at else row + 1))
    text = message(lambda: clips(folder, [HEAD, *rows]))
    assert f"row {second + 2}, column 'Filename'" in text
    assert f"row {first + 2} already" in text


@fuzz
@given(column=st.sampled_from(NEEDED))
def test_a_missing_column_is_named(folder: Path, column: int) -> None:
    rows = [[c for i, c in enumerate(row) if i != column] for row in [HEAD, *TABLE]]
    text = message(lambda: clips(folder, rows))
    assert f"{FILE} (sheet 'Sheet1'), row 1: the header lacks the column '{HEAD[column]}'" in text


@fuzz
@given(
    row=st.integers(0, 3),
    column=st.sampled_from(NEEDED),
    cell=st.text(
        st.characters(blacklist_categories=("Cs",), min_codepoint=32, max_codepoint=0x10FFFF)
    ),
)
def test_any_text_anywhere_reads_or_is_refused_at_its_place(
    folder: Path, row: int, column: int, cell: str
) -> None:
    rows = [list(line) for line in TABLE]
    rows[row][column] = cell
    try:
        path = write(folder / FILE, {"Sheet1": [HEAD, *rows]})
    except openpyxl.utils.exceptions.IllegalCharacterError:
        return
    complaint, read = "", []
    try:
        read = open_dataset("casme2", folder, complete=False).clips()
    except UserError as error:
        complaint = str(error)
    if complaint:
        assert "\n" not in complaint
        assert f"{path.name} (sheet 'Sheet1'), row " in complaint
    else:
        assert len({clip.id for clip in read}) == len(read) == len(TABLE)


@fuzz
@given(content=st.binary(max_size=200), suffix=st.sampled_from([".xlsx", ".csv", ".xls"]))
def test_bytes_that_are_no_table(folder: Path, content: bytes, suffix: str) -> None:
    path = folder / f"labels{suffix}"
    path.write_bytes(content)
    assert path.name in message(lambda: read_rows(path, ("Subject", "Filename", "Onset")))


def test_full_width_digits_and_commas_are_digits_and_commas(folder: Path) -> None:
    rows = [["０１", "EP02_01f", None, "４６", 59, 86, None, "4，11", "happiness"]]
    clip = clips(folder, [HEAD, *rows])[0]
    assert (clip.subject, clip.onset, clip.action_units) == ("sub01", 46, ("4", "11"))


@pytest.mark.parametrize("bad", ["../EP02", "a/b", ".hidden", "a\\b", "C:x", "a?"])
def test_a_name_that_leaves_its_folder(folder: Path, bad: str) -> None:
    rows = [[*TABLE[0][:1], bad, *TABLE[0][2:]]]
    text = message(lambda: clips(folder, [HEAD, *rows]))
    assert "row 2, column 'Filename'" in text
    assert "cannot be the name of a clip" in text


def test_frames_out_of_order_name_row_and_column(folder: Path) -> None:
    rows = [list(TABLE[0]), list(TABLE[1])]
    rows[1][4] = 500
    text = message(lambda: clips(folder, [HEAD, *rows]))
    assert "row 3, column 'OffsetFrame'" in text
    assert "ApexFrame at frame 500" in text
    assert "corrected=False" in text
    raw = open_dataset("casme2", folder, complete=False, corrected=False).clips()
    assert raw[1].apex == 500


def test_an_unknown_emotion_gets_the_nearest(folder: Path) -> None:
    rows = [[*TABLE[0][:8], "hapiness"]]
    text = message(lambda: clips(folder, [HEAD, *rows]))
    assert "row 2, column 'Estimated Emotion'" in text
    assert "did you mean 'happiness'" in text


def test_a_column_that_stands_there_twice(folder: Path) -> None:
    rows = [[*HEAD, "Subject"], *([*row, "09"] for row in TABLE)]
    assert "the column 'Subject' stands there twice" in message(lambda: clips(folder, rows))


def test_a_sheet_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", {"HS": [["A", "B"], [1, 2]], "VIS": [["A", "B"], [3, 4]]})
    assert [row.cells["A"] for row in read_rows(path, ("A", "B"), sheet="VIS")] == ["3"]
    text = message(lambda: read_rows(path, ("A", "B"), sheet="VIZ"))
    assert "no sheet 'VIZ': did you mean 'VIS'" in text


def test_no_header_takes_columns_by_place(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('1,"4,24"\n\n2\n', encoding="utf-8")
    rows = read_rows(path, ("person", "units"), headed=False)
    assert [(row.number, row.cells) for row in rows] == [
        (1, {"person": "1", "units": "4,24"}),
        (3, {"person": "2", "units": ""}),
    ]


def test_optional_columns_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("A,B\n1,2\n", encoding="utf-8-sig")
    assert read_rows(path, ("A", "B"), optional=("C",))[0].cells == {"A": "1", "B": "2", "C": ""}


def test_cells_one_by_one() -> None:
    row = Row("a.csv", "", 4, {"x": "Others", "n": "7", "none": "/", "half": "7.5", "e": ""})
    assert choice(row, "x", ("others",)) == "others"
    assert whole(row, "n") == 7
    assert whole_or_none(row, "none", ("/",)) is None
    assert name(row, "x") == "Others"
    assert "a.csv, row 4, column 'half'" in message(lambda: whole(row, "half"))
    assert "the cell is empty" in message(lambda: name(row, "e"))


@pytest.mark.parametrize(
    ("cell", "codes"),
    [
        ("", ()),
        ("?", ()),
        ("NULL", ()),
        ("14,L24,", ("14", "L24")),
        ("4+12+ref(24)", ("4", "12", "ref(24)")),
        ("(1B+2A)or(loses AU4)", ("(1B+2A)or(loses AU4)",)),
        ("R14A or 17A", ("R14A or 17A",)),
    ],
)
def test_action_units(cell: str, codes: tuple[str, ...]) -> None:
    assert action_units(Row("a.csv", "", 2, {"AU": cell}), "AU") == codes


def test_a_correction_touches_only_the_wrong_value() -> None:
    rows = [Row("a.csv", "", n, {}) for n in (2, 3)]
    wrong = Clip("casme2", "sub01", "a", "others", onset=1, apex=9, offset=4)
    mended = Clip("casme2", "sub01", "b", "others", onset=1, apex=2, offset=4)
    corrections = [
        Correction(f"sub01/{clip}", "apex", 9, 3, "typo in the first digit") for clip in "ab"
    ]
    columns = ("Filename", "On", "Apex", "Off")
    first, second = settle(rows, [wrong, mended], corrections, columns)
    assert (first.apex, second.apex) == (3, 2)
    assert settle(rows, [wrong, mended], None, columns) == [wrong, mended]
    assert "a.csv, row 2, column 'Off'" in message(
        lambda: settle(rows, [wrong, mended], [], columns)
    )


def test_counts_show_expected_and_found() -> None:
    check_counts("set", {"a": 2, "b": 0}, {"a": 2})
    text = message(lambda: check_counts("set", {"a": 1}, {"a": 2, "b": 1}))
    assert "expected 3 (a 2, b 1), found 1 (a 1)" in text
    assert "--set complete=false" in text


def test_a_long_cell_is_cut_in_the_complaint(folder: Path) -> None:
    word = "".join(random.Random(0).choices("abc", k=500))
    rows = [[*TABLE[0][:3], word, *TABLE[0][4:]]]
    assert len(message(lambda: clips(folder, [HEAD, *rows]))) < 200


CSV = [["Subject", "Clip", "AU"], ["01", "EP 1", "4,24"], ["02", "ä", "12"]]


@pytest.mark.parametrize("sign", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_as_other_programs_save_it(tmp_path: Path, sign: str, end: str, encoding: str) -> None:
    lines = [sign.join(f'"{c}"' if "," in c and sign == "," else c for c in row) for row in CSV]
    path = tmp_path / "labels.CSV"
    path.write_bytes((end.join(lines) + end).encode(encoding))
    rows = read_rows(path, ("Subject", "Clip", "AU"))
    assert [list(row.cells.values()) for row in rows] == CSV[1:]
    assert [row.number for row in rows] == [2, 3]


def test_text_in_another_alphabet_s_bytes_names_the_row(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes("Subject,Clip\n01,a\n02,ä\n".encode("latin-1"))
    text = message(lambda: read_rows(path, ("Subject", "Clip")))
    assert text == "labels.csv, row 3: no UTF-8 text; save the table as 'CSV UTF-8' or .xlsx"


def rewritten(path: Path, **parts: Callable[[str], str]) -> None:
    """The same workbook with changes to the text of its parts, named by the end of their path."""
    with zipfile.ZipFile(path) as book:
        content = {name: book.read(name).decode() for name in book.namelist()}
    with zipfile.ZipFile(path, "w") as book:
        for name, text in content.items():
            change = parts.get(Path(name).stem, str)
            book.writestr(name, change(text))


def test_a_workbook_saved_by_another_program(folder: Path) -> None:
    """Text in the cells themselves, no dimension, styled empty rows, numbers as decimals."""
    expected = clips(folder, [HEAD, *TABLE])
    shared = openpyxl.load_workbook(folder / FILE)
    words = [str(c.value) for row in shared.active.iter_rows() for c in row if c.data_type == "s"]
    table = list(dict.fromkeys(words))

    def other(text: str) -> str:
        text = re.sub(r"<dimension[^>]*/>", '<dimension ref="A1"/>', text)
        text = re.sub(r"<v>(\d+)</v></c>", r"<v>\1.0</v></c>", text)
        text = re.sub(
            r'<c r="(\w+)" t="s"><v>(\d+)\.0</v></c>',
            lambda m: f'<c r="{m[1]}" t="inlineStr"><is><t>{table[int(m[2])]}</t></is></c>',
            text,
        )
        empty = "".join(f'<row r="{n}"><c r="A{n}"/></row>' for n in range(500, 3000))
        return text.replace("</sheetData>", f"{empty}</sheetData>")

    rewritten(folder / FILE, sheet1=other)
    with zipfile.ZipFile(folder / FILE) as book:
        assert b"inlineStr" in book.read("xl/worksheets/sheet1.xml")
        assert b"46.0" in book.read("xl/worksheets/sheet1.xml")
    assert open_dataset("casme2", folder, complete=False).clips() == expected


def test_a_formula_without_a_value_is_an_empty_cell(folder: Path) -> None:
    rows = [[*TABLE[0][:3], "=A1+46", *TABLE[0][4:]]]
    text = message(lambda: clips(folder, [HEAD, *rows]))
    assert "row 2, column 'OnsetFrame': the cell is empty" in text


def test_action_units_that_became_a_date(folder: Path) -> None:
    rows = [[*TABLE[0][:7], datetime.datetime(2024, 4, 5), "happiness"]]
    text = message(lambda: clips(folder, [HEAD, *rows]))
    assert "row 2, column 'Action Units': '2024-04-05" in text
    assert "is a date" in text


def test_action_units_that_became_decimals() -> None:
    assert action_units(Row("a.csv", "", 2, {"AU": "12.0"}), "AU") == ("12",)
