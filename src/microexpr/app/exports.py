"""A corrected analysis as files to take along: table, ELAN, page, report.json."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from microexpr.analysis import Analysis
from microexpr.app.corrections import in_words
from microexpr.app.elan import elan
from microexpr.app.movement import draw_movement
from microexpr.app.outputs import events_csv, to_json
from microexpr.app.page import MOST_SHOWN, page
from microexpr.app.record import Record
from microexpr.files import write_text


@dataclass(frozen=True, slots=True)
class Exports:
    """Where the files are; all are named after the recording."""

    table: Path
    elan: Path
    page: Path
    report: Path


def write_exports(record: Record, folder: Path, settings: dict[str, Any]) -> Exports:
    """Writes the files of an analysis as it stands; what was given by hand is told in each.

    Args:
        record: The analysis.
        folder: Made where it is not there.
        settings: Those in the report.json of the analysis.
    """
    media = record.analysis.video.path
    analysis = _told_by_hand(record)
    shown = zip(analysis.findings[:MOST_SHOWN], record.drawn[:MOST_SHOWN], strict=True)
    drawn = [pictures or draw_movement(analysis, finding) for finding, pictures in shown]
    made = Exports(
        table=folder / f"{media.stem}_events.csv",
        elan=folder / f"{media.stem}.eaf",
        page=folder / f"{media.stem}_report.html",
        report=folder / f"{media.stem}_report.json",
    )
    report = json.dumps(to_json(analysis, settings), indent=1, allow_nan=False)
    write_text(events_csv(analysis), made.table)
    write_text(elan(analysis.findings, media.name, datetime.now().astimezone()), made.elan)
    write_text(page(analysis, drawn), made.page)
    write_text(report + "\n", made.report)
    return made


def _told_by_hand(record: Record) -> Analysis:
    """The analysis with a line on what was done by hand, and without the server's paths."""
    analysis, words = record.analysis, in_words(record)
    warnings = (*analysis.spotting.warnings, words) if words else analysis.spotting.warnings
    return replace(analysis, spotting=replace(analysis.spotting, warnings=warnings))
