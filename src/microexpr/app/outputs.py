"""The files of an analysis: events.csv, report.json, report.html, annotated.mp4.

They are made in a folder with a temporary name and moved out of it when all are there, report.json
last: a folder that holds report.json is finished. A run that was killed leaves at most the
temporary folder, which the next one clears away.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import microexpr
from microexpr.analysis import Analysis, Finding, KeyFrames, Watch, analyze
from microexpr.app.annotate import annotate
from microexpr.app.page import draw_movements, page, summary
from microexpr.app.record import RECORD, Record, write_record
from microexpr.cluster import Cluster, spread
from microexpr.errors import UserError
from microexpr.files import write_text
from microexpr.jobs import check_jobs
from microexpr.preprocess.spot import THRESHOLD
from microexpr.video import PICTURES

SCHEMA = "microexpr-report-1"
UNFINISHED = ".unfinished"
FILES = ("events.csv", "report.html", "annotated.mp4", "report.json")  # moved in this order
VIDEOS = frozenset(
    {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".gif"}
    | {".mts", ".m2ts", ".ts", ".3gp", ".ogv"}
)


@dataclass(frozen=True, slots=True)
class Settings:
    """How to analyse; see `microexpr.analysis.analyze`."""

    model: Path | None = None
    face: int = 0
    key_frames: KeyFrames | None = None
    confidence: float | None = None
    fps: float | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One recording, and the folder for its results."""

    video: Path
    out: Path
    settings: Settings


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job: the report, or what went wrong in one line."""

    job: Job
    report: dict[str, Any] | None
    error: str = ""
    skipped: bool = False


def find_videos(paths: Sequence[Path]) -> list[Path]:
    """The recordings that are meant: files as they are, a folder's videos, or a folder of frames.

    Raises:
        UserError: A folder without videos and without pictures, or one that cannot be read.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        try:
            inside = sorted(file for file in path.iterdir() if not file.name.startswith("."))
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        videos = [file for file in inside if file.suffix.lower() in VIDEOS]
        if not videos and not any(file.suffix.lower() in PICTURES for file in inside):
            raise UserError(f"{path} holds neither videos nor pictures")
        found += videos or [path]
    return found


def folders(videos: Sequence[Path], out: Path) -> list[Path]:
    """A folder in `out` for each of several videos, named after it.

    >>> [str(f) for f in folders([Path("a.mp4"), Path("b/c.mp4"), Path("c.avi")], Path("out"))]
    ['out/a', 'out/c.mp4', 'out/c.avi']

    Raises:
        UserError: Two of them have the same name.
    """
    stems = [video.stem for video in videos]
    names = [v.stem if stems.count(v.stem) == 1 else v.name for v in videos]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise UserError(f"two videos are named {double[0]}; analyse them into different folders")
    return [out / name for name in names]


def analyze_all(
    paths: Sequence[Path],
    out: Path,
    settings: Settings,
    jobs: int | None = None,
    watch: Watch = lambda what, done, of: None,
    on: Cluster | None = None,
) -> list[Outcome]:
    """Analyses recordings, several at a time; those already done are left as they are.

    Args:
        paths: Files, folders of videos, folders of frames.
        out: Folder of the results; of several recordings, a folder for each in it.
        settings: For all of them.
        jobs: Processes; None: one a core.
        watch: Called with (what, done, of).
        on: A cluster whose machines do the work in place of processes here.

    Returns:
        In the order of the recordings.

    Raises:
        UserError: Nothing to analyse, or key frames for more than one recording.
    """
    videos = find_videos(paths)
    workers = check_jobs(jobs)
    if len(videos) == 1 and not paths[0].is_dir():
        return [do_job(Job(videos[0], out, settings), watch)]
    if len(videos) > 1 and settings.key_frames:
        raise UserError(f"key frames are those of one video, but there are {len(videos)}")
    tasks = [Job(v, f, settings) for v, f in zip(videos, folders(videos, out), strict=True)]
    done: dict[Path, Outcome] = {}
    watch("videos", 0, len(tasks))
    read = sorted({video.absolute().parent for video in videos})
    read += [settings.model] if settings.model else []
    for job, outcome in spread(do_job, tasks, workers, on, (out, *read)):
        done[job.out] = outcome
        watch("videos", len(done), len(tasks))
    return [done[job.out] for job in tasks]


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 if all went well, also without a face; 2 if a recording could not be analysed."""
    return 2 if any(outcome.error for outcome in outcomes) else 0


def do_job(job: Job, watch: Watch = lambda what, done, of: None) -> Outcome:
    """Analyses one recording and writes its files; a finished folder is left as it is.

    What is wrong with a recording becomes the outcome's error, so that others go on.
    """
    settings = job.settings
    try:
        finished = _finished(job)
        if finished is not None:
            return Outcome(job, finished, skipped=True)
        analysis = analyze(
            job.video,
            model=settings.model,
            face=settings.face,
            key_frames=settings.key_frames,
            confidence=settings.confidence,
            fps=settings.fps,
            watch=watch,
        )
        return Outcome(job, write_analysis(analysis, job.out, told(job)))
    except UserError as error:
        return Outcome(job, None, str(error))
    except OSError as error:
        return Outcome(job, None, f"cannot write to {job.out}: {error.strerror or error}")


def write_analysis(
    analysis: Analysis, out: Path, settings: dict[str, Any], keep: bool = False
) -> dict[str, Any]:
    """Writes the four files, all or none, and gives what report.json holds.

    Args:
        analysis: From `analyze`.
        out: Their folder; made where it is not there.
        settings: Told in report.json: by them a later run knows that this one was the same.
        keep: Also write its record, see `microexpr.app.record`: with it a person may correct it.

    Raises:
        OSError: The folder cannot be written, or the disk is full; nothing half-written remains.
    """
    new = not out.exists()
    unfinished = out / UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        report, drawn = to_json(analysis, settings), draw_movements(analysis)
        write_text(events_csv(analysis), unfinished / "events.csv")
        write_text(page(analysis, drawn), unfinished / "report.html")
        annotate(analysis, unfinished / "annotated.mp4")
        if keep:
            blank = ("",) * (len(analysis.findings) - len(drawn))
            write_record(Record(analysis, (*drawn, *blank)), unfinished)
        write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", unfinished / "report.json")
        for name in (*(RECORD if keep else ()), *FILES):
            (unfinished / name).replace(out / name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if new and not any(out.iterdir()):
            out.rmdir()
    return report


def to_json(analysis: Analysis, settings: dict[str, Any]) -> dict[str, Any]:
    """The content of report.json; docs/video.md tells what the keys mean."""
    video, spotting = analysis.video, analysis.spotting
    return {
        "schema": SCHEMA,
        "microexpr": microexpr.__version__,
        "settings": settings,
        "summary": summary(analysis),
        "video": {
            "path": str(video.path),
            "width": video.width,
            "height": video.height,
            "fps": video.fps,
            "variable_fps": video.variable,
            "frames": video.frames,
            "first_frame": video.first,
            "duration": video.duration,
            "codec": video.codec,
        },
        "face": {
            "seen": analysis.face_seen,
            "most_at_once": analysis.track.faces,
            "eye_distance": _median(analysis.track.size),
            "yaw": _median(analysis.track.yaw),
            "pitch": _median(analysis.track.pitch),
            "blur": _median(analysis.track.blur),
            "exposure": _median(analysis.track.exposure),
        },
        "model": {**asdict(analysis.card), "labels": list(analysis.labels)},
        "confidence": analysis.confidence,
        "threshold": THRESHOLD,
        "key_frames_given": analysis.given,
        "not_analysed": [list(span) for span in spotting.lost],
        "blinks": [list(span) for span in spotting.blinks],
        "warnings": [*video.warnings, *spotting.warnings],
        "events": [event_json(i, f) for i, f in enumerate(analysis.findings, start=1)],
    }


def event_json(number: int, finding: Finding) -> dict[str, Any]:
    """One movement as in report.json."""
    event, reading = finding.event, finding.reading
    return {
        "number": number,
        "kind": event.kind,
        "onset": {"frame": event.onset, "time": event.onset_time},
        "apex": {"frame": event.apex, "time": event.apex_time},
        "offset": {"frame": event.offset, "time": event.offset_time},
        "duration": event.offset_time - event.onset_time,
        "complete": event.complete,
        "score": None if math.isnan(event.score) else round(event.score, 3),
        "displacement": round(100 * event.displacement, 3),
        "emotion": reading.emotion if reading else None,
        "probabilities": {
            label: {"mean": mean, "lowest": low, "highest": high}
            for label, mean, low, high in zip(
                reading.labels, reading.probabilities, reading.lowest, reading.highest, strict=True
            )
        }
        if reading
        else None,
        "agreement": reading.agreement if reading else None,
        "by_hand": list(finding.by_hand),
        "quality": finding.quality,
        "problems": list(finding.problems),
        "regions": [asdict(region) for region in finding.regions],
        "action_units": [asdict(suggestion) for suggestion in finding.units],
        "unit_probabilities": dict(reading.units) if reading and reading.units else None,
    }


def events_csv(analysis: Analysis) -> str:
    """The movements as a table, one row each; a head alone where there are none."""
    text = io.StringIO()
    labels = [f"p_{label}" for label in analysis.labels]
    head = ["number", "kind"]
    head += [f"{w}_{u}" for w in ("onset", "apex", "offset") for u in ("s", "frame")]
    head += ["duration_s", "score", "displacement_percent", "emotion", *labels, "agreement"]
    head += ["quality", "problems", "regions", "action_units", "unit_probabilities"]
    head.append("corrected")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(head)
    for number, finding in enumerate(analysis.findings, start=1):
        likely = finding.reading.likely_units() if finding.reading else []
        table.writerow(_row(event_json(number, finding), analysis.labels, likely))
    return text.getvalue()


def _row(
    event: dict[str, Any], labels: Sequence[str], likely: Sequence[tuple[str, float]]
) -> list[Any]:
    row = [event["number"], event["kind"]]
    for moment in ("onset", "apex", "offset"):
        row += [f"{event[moment]['time']:.4f}", event[moment]["frame"]]
    read = event["probabilities"]
    row += [f"{event['duration']:.4f}", event["score"], event["displacement"], event["emotion"]]
    row += [read[label]["mean"] if read else "" for label in labels]
    row += [event["agreement"], event["quality"], "; ".join(event["problems"])]
    row.append("; ".join(r["name"] for r in event["regions"]))
    sided = {"both": "", "left": " (left)", "right": " (right)"}
    row.append("; ".join(f"AU{u['unit']}{sided[u['side']]}" for u in event["action_units"]))
    row.append("; ".join(f"AU{unit} {p:.2f}" for unit, p in likely))
    row.append("; ".join(event["by_hand"]))
    return ["" if value is None else value for value in row]


def _median(values: Any) -> float | None:
    seen = values[~np.isnan(values)]
    return round(float(np.median(seen)), 2) if seen.size else None


def told(job: Job) -> dict[str, Any]:
    """What decides the result, beside the program itself."""
    try:
        size = job.video.stat().st_size if job.video.is_file() else None
    except OSError:
        size = None  # analyze says in its own words why it cannot be read
    settings = asdict(job.settings)
    settings["model"] = str(job.settings.model) if job.settings.model else "default"
    return {"video": str(job.video), "bytes": size, **settings}


def _finished(job: Job) -> dict[str, Any] | None:
    """The report of an earlier run that did this very job; None where there is none.

    Raises:
        UserError: The folder holds the analysis of something else, or cannot be written.
    """
    path = job.out / "report.json"
    above = next(p for p in (job.out, *job.out.absolute().parents) if p.exists())
    if not above.is_dir():
        raise UserError(f"{above} is a file; give another --out")
    if not os.access(above, os.W_OK):
        raise UserError(f"cannot write to {above}; give another --out")
    if not path.exists():
        return None
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if report.get("schema") == SCHEMA and report.get("settings") == told(job):
            return report
    except ValueError:
        pass
    raise UserError(f"{job.out} holds another analysis; give another --out, or remove it")
