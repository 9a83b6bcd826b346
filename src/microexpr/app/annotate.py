"""The recording with what was found drawn into it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from microexpr.analysis import Analysis, Finding
from microexpr.preprocess.track import points_at
from microexpr.video import Frame, frames
from microexpr.videowriter import write_video

WIDEST = 1280  # pixels of the longer side of the picture
FASTEST = 60.0  # frames a second; more are thinned
SMALLEST = 320  # pixels: smaller pictures are enlarged, so that words can be read

BLUE, ORANGE, WHITE = (86, 180, 233), (230, 159, 0), (255, 255, 255)
# the outline of the face in the mesh's numbering
_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)

Image = NDArray[np.uint8]


def annotate(analysis: Analysis, path: Path) -> None:
    """Writes the annotated recording (H.264), as fast as life, on an even clock.

    The outline of the face, the movement that is under way and its emotion, and a bar that tells
    how far into the recording one is and where the movements lie.
    """
    rate = min(analysis.video.fps or FASTEST, FASTEST)
    write_video(path, _drawn(analysis, rate), rate, crf=23, repeatable=True)


def _drawn(analysis: Analysis, rate: float) -> Iterator[Image]:
    """Pictures at the moments of an even clock: each shows the frame that is then on."""
    held, drawn, shown = None, None, 0
    for frame in frames(analysis.video):
        while held is not None and shown / rate < frame.time - 1e-6:
            drawn = _picture(analysis, held) if drawn is None else drawn
            yield drawn
            shown += 1
        held, drawn = frame, None
    if held is not None:
        yield _picture(analysis, held)


def _picture(analysis: Analysis, frame: Frame) -> Image:
    image, time = frame.image, frame.time
    longer = max(image.shape[:2])
    scale = min(WIDEST / longer, max(1.0, SMALLEST / longer))
    picture = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    points = points_at(analysis.track, time)
    under_way = next(
        (f for f in analysis.findings if f.event.onset_time <= time <= f.event.offset_time), None
    )
    colour = WHITE if under_way is None else _colour(under_way)
    if points is not None:
        oval = np.round(points[list(_OVAL), :2] * scale).astype(np.int32)
        cv2.polylines(picture, [oval], True, colour, 1 if under_way is None else 2, cv2.LINE_AA)
    words = f"{time:6.2f} s  "
    if points is None:
        words += "no face: not analysed"
    elif under_way is not None:
        words += _label(under_way)
    _write(picture, words)
    _bar(picture, analysis, time)
    return np.asarray(picture, np.uint8)


def _colour(finding: Finding) -> tuple[int, int, int]:
    return BLUE if finding.event.kind == "micro" else ORANGE


def _label(finding: Finding) -> str:
    emotion = finding.reading.emotion if finding.reading else None
    return f"{finding.event.kind}: {emotion or 'no emotion named'}"


def _write(picture: Image, words: str) -> None:
    """Words on a darkened strip along the upper edge."""
    size = max(picture.shape[1] / 1100, 0.4)
    picture[: round(48 * size)] //= 3
    at = (round(16 * size), round(34 * size))
    cv2.putText(picture, words, at, cv2.FONT_HERSHEY_SIMPLEX, size, WHITE, 1, cv2.LINE_AA)


def _bar(picture: Image, analysis: Analysis, time: float) -> None:
    """A strip along the lower edge: movements in their colours, and the present moment."""
    height, width = picture.shape[:2]
    thick, end = max(6, height // 60), max(analysis.video.duration, 1e-6)
    picture[-thick:] //= 3
    for finding in analysis.findings:
        event = finding.event
        left, right = (int(width * t / end) for t in (event.onset_time, event.offset_time))
        picture[-thick:, left : max(right, left + 2)] = _colour(finding)
    now = min(int(width * time / end), width - 1)
    picture[-thick:, max(now - 1, 0) : now + 1] = WHITE
