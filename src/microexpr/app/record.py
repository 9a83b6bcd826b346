"""An analysis written down, so that the page goes on with it after its process is done.

Three files: ``arrays.npz`` (face points, activity, clock), ``recording.json`` (all else that stays
as it is) and ``movements.json`` (what a person may correct, with its pictures). Nothing is pickled.
"""

from __future__ import annotations

import io
import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from microexpr.analysis import Analysis, Finding, RegionMotion
from microexpr.analysis.reading import Reading
from microexpr.files import replacing, write_text
from microexpr.preprocess.spot import Event, Spotting
from microexpr.preprocess.track import Track
from microexpr.preprocess.units import Suggestion
from microexpr.training.default import ModelCard
from microexpr.video import VideoInfo

ARRAYS, RECORDING, MOVEMENTS = "arrays.npz", "recording.json", "movements.json"
RECORD = (ARRAYS, RECORDING, MOVEMENTS)
_TRACK = tuple(field.name for field in fields(Track) if field.name != "faces")


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """An analysis, and the pictures of its movements.

    Attributes:
        analysis: From `microexpr.analysis.analyze`, perhaps corrected since.
        drawn: HTML of the pictures of each movement, in their order; empty where not drawn yet.
        removed: How many of those that were found a person removed.
    """

    analysis: Analysis
    drawn: tuple[str, ...]
    removed: int = 0


def write_record(record: Record, folder: Path) -> None:
    """Writes all three files into a folder that is there."""
    analysis = record.analysis
    video, spotting = analysis.video, analysis.spotting
    told = {
        "video": {
            field.name: getattr(video, field.name)
            for field in fields(video)
            if field.name not in ("path", "times", "numbers")
        },
        "faces": analysis.track.faces,
        "blinks": spotting.blinks,
        "lost": spotting.lost,
        "warnings": spotting.warnings,
        "card": asdict(analysis.card),
        "labels": analysis.labels,
        "confidence": analysis.confidence,
        "given": analysis.given,
    }
    arrays = {f"track_{name}": getattr(analysis.track, name) for name in _TRACK}
    arrays |= {"times": video.times, "numbers": video.numbers, "activity": spotting.activity}
    held = io.BytesIO()
    np.savez(held, allow_pickle=False, **arrays)
    with replacing(folder / ARRAYS) as temporary:
        temporary.write_bytes(held.getbuffer())
    write_text(json.dumps(told, allow_nan=False), folder / RECORDING)
    write_movements(record, folder)


def write_movements(record: Record, folder: Path) -> None:
    """Writes the movements anew, after one was corrected."""
    rows = [
        {**_plain(finding), "drawn": drawn}
        for finding, drawn in zip(record.analysis.findings, record.drawn, strict=True)
    ]
    told = {"removed": record.removed, "movements": rows}
    write_text(json.dumps(told, allow_nan=False), folder / MOVEMENTS)


def read_record(folder: Path, video: Path) -> Record:
    """Reads what `write_record` wrote.

    Args:
        folder: With the three files.
        video: Where the recording is now.
    """
    told = json.loads((folder / RECORDING).read_text(encoding="utf-8"), object_hook=_tuples)
    held = json.loads((folder / MOVEMENTS).read_text(encoding="utf-8"), object_hook=_tuples)
    rows = held["movements"]
    findings = tuple(_finding(row) for row in rows)
    with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
        track = Track(**{n: arrays[f"track_{n}"] for n in _TRACK}, faces=told["faces"])
        clock = {"times": arrays["times"], "numbers": arrays["numbers"]}
        activity = arrays["activity"]
    spotting = Spotting(
        events=tuple(finding.event for finding in findings),
        activity=activity,
        blinks=told["blinks"],
        lost=told["lost"],
        warnings=told["warnings"],
    )
    analysis = Analysis(
        video=VideoInfo(path=video, **told["video"], **clock),
        track=track,
        spotting=spotting,
        findings=findings,
        card=ModelCard(**told["card"]),
        labels=told["labels"],
        confidence=told["confidence"],
        given=told["given"],
    )
    return Record(analysis, tuple(row["drawn"] for row in rows), held["removed"])


def _plain(finding: Finding) -> dict[str, Any]:
    """A movement as JSON values; float32 survives the way through text."""
    told = asdict(finding)
    event = told["event"]
    event["shift"] = event["shift"].tolist()
    event["score"] = None if math.isnan(event["score"]) else event["score"]
    return told


def _finding(row: dict[str, Any]) -> Finding:
    event, reading = row["event"], row["reading"]
    score = math.nan if event["score"] is None else event["score"]
    return Finding(
        event=Event(**{**event, "score": score, "shift": np.array(event["shift"], np.float32)}),
        reading=None if reading is None else Reading(**reading),
        quality=row["quality"],
        problems=row["problems"],
        regions=tuple(RegionMotion(**region) for region in row["regions"]),
        units=tuple(Suggestion(**unit) for unit in row["units"]),
        by_hand=row["by_hand"],
    )


def _tuples(row: dict[str, Any]) -> dict[str, Any]:
    """JSON knows lists only; the values of an analysis are frozen."""
    return {key: _frozen(value) for key, value in row.items()}


def _frozen(value: Any) -> Any:
    return tuple(_frozen(part) for part in value) if isinstance(value, list) else value
