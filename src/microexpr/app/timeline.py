"""The timeline of a recording as SVG: motion of the face, events, blinks, stretches not analysed.

The drawing is stretched to the width it is given (lines keep their thickness); words are placed in
percent over it, so that they keep their size on a phone.
"""

from __future__ import annotations

from html import escape
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from microexpr.analysis import Analysis
from microexpr.preprocess.spot import THRESHOLD

BINS = 900  # points of the curve at most: the greatest value of each stretch is kept
WIDTH, HEIGHT = 1000.0, 200.0  # units of the drawing
FLOOR = 176.0  # where activity 0 is drawn
ROOF = 26.0  # where the greatest is
TICKS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


def timeline(analysis: Analysis) -> str:
    """HTML of the timeline."""
    end = max(analysis.video.duration, 1e-6)
    top = _top(analysis.spotting.activity)
    parts = [
        f'<svg class="line" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" preserveAspectRatio="none" '
        'role="img" aria-label="Motion of the face over time">',
        '<defs><pattern id="hatch" width="8" height="8" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><line y2="8" class="hatch"/></pattern></defs>',
    ]
    parts += [_bar(a, b, end, "lost", 0, HEIGHT) for a, b in analysis.spotting.lost]
    parts += [_bar(a, b, end, "blink", FLOOR + 4, 10) for a, b in analysis.spotting.blinks]
    for finding in analysis.findings:
        event = finding.event
        parts.append(_bar(event.onset_time, event.offset_time, end, event.kind, 0, FLOOR))
    parts += [f'<path class="curve" d="{d}"/>' for d in _curves(analysis, end, top)]
    level = FLOOR - (FLOOR - ROOF) * THRESHOLD / top
    parts.append(f'<path class="limit" d="M0 {level:.1f}H{WIDTH:g}"/>')
    parts.append(f'<path class="axis" d="M0 {FLOOR:g}H{WIDTH:g}"/></svg>')
    words = [_word(100 * level / HEIGHT, "threshold")]
    for number, finding in enumerate(analysis.findings, start=1):
        event = finding.event
        words.append(
            f'<a class="flag" href="#event{number}" '
            f'style="left:{100 * event.apex_time / end:.2f}%" data-at="{number - 1}" '
            f'data-time="{event.onset_time:.4f}" '
            f'aria-label="Movement {number} at {event.apex_time:.2f} s">{number}</a>'
        )
    ticks = [
        f'<span class="{"end" if t > 0.95 * end else "tick"}" style="left:{100 * t / end:.2f}%">'
        f"{escape(text)}</span>"
        for t, text in _ticks(end)
    ]
    return (
        f'<div class="timeline" data-end="{end:.4f}">'
        f'<div class="plot">{"".join(parts)}{"".join(words)}</div>'
        f'<div class="ticks">{"".join(ticks)}</div></div>'
    )


def _top(activity: NDArray[np.float32]) -> float:
    seen = activity[~np.isnan(activity)]
    return 1.08 * max(float(seen.max()) if seen.size else 0.0, 1.6 * THRESHOLD)


def _bar(start: float, stop: float, end: float, kind: str, top: float, height: float) -> str:
    left = WIDTH * start / end
    width = max(WIDTH * (stop - start) / end, 2.0)
    return (
        f'<rect class="{kind}" x="{left:.2f}" y="{top:g}" width="{width:.2f}" height="{height:g}"/>'
    )


def _curves(analysis: Analysis, end: float, top: float) -> list[str]:
    """Paths of the activity, one for each stretch in which there is a face."""
    times, levels = _thinned(analysis.video.times, analysis.spotting.activity)
    paths: list[list[str]] = [[]]
    for time, level in zip(times, levels, strict=True):
        if np.isnan(level):
            paths.append([])
            continue
        y = FLOOR - (FLOOR - ROOF) * level / top
        paths[-1].append(f"{WIDTH * time / end:.1f} {y:.1f}")
    return ["M" + "L".join(points) for points in paths if len(points) > 1]


def _thinned(
    times: NDArray[np.float64], levels: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """At most `BINS` points: of each bin the greatest value, NaN where all of it is."""
    if len(times) <= BINS:
        return times, levels
    edges = np.linspace(0, len(times), BINS + 1).astype(int)
    held = np.where(np.isnan(levels), -np.inf, levels)
    chosen = [a + int(held[a:b].argmax()) for a, b in pairwise(edges)]
    return times[chosen], levels[chosen]


def _ticks(end: float) -> list[tuple[float, str]]:
    step = next((t for t in TICKS if end / t <= 6), TICKS[-1])
    return [(step * i, f"{step * i:g} s") for i in range(int(end / step + 1e-9) + 1)]


def _word(top: float, text: str) -> str:
    return f'<span class="word" style="top:{top:.1f}%">{escape(text)}</span>'
