"""How each region of a face moves over a recording, with the head's own motion taken out.

The face is aligned by its landmarks, which follow the head but tremble by about as much as a
micro-expression moves. So motion is measured by flow against a still reference of the same face
(the median of the frames of a second and a half, which a blink or a micro-expression does not
enter), and what all of the face does together is removed from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from microexpr.preprocess.align import FACE, alignment, grey, rigid_motion, transform, warp
from microexpr.preprocess.flow import FLOWS
from microexpr.preprocess.track import Track, points_at
from microexpr.template import LANDMARKS, from_mesh
from microexpr.video import VideoInfo, frames

SIZE = 128  # pixels of the aligned face; more made spotting no better on synthetic films
UNIT = SIZE / (FACE.right - FACE.left)  # pixels of it between the eye centres
CELL = 4  # pixels of the cells over which flow is averaged
SEGMENT = 1.5  # seconds that share a reference
SAMPLES = 11  # frames of a segment from which its reference is made
OVERLAP = 0.1  # seconds of the segment before that tie a segment to it
SPREAD = 0.12  # IOD: standard deviation of the window around a landmark
SHORTEST = 0.3  # seconds of face below which a stretch is not analysed

# Corners of the eyes do not move by themselves; the outline of the face is half background.
LEFT_OUT = ("eye_inner", "eye_outer", "face_side", "jaw_corner")

Array = NDArray[np.float32]
Grey = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Region:
    """A place of the face whose motion is followed.

    Attributes:
        landmark: Name in `microexpr.template.LANDMARKS`.
        side: ``"left"`` or ``"right"`` of the picture (the person's right or left), ``"middle"``.
    """

    landmark: str
    side: str


REGIONS: tuple[Region, ...] = tuple(
    Region(landmark.name, side)
    for landmark in LANDMARKS
    if landmark.name not in LEFT_OUT
    for side in (("middle",) if landmark.x == 0 else ("left", "right"))
)


@dataclass(frozen=True, slots=True)
class Motion:
    """Displacement of every region over a recording.

    Attributes:
        times: Seconds of every frame, float64 ``(frames,)``.
        numbers: Frame numbers, int64 ``(frames,)``.
        shift: Float32 ``(frames, regions, 2)``: where each of `REGIONS` is, to the right and down,
            in IOD, against a zero that drifts slowly; NaN where there was no face.
        head: Float32 ``(frames, 2)``: what was removed at the bridge of the nose, IOD.
    """

    times: NDArray[np.float64]
    numbers: NDArray[np.int64]
    shift: Array
    head: Array


def motion(video: VideoInfo, found: Track, method: str = "dis") -> Motion:
    """Measures the motion of all regions; reads the video once more, in constant memory.

    Args:
        video: From `open_video`.
        found: From `track` on the same video.
        method: Key of `microexpr.preprocess.flow.FLOWS`.
    """
    shift = np.full((video.frames, len(REGIONS), 2), np.nan, np.float32)
    head = np.full((video.frames, 2), np.nan, np.float32)
    windows = _windows(found)
    tail: list[tuple[int, Grey]] = []
    for run, segment in _segments(video, found):
        joined = tail if run else []
        moved, rigid = _measured([crop for _, crop in joined + segment], windows, method)
        if joined:
            before = np.array([index for index, _ in joined])
            moved += np.median(shift[before] - moved[: len(joined)], axis=0)
        at = np.array([index for index, _ in segment])
        shift[at], head[at] = moved[len(joined) :], rigid[len(joined) :]
        tail = segment[-max(3, round(OVERLAP * (video.fps or 0))) :]
    return Motion(video.times, video.numbers, shift, head)


def _segments(video: VideoInfo, found: Track) -> Iterator[tuple[bool, list[tuple[int, Grey]]]]:
    """Aligned faces in stretches of at least one and at most two `SEGMENT`s, from face to gap.

    Yields:
        Whether it goes on from the one before, and (index of the frame, aligned grey face).
    """
    length = max(2, round(SEGMENT * (video.fps or 0)))
    shortest = max(2, round(SHORTEST * (video.fps or 0)))
    held: list[tuple[int, Grey]] = []
    goes_on = False
    for index, crop in _faces(video, found):
        if held and index != held[-1][0] + 1:
            if goes_on or len(held) >= shortest:
                yield goes_on, held
            held, goes_on = [], False
        held.append((index, crop))
        if len(held) == 2 * length:  # keep one back, so that the last segment is never short
            yield goes_on, held[:length]
            held, goes_on = held[length:], True
    if goes_on or len(held) >= shortest:
        yield goes_on, held


def _faces(video: VideoInfo, found: Track) -> Iterator[tuple[int, Grey]]:
    """Index and aligned grey face of every frame that shows it."""
    for frame in frames(video):
        points = points_at(found, frame.time)
        if points is not None:
            index = int(np.searchsorted(video.numbers, frame.number))
            yield index, grey(warp(frame.image, alignment(points, FACE, SIZE), SIZE))


def _windows(found: Track) -> Array:
    """Weights ``(regions, cells)`` of the cells around each landmark of this very face."""
    cells = SIZE // CELL
    seen = [points for points in found.points if not np.isnan(points).any()]
    if not seen:
        return np.zeros((len(REGIONS), cells * cells), np.float32)
    aligned = [transform(alignment(points, FACE, cells), points[:, :2]) for points in seen]
    places = from_mesh(np.median(aligned, axis=0).astype(np.float32))
    sides = {"left": 0, "middle": 0, "right": 1}
    names = [landmark.name for landmark in LANDMARKS]
    centres = np.array([places[names.index(r.landmark), sides[r.side]] for r in REGIONS])
    y, x = np.mgrid[:cells, :cells]
    spread = SPREAD * cells / (FACE.right - FACE.left)
    away = (x - centres[:, 0, None, None]) ** 2 + (y - centres[:, 1, None, None]) ** 2
    weights = np.exp(-0.5 * away / spread**2).reshape(len(REGIONS), -1)
    return np.asarray(weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12), np.float32)


def _measured(crops: list[Grey], windows: Array, method: str) -> tuple[Array, Array]:
    """Displacement of the regions ``(crops, regions, 2)`` and of the head ``(crops, 2)``, IOD.

    The head's motion is taken out of the pictures, then what is left of it out of the flow. Once
    is not enough: flow falls short on smooth skin, so a head that nods (or an alignment that gives
    way when the lids close) would look like a chin that moves against the nose.
    """
    chosen = np.linspace(0, len(crops) - 1, SAMPLES).round().astype(int)
    reference = np.median([crops[i] for i in chosen], axis=0).astype(np.uint8)
    rough = rigid_motion(_fields(reference, crops, method))
    still = [_put_back(crop, field) for crop, field in zip(crops, rough, strict=True)]
    coarse = _fields(reference, still, method)
    rest = rigid_motion(coarse)
    own = np.matmul(windows, (coarse - rest).reshape(len(crops), -1, 2))
    row = int(-FACE.top / (FACE.bottom - FACE.top) * coarse.shape[1])
    return own, (rough + rest)[:, row, coarse.shape[2] // 2]


def _fields(reference: Grey, crops: list[Grey], method: str) -> Array:
    """Flow from the reference to each crop by cells, ``(crops, cells, cells, 2)`` IOD."""
    flow, cells = FLOWS[method], SIZE // CELL
    fields = [
        cv2.resize(flow(reference, crop), (cells, cells), interpolation=cv2.INTER_AREA)
        for crop in crops
    ]
    return np.array(fields, np.float32) / np.float32(UNIT)


def _put_back(crop: Grey, field: Array) -> Grey:
    """A face with a motion ``(cells, cells, 2)`` IOD undone."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    moved = cv2.resize(field, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR) * np.float32(UNIT)
    source = x + moved[..., 0], y + moved[..., 1]
    back = cv2.remap(crop, *source, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(back, np.uint8)
