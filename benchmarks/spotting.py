"""Spotting measured on hard synthetic films: twenty with three micro-expressions, five with none.

    python benchmarks/spotting.py             the first set of films
    python benchmarks/spotting.py --second    the second, to be run once, at the very end

Each film is made in a temporary folder, analysed and deleted; one line of JSON for each is kept in
``runs/spotting``, so that a run that was stopped goes on. (After a change of the program, remove
that file.) Figures go to ``benchmarks/results/spotting``.

That the films are hard is shown by a plain method on the same films: peaks of the mean flow of the
whole face over `LAG` seconds, with no head motion removed, at the threshold that suits it best.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from microexpr.evaluation.spotting import Interval, SpottingScore, apex_errors, score_spotting
from microexpr.files import write_text
from microexpr.film import Script, Truth, drawn_portrait, film, write_script
from microexpr.jobs import spread
from microexpr.preprocess.align import FACE, alignment, grey, warp
from microexpr.preprocess.curves import peaks, runs
from microexpr.preprocess.face import load_face_models
from microexpr.preprocess.flow import flow
from microexpr.preprocess.motion import SIZE, motion
from microexpr.preprocess.spot import Spotting, spot
from microexpr.preprocess.track import Track, track
from microexpr.video import VideoInfo, frames, open_video

ROOT = Path(__file__).resolve().parents[1]
SECONDS, EVENTS, CRF = 10.0, 3, 23
WITH_EVENTS = (200.0, 30.0)  # frames a second; ten films each
WITHOUT = (200.0, 200.0, 100.0, 30.0, 30.0)
SEEDS = {"first": 91000, "second": 92000}
LAG, PLAIN_RATE = 0.2, 50.0  # of the plain method: seconds, and looks a second
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """One film: its seed decides the face, the script, the head's path and the noise."""

    seed: int
    fps: float
    seconds: float
    events: int
    blinks: float  # a minute, at least
    drift: float  # % of the distance between the eyes
    noise: float  # grey levels of 255


def plans(first_seed: int, seconds: float = SECONDS) -> list[Plan]:
    """The 25 films of a set, the longest work first."""
    kinds = [(fps, EVENTS) for fps in WITH_EVENTS for _ in range(10)] + [(f, 0) for f in WITHOUT]
    made = []
    for seed, (fps, events) in enumerate(kinds, start=first_seed):
        rng = np.random.default_rng([seed, 7])
        harder = (rng.uniform(12, 20), rng.uniform(2, 4), rng.uniform(2, 3))
        made.append(Plan(seed, fps, seconds, events, *(round(value, 3) for value in harder)))
    return sorted(made, key=lambda plan: -plan.fps)


def script(plan: Plan) -> Script:
    """What happens in a film."""
    return write_script(
        plan.seed,
        plan.fps,
        plan.seconds,
        plan.events,
        blinks_per_minute=plan.blinks,
        drift=plan.drift,
        noise=plan.noise,
        crf=CRF,
    )


def measure(plan: Plan) -> Row:
    """Makes a film, looks for movements in it, and deletes it."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        clock = [time.process_time()]
        truth = film(drawn_portrait(plan.seed), script(plan), path)
        clock.append(time.process_time())
        video = open_video(path)
        found = track(load_face_models(), video)
        spotting = spot(motion(video, found), video.fps or 0.0)
        clock.append(time.process_time())
        plain = plain_peaks(video, found)
    making, looking = np.diff(clock).round(2).tolist()
    return {
        "plan": asdict(plan),
        "truth": _told(truth),
        "spotted": _found(spotting),
        "plain": plain,
        "cpu": {"making": making, "looking": looking},
    }


def _told(truth: Truth) -> list[Row]:
    return [
        {
            "onset": event.onset,
            "apex": event.apex,
            "offset": event.offset,
            "peak": round(event.peak, 3),
            "emotion": event.emotion,
            "units": list(event.units),
        }
        for event in truth.events
    ]


def _found(spotting: Spotting) -> list[Row]:
    return [
        {
            "onset": event.onset,
            "apex": event.apex,
            "offset": event.offset,
            "kind": event.kind,
            "score": round(event.score, 2),
            "displacement": round(100 * event.displacement, 3),
        }
        for event in spotting.events
    ]


def plain_peaks(video: VideoInfo, found: Track) -> list[Row]:
    """Peaks of the mean flow of the whole face, where it was first seen; nothing is removed.

    A peak's interval is where the curve is above half of the way from its median to the peak; its
    height is in % of the distance between the eyes.
    """
    rate = video.fps or 0.0
    step = max(1, round(rate / PLAIN_RATE))
    lag = max(1, round(LAG * rate / step))
    seen = found.points[~np.isnan(found.points).any(axis=(1, 2))]
    if not len(seen):
        return []
    place = alignment(seen[0], FACE, SIZE)
    faces = [grey(warp(frame.image, place, SIZE)) for frame in frames(video, step=step)]
    return curve_peaks(_speeds(faces, lag), round(rate * 0.25 / step), step)


def _speeds(faces: Sequence[NDArray[np.uint8]], lag: int) -> NDArray[np.float32]:
    """Mean flow between each face and those `lag` before and after it, % of the eyes' distance."""
    unit = SIZE / (FACE.right - FACE.left) / 100
    ways = [flow(a, b, "dis") / unit for a, b in zip(faces, faces[lag:], strict=False)]
    length = np.array([np.hypot(way[..., 0], way[..., 1]).mean() for way in ways], np.float32)
    if not len(length):
        return np.zeros(len(faces), np.float32)
    both = np.pad(length, (lag, 0), "edge") + np.pad(length, (0, lag), "edge")
    return np.asarray(both / 2, np.float32)


def curve_peaks(curve: NDArray[np.float32], reach: int, step: int) -> list[Row]:
    """The peaks of a curve and their intervals, in frames that are `step` apart."""
    rest = float(np.median(curve))
    found = []
    for peak in peaks(curve, reach):
        above = runs(curve >= (rest + curve[peak]) / 2)
        span = [(first, stop) for first, stop in above if first <= peak < stop]
        for first, stop in span:
            ends = {"onset": first * step, "apex": peak * step, "offset": (stop - 1) * step}
            found.append({**ends, "height": round(float(curve[peak]), 4)})
    return found


def intervals(found: Sequence[Row]) -> list[Interval]:
    """Rows as the scores take them."""
    return [Interval(row["onset"], row["offset"], row["apex"]) for row in found]


def scored(rows: Sequence[Row], key: str, least: float = 0.0) -> SpottingScore:
    """Precision, recall and F1 over all films, of peaks of at least that height."""
    spotted = {
        _name(row): intervals([r for r in row[key] if r.get("height", least) >= least])
        for row in rows
    }
    return score_spotting({_name(row): intervals(row["truth"]) for row in rows}, spotted)


def _name(row: Row) -> str:
    return str(row["plan"]["seed"])


def plain_best(rows: Sequence[Row]) -> Row:
    """The plain method at the threshold, of a hundred, that gives it the highest F1."""
    heights = [peak["height"] for row in rows for peak in row["plain"]] or [0.0]
    bounds = np.quantile(heights, np.linspace(0, 1, 100))
    best = max(bounds, key=lambda bound: scored(rows, "plain", bound).f1)
    return {**rates(scored(rows, "plain", best)), "threshold": round(float(best), 3)}


def rates(score: SpottingScore) -> Row:
    """A score in figures."""
    return {
        "true": score.truths,
        "spotted": score.predictions,
        "matched": len(score.pairs),
        "precision": round(score.precision, 3),
        "recall": round(score.recall, 3),
        "f1": round(score.f1, 3),
    }


def summary(rows: Sequence[Row]) -> Row:
    """The figures of a set: over all films, and for each frame rate with events."""
    still = [row for row in rows if not row["truth"]]
    by_rate = {
        f"{rate:g}": _of_rate([r for r in rows if r["truth"] and r["plan"]["fps"] == rate])
        for rate in sorted({row["plan"]["fps"] for row in rows if row["truth"]}, reverse=True)
    }
    return {
        "films": len(rows),
        "seconds": sorted({row["plan"]["seconds"] for row in rows}),
        "all": rates(scored(rows, "spotted")),
        "fps": by_rate,
        "without_events": [
            {"fps": row["plan"]["fps"], "false_alarms": len(row["spotted"])} for row in still
        ],
        "plain": plain_best(rows),
    }


def _of_rate(rows: Sequence[Row]) -> Row:
    """Rates, apex error and cost of the films with events of one frame rate."""
    score = scored(rows, "spotted")
    rate = {_name(row): row["plan"]["fps"] for row in rows}
    frames_off, time_off = apex_errors(score.pairs, rate)
    late = [
        1000 * (pair.predicted.apex - pair.truth.apex) / rate[pair.video]
        for pair in score.pairs
        if pair.predicted.apex is not None and pair.truth.apex is not None
    ]
    cost = sum(row["cpu"]["looking"] for row in rows) / sum(row["plan"]["seconds"] for row in rows)
    return {
        **rates(score),
        "apex_error_frames": _mean(frames_off, 2),
        "apex_error_ms": _mean(time_off, 1),
        "apex_late_ms": _mean(late, 1),
        "cpu_seconds_per_second": round(cost, 2),
    }


def _mean(values: Sequence[float] | NDArray[np.float64], digits: int) -> float | None:
    return round(float(np.mean(values)), digits) if len(values) else None


def markdown(figures: Row) -> str:
    """The figures as a page."""
    still, plain = figures["without_events"], figures["plain"]
    named = [("all films", figures["all"])]
    named += [(f"{rate} fps, films with events", row) for rate, row in figures["fps"].items()]
    named.append(("all films, plain flow of the whole face", plain))
    lines = [
        "| | true | spotted | matched | precision | recall | F1 | apex error | CPU |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in named:
        error, cost = row.get("apex_error_ms"), row.get("cpu_seconds_per_second")
        cells = [name, *(str(row[key]) for key in ("true", "spotted", "matched"))]
        cells += [f"{row[key]:.3f}" for key in ("precision", "recall", "f1")]
        told = f"{error} ms, {row['apex_error_frames']} frames" if error is not None else ""
        cells.append(f"{told} ({row['apex_late_ms']:+} ms)" if told else "")
        cells.append(f"{cost} s for a second" if cost is not None else "")
        lines.append(f"| {' | '.join(cells)} |")
    length = " or ".join(f"{seconds:g}" for seconds in figures["seconds"])
    alarms = ", ".join(f"{row['false_alarms']} at {row['fps']:g} fps" for row in still)
    about = (
        f"{figures['films']} synthetic films of {length} s, {len(still)} of them without any event "
        f"(false alarms there: {alarms}). A movement is found if intersection over union is at "
        "least .5, one to one, pooled over all films. Apex errors are means over the matches, "
        "absolute and signed (+: found late). The plain method has the threshold that suits it "
        "best on these very films.\n"
    )
    return "\n".join(["# Spotting on synthetic films\n", about, *lines]) + "\n"


def gather(todo: Sequence[Plan], kept: Path, jobs: int) -> list[Row]:
    """Measures what is not in `kept` yet, and keeps a line for each film as it ends."""
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    wanted = [asdict(plan) for plan in todo]
    rows = [row for row in map(json.loads, lines) if row["plan"] in wanted]
    done = [row["plan"] for row in rows]
    left = [plan for plan, told in zip(todo, wanted, strict=True) if told not in done]
    for plan, row in spread(measure, left, jobs):
        rows.append(row)
        write_text("".join(json.dumps(r) + "\n" for r in rows), kept)
        cost = " + ".join(f"{seconds:.0f} s" for seconds in row["cpu"].values())
        score = rates(scored([row], "spotted"))
        told = f"{score['matched']} of {score['true']} found, {score['spotted']} spotted"
        print(f"{len(rows)}/{len(todo)} {plan.seed} {plan.fps:g} fps: {told} ({cost})", flush=True)
    return sorted(rows, key=lambda row: int(row["plan"]["seed"]))


def write(rows: Sequence[Row], folder: Path, name: str) -> Row:
    """Writes figures as JSON, with the films they come from, and as a page."""
    figures = summary(rows)
    told = json.dumps({**figures, "by_film": list(rows)}, indent=1)
    write_text(told + "\n", folder / f"{name}.json")
    write_text(markdown(figures), folder / f"{name}.md")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--second", action="store_true", help="the second set of films")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of each film")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    asked = parser.parse_args()
    which, name = ("second", "second") if asked.second else ("first", "figures")
    kept = ROOT / "runs" / "spotting" / f"{which}.jsonl"
    rows = gather(plans(SEEDS[which], asked.seconds), kept, asked.jobs)
    figures = write(rows, ROOT / "benchmarks" / "results" / "spotting", name)
    print(markdown(figures))


if __name__ == "__main__":
    main()
