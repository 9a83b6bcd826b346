"""Annotation tables as their owners wrote them; every complaint names file, row and column.

The tables of this field carry preambles, blank columns, numbers stored as text and text stored as
numbers. So a header is looked for by its names, cells are read as text, and each function below
turns one cell into one value or says where it stands and what was expected there.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pandas as pd

from microexpr.clip import Clip
from microexpr.errors import UserError, suggest

_HEADER_WITHIN = 60  # rows; the longest preamble known (SAMM) ends at row 13


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table, and where it stands.

    Attributes:
        file: Name of the file.
        sheet: Name of the sheet; empty for a text file.
        number: Row number as a spreadsheet program shows it, from 1.
        cells: Text by column name; empty where the cell is empty.
    """

    file: str
    sheet: str
    number: int
    cells: Mapping[str, str] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Correction:
    """A value that the label file has wrong.

    Attributes:
        clip: ``subject/name`` of the clip.
        field: Name of the `Clip` attribute.
        raw: What the file says; a file that says something else is left alone.
        value: What is used instead; None means unknown.
        reason: Why, and who says so.
    """

    clip: str
    field: str
    raw: object
    value: object
    reason: str


def read_rows(
    path: Path,
    columns: Sequence[str],
    optional: Sequence[str] = (),
    sheet: str | None = None,
    headed: bool = True,
) -> list[Row]:
    """The rows of an ``.xlsx`` or ``.csv`` table that hold something in the wanted columns.

    Args:
        path: The file.
        columns: Names that must be there, in any order; capitals, blanks and underscores in a
            header do not count.
        optional: Names that may be missing; their cells are then empty.
        sheet: Name of the sheet; None: the first one with the wanted header. A text file has one
            only, whatever its name.
        headed: False: there is no header, and the columns stand in the given order.

    Raises:
        UserError: The file cannot be read, or lacks the sheet or a column.
    """
    sheets = _sheets(path)
    if sheet is not None and "" not in sheets:
        if sheet not in sheets:
            raise UserError(f"{path.name}: no sheet '{sheet}': {suggest(sheet, sheets)}")
        sheets = {sheet: sheets[sheet]}
    if not headed:
        title, grid = next(iter(sheets.items()))
        where = {name: i for i, name in enumerate((*columns, *optional))}
        return _rows(path.name, title, grid, 0, where)
    title, start, where = _find_header(path.name, sheets, columns, optional)
    return _rows(path.name, title, sheets[title], start + 1, where)


def place(row: Row, column: str) -> str:
    """Where a cell stands, to begin a complaint with.

    >>> place(Row("a.xlsx", "HS", 7, {}), "OnsetF")
    "a.xlsx (sheet 'HS'), row 7, column 'OnsetF'"
    """
    sheet = f" (sheet '{row.sheet}')" if row.sheet else ""
    return f"{row.file}{sheet}, row {row.number}, column '{column}'"


def text(row: Row, column: str) -> str:
    """The cell, which must not be empty.

    Raises:
        UserError: It is.
    """
    if not row.cells[column]:
        raise UserError(f"{place(row, column)}: the cell is empty, expected a value")
    return row.cells[column]


def name(row: Row, column: str) -> str:
    """The cell as the name of a clip: it becomes part of paths and ids.

    Raises:
        UserError: It is empty, starts with a dot, or holds a character that no file name may.
    """
    value = text(row, column)
    if value.startswith(".") or re.search(r'[/\\:*?"<>|\x00-\x1f]', value):
        raise UserError(f"{place(row, column)}: '{_short(value)}' cannot be the name of a clip")
    return value


def whole(row: Row, column: str) -> int:
    """The cell as a whole number, at least 0.

    >>> whole(Row("a.csv", "", 2, {"Onset": "46.0"}), "Onset")
    46

    Raises:
        UserError: It is not one.
    """
    value = text(row, column)
    if not re.fullmatch(r"[0-9]{1,18}(\.0+)?", value):
        raise UserError(f"{place(row, column)}: expected a whole number, got '{_short(value)}'")
    return int(value.split(".")[0])


def whole_or_none(row: Row, column: str, missing: Iterable[str] = ("",)) -> int | None:
    """Like `whole`, or None where the cell is one of `missing`.

    Raises:
        UserError: The cell is neither.
    """
    return None if row.cells[column] in missing else whole(row, column)


def choice(row: Row, column: str, known: Iterable[str]) -> str:
    """The cell in lower case, which must be one of `known`.

    Raises:
        UserError: It is not; the message names the nearest.
    """
    value, names = text(row, column).lower(), list(known)
    if value not in names:
        raise UserError(f"{place(row, column)}: unknown '{_short(value)}': {suggest(value, names)}")
    return value


def action_units(row: Row, column: str) -> tuple[str, ...]:
    """The cell as FACS codes, spelled as annotated; empty where nothing or only '?' is said.

    Codes are parted by ``+`` or a comma; what stands in brackets stays together.

    >>> action_units(Row("a.csv", "", 2, {"AU": "4+L10,24,"}), "AU")
    ('4', 'L10', '24')
    >>> action_units(Row("a.csv", "", 2, {"AU": "(R6 or R12)+R15"}), "AU")
    ('(R6 or R12)', 'R15')

    Raises:
        UserError: The cell is a date: a spreadsheet program took a code for one.
    """
    codes, depth = [""], 0
    for letter in row.cells[column]:
        depth += (letter == "(") - (letter == ")")
        if letter in "+," and depth <= 0:
            codes.append("")
        else:
            codes[-1] += letter
    codes = [re.sub(r"\.0+$", "", code.strip()) for code in codes]
    if any(re.match(r"\d{4}-\d\d-\d\d", code) for code in codes):
        raise UserError(
            f"{place(row, column)}: '{_short(codes[0])}' is a date, not action units; take the "
            "owners' file: a spreadsheet program changed this one"
        )
    return tuple(code for code in codes if code.lower() not in {"", "?", "/", "-", "null", "none"})


def settle(
    rows: Sequence[Row],
    clips: Sequence[Clip],
    corrections: Sequence[Correction] | None,
    columns: Sequence[str],
) -> list[Clip]:
    """Applies the corrections, then refuses repeated clips and frames out of order.

    Args:
        rows: Where each clip was read.
        clips: The clips, in the same order.
        corrections: None: the values stay as the file has them, and frames may be out of order.
        columns: What the table calls the clip's name, its onset, apex and offset.

    Raises:
        UserError: Two rows give the same clip; or onset, apex and offset do not follow one
            another after the corrections.
    """
    first: dict[str, Row] = {}
    for row, clip in zip(rows, clips, strict=True):
        if clip.id in first:
            raise UserError(
                f"{place(row, columns[0])}: {clip.id} again, it stands in row "
                f"{first[clip.id].number} already; remove one of the two"
            )
        first[clip.id] = row
    if corrections is None:
        return list(clips)
    by_clip: dict[str, list[Correction]] = {}
    for correction in corrections:
        by_clip.setdefault(correction.clip, []).append(correction)
    settled = [_correct(clip, by_clip.get(f"{clip.subject}/{clip.name}", ())) for clip in clips]
    instead = ", or take it as it is with corrected=False" if corrections else ""
    for row, clip in zip(rows, settled, strict=True):
        _check_order(row, clip, columns[1:4], f"mend the file{instead}")
    return settled


def check_counts(what: str, found: Mapping[str, int], expected: Mapping[str, int]) -> None:
    """Refuses a label file that holds more or less than the published one.

    Raises:
        UserError: The counts differ; the message shows both.
    """
    if {k: v for k, v in found.items() if v} != dict(expected):
        raise UserError(
            f"{what}: expected {_counted(expected)}, found {_counted(found)}; for a part of the "
            "set give complete=False (on the command line --set complete=false)"
        )


def _correct(clip: Clip, corrections: Sequence[Correction]) -> Clip:
    changes = {c.field: c.value for c in corrections if getattr(clip, c.field) == c.raw}
    return replace(clip, **changes) if changes else clip  # type: ignore[arg-type]


def _check_order(row: Row, clip: Clip, columns: Sequence[str], mend: str) -> None:
    frames = zip(columns, (clip.onset, clip.apex, clip.offset), strict=True)
    known = [(column, frame) for column, frame in frames if frame is not None]
    for (before, early), (after, late) in pairwise(known):
        if early > late:
            raise UserError(
                f"{place(row, after)}: {clip.id} reaches {before} at frame {early}, after {after} "
                f"at {late}; {mend}"
            )


def _counted(counts: Mapping[str, int]) -> str:
    each = ", ".join(f"{name} {n}" for name, n in sorted(counts.items()) if n)
    return f"{sum(counts.values())} ({each})" if each else "none"


def _short(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:37]}..."


def _clean(value: object) -> str:
    """Text of a cell: compatibility forms unified (full-width digits, commas), blanks collapsed."""
    return " ".join(unicodedata.normalize("NFKC", "" if value is None else str(value)).split())


def _key(header: str) -> str:
    return re.sub(r"[\s_]+", "", header).lower()


def _sheets(path: Path) -> dict[str, list[list[str]]]:
    """Sheets by name, each a list of rows of cleaned text; a text file is one sheet ``""``."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".csv":
            return {"": _lines(path.read_bytes())}
        if suffix == ".xlsx":
            book = pd.read_excel(
                path,
                sheet_name=None,
                header=None,
                dtype=str,
                keep_default_na=False,
                na_filter=False,
                engine="openpyxl",
            )
            return {
                str(title): [[_clean(cell) for cell in line] for line in table.to_numpy()]
                for title, table in book.items()
            }
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path.name}, row {line}: no UTF-8 text; save the table as 'CSV UTF-8' or .xlsx"
        ) from error
    except Exception as error:  # a foreign file breaks its parser in more ways than can be listed
        raise UserError(
            f"{path.name}: cannot be read as a table ({_clean(error)[:200]})"
        ) from error
    raise UserError(f"{path.name}: expected an .xlsx or .csv file; save it as one of these")


def _lines(raw: bytes) -> list[list[str]]:
    """Rows of a text file, parted by commas, semicolons or tabs, whichever gives most cells.

    Spreadsheet programs write semicolons where the comma is the decimal sign, and UTF-16.
    """
    marked = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    words = raw.decode("utf-16" if marked else "utf-8-sig")
    grids = [list(csv.reader(io.StringIO(words, newline=""), delimiter=sign)) for sign in ",;\t"]
    grid = max(grids, key=lambda grid: sum(map(len, grid)))
    return [[_clean(cell) for cell in line] for line in grid]


def _find_header(
    file: str,
    sheets: Mapping[str, list[list[str]]],
    columns: Sequence[str],
    optional: Sequence[str],
) -> tuple[str, int, dict[str, int]]:
    """Sheet, index of the header row, and the position of each column."""
    wanted = {_key(column) for column in columns}
    best: tuple[int, str, int] = (0, next(iter(sheets), ""), 0)
    for title, grid in sheets.items():
        for index, line in enumerate(grid[:_HEADER_WITHIN]):
            hits = len(wanted & {_key(cell) for cell in line})
            if hits > best[0]:
                best = (hits, title, index)
    hits, title, index = best
    where = f"{file}" + (f" (sheet '{title}')" if title else "")
    if hits < max(1, len(wanted) // 2):
        names = ", ".join(columns)
        raise UserError(f"{where}: no header row with the columns {names} within the first rows")
    keys = [_key(cell) for cell in sheets[title][index]]
    for column in columns:
        if _key(column) not in keys:
            raise UserError(f"{where}, row {index + 1}: the header lacks the column '{column}'")
    for column in (*columns, *optional):
        if keys.count(_key(column)) > 1:
            raise UserError(f"{where}, row {index + 1}: the column '{column}' stands there twice")
    present = [c for c in (*columns, *optional) if _key(c) in keys]
    return (
        title,
        index,
        {column: keys.index(_key(column)) for column in present}
        | {column: -1 for column in optional if column not in present},
    )


def _rows(
    file: str, title: str, grid: list[list[str]], start: int, where: Mapping[str, int]
) -> list[Row]:
    rows = []
    for index, line in enumerate(grid[start:], start):
        cells = {c: line[i] if 0 <= i < len(line) else "" for c, i in where.items()}
        if any(cells.values()):
            rows.append(Row(file, title, index + 1, cells))
    return rows
