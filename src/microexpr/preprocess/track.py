"""One face followed through a recording: its points, its pose and how well it can be seen.

The face is looked at about fifteen times a second, whatever the frame rate: heads move slowly, and
what moves faster is measured by flow, not by landmarks.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from microexpr.errors import UserError
from microexpr.preprocess.align import FACE, STABLE, alignment, grey, warp
from microexpr.preprocess.face import BORDERS, Box, FaceModels, Mesh, detect, mesh
from microexpr.video import Frame, VideoInfo, frames

RATE = 15.0  # looks a second
CHECK_EVERY = 30  # looks after which the detector is asked again whether this is a face
PRESENT = 0.5  # probability below which the mesh has lost the face
SMOOTHING = 0.1  # seconds: standard deviation of the Gaussian over time
SPAN = 5  # looks on either side that the Gaussian reaches
GAP = 0.35  # seconds without the face that are bridged; longer stretches stay lost
OUTLIER = 0.12  # IOD by which the points may stray from the median of five looks
VIEW = 128  # pixels of the aligned face on which blur and exposure are measured

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

_LEFT_RIGHT = ((33, 263), (133, 362), (234, 454), (61, 291), (50, 280), (105, 334))
_FOREHEAD, _CHIN = 10, 152


@dataclass(frozen=True, slots=True)
class Track:
    """A face over time. All arrays have one row a look; NaN where the face was lost.

    Attributes:
        times: Seconds since the first frame, float64.
        points: Float32 ``(looks, 468, 3)``, pixels of the picture, smoothed over time.
        presence: Probability of a face, 0..1; 0 where none was found.
        yaw: Degrees the face is turned to the right of the picture.
        pitch: Degrees it is bent down (0: the line from forehead to chin is upright).
        roll: Degrees it is tilted clockwise.
        size: Distance between the eye centres in pixels.
        blur: Variance of the Laplacian of the aligned face of 128 pixels; below 20 it is blurred.
        exposure: Mean grey of the aligned face, 0..255.
        faces: The largest number of faces that were seen at once.
    """

    times: NDArray[np.float64]
    points: Array
    presence: Array
    yaw: Array
    pitch: Array
    roll: Array
    size: Array
    blur: Array
    exposure: Array
    faces: int


class Tracker:
    """Finds one face in the first picture and stays with it.

    Args:
        models: From `load_face_models`.
        face: Which of several faces: 0 the largest in the first picture that shows any, 1 the
            next, and so on.
    """

    def __init__(self, models: FaceModels, face: int = 0) -> None:
        self.models = models
        self.face = face
        self.faces = 0
        self._last: Array | None = None
        self._looks = 0

    def look(self, image: Image) -> Mesh | None:
        """The face in the next picture, uint8 RGB; None where it is not to be seen."""
        self._looks += 1
        ways = (self._followed, self._searched)
        for way in ways if self._looks % CHECK_EVERY else ways[::-1]:
            found = way(image)
            if found is not None and found.presence >= PRESENT:
                self._last = found.points
                return found
        return None

    def _followed(self, image: Image) -> Mesh | None:
        return None if self._last is None else mesh(self.models, image, self._last)

    def _searched(self, image: Image) -> Mesh | None:
        boxes = detect(self.models, image, self._borders())
        box = self._choose(boxes)
        if box is None:
            return None
        first = mesh(self.models, image, box)
        found = mesh(self.models, image, first.points)
        if found.presence >= PRESENT:
            self.faces = max(self.faces, len(boxes))
        return found

    def _borders(self) -> tuple[float, ...]:
        """All at the first look; then one at a time, for a search through many empty pictures."""
        return BORDERS if self._looks == 1 else (BORDERS[self._looks % len(BORDERS)],)

    def _choose(self, boxes: list[Box]) -> Box | None:
        """The face nearest to where it was; before it was ever seen, the one that was asked for.

        A face further away than its own size is another one.
        """
        if self._last is None:
            if self.face < len(boxes):
                return boxes[self.face]
            self.faces = max(self.faces, len(boxes))
            return None
        low, high = self._last[:, :2].min(axis=0), self._last[:, :2].max(axis=0)
        middle, reach = (low + high) / 2, float((high - low).max())
        away = [float(np.hypot(*(np.array(box.centre) - middle))) for box in boxes]
        nearest = int(np.argmin(away)) if away else -1
        return boxes[nearest] if away and away[nearest] < reach else None


def track(models: FaceModels, video: VideoInfo, face: int = 0) -> Track:
    """Follows a face through a recording.

    Args:
        models: From `load_face_models`.
        video: From `open_video`; one with a clock.
        face: Which of several, see `Tracker`.

    Raises:
        UserError: No clock, a negative `face`, or faces were seen but never as many as that.
    """
    if video.fps is None:
        raise UserError(f"{video.path} has no frame rate; give one (--fps)")
    if face < 0:
        raise UserError(f"faces are counted from 0, got {face}")
    tracker = Tracker(models, face)
    looks = [_look(tracker, frame) for frame in frames(video, step=max(1, round(video.fps / RATE)))]
    if 0 < tracker.faces <= face:
        most = f"{tracker.faces} face{'' if tracker.faces == 1 else 's'} at once"
        raise UserError(f"{video.path} shows at most {most}; counted from 0, there is no {face}")
    return assemble(looks, tracker.faces)


@dataclass(frozen=True, slots=True)
class Look:
    """What one picture tells: the points, or None; blur and exposure as in `Track`."""

    time: float
    found: Mesh | None
    blur: float = float("nan")
    exposure: float = float("nan")


def _look(tracker: Tracker, frame: Frame) -> Look:
    found = tracker.look(frame.image)
    if found is None:
        return Look(frame.time, None)
    return Look(frame.time, found, *visibility(frame.image, found.points))


def visibility(image: Image, points: Array) -> tuple[float, float]:
    """Blur and exposure of a face, both as in `Track`."""
    view = grey(warp(image, alignment(points, FACE, VIEW), VIEW))
    return float(cv2.Laplacian(view, cv2.CV_32F).var()), float(view.mean())


def assemble(looks: Sequence[Look], faces: int) -> Track:
    """Looks in order of time put together: strays rejected, points smoothed, short gaps bridged."""
    times = np.array([look.time for look in looks], np.float64)
    lost = np.full((468, 3), np.nan, np.float32)
    raw = np.array([look.found.points if look.found else lost for look in looks], np.float32)
    raw = raw.reshape(-1, 468, 3)
    raw[_strays(raw)] = np.nan
    points = _smoothed(raw, times)
    yaw, pitch, roll, size = pose(points)
    return Track(
        times=times,
        points=points,
        presence=np.array([look.found.presence if look.found else 0 for look in looks], np.float32),
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        size=size,
        blur=np.array([look.blur for look in looks], np.float32),
        exposure=np.array([look.exposure for look in looks], np.float32),
        faces=faces,
    )


def pose(points: Array) -> tuple[Array, Array, Array, Array]:
    """How a face is held and how large it is, from its mesh.

    Args:
        points: ``(..., 468, 3)``.

    Returns:
        Yaw, pitch, roll in degrees and the distance between the eye centres, each ``(...)``; signs
        as in `Track`.
    """
    right = sum(points[..., b, :] - points[..., a, :] for a, b in _LEFT_RIGHT)
    right = right / np.linalg.norm(right, axis=-1, keepdims=True)
    down = points[..., _CHIN, :] - points[..., _FOREHEAD, :]
    down = down - (down * right).sum(axis=-1, keepdims=True) * right
    down = down / np.linalg.norm(down, axis=-1, keepdims=True)
    eyes = points[..., [362, 263], :].mean(axis=-2) - points[..., [33, 133], :].mean(axis=-2)
    return (
        np.degrees(np.arcsin(right[..., 2])).astype(np.float32),
        np.degrees(np.arcsin(-down[..., 2])).astype(np.float32),
        np.degrees(np.arctan2(right[..., 1], right[..., 0])).astype(np.float32),
        np.linalg.norm(eyes, axis=-1).astype(np.float32),
    )


def points_at(found: Track, time: float) -> Array | None:
    """The points at any moment, linear between two looks; None within a stretch that was lost."""
    after = int(np.clip(np.searchsorted(found.times, time), 1, max(len(found.times) - 1, 1)))
    if len(found.times) < 2 or after >= len(found.times):
        after = 0
    before = max(after - 1, 0)
    span = found.times[after] - found.times[before]
    share = np.float32(np.clip((time - found.times[before]) / span, 0, 1) if span > 0 else 0)
    between = (1 - share) * found.points[before] + share * found.points[after]
    return None if np.isnan(between).any() else between


def _strays(raw: Array) -> NDArray[np.bool_]:
    """Looks whose stable points lie far from the median of the five looks around them."""
    if len(raw) < 5:
        return np.zeros(len(raw), bool)
    stable = np.pad(raw[:, list(STABLE), :2], ((2, 2), (0, 0), (0, 0)), "edge")
    windows = np.lib.stride_tricks.sliding_window_view(stable, 5, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a window without any face is all NaN
        middle = np.nanmedian(windows, axis=-1)
    away = np.linalg.norm(raw[:, list(STABLE), :2] - middle, axis=-1).mean(axis=-1)
    return np.asarray(away > OUTLIER * pose(raw)[3])


def _smoothed(raw: Array, times: NDArray[np.float64]) -> Array:
    """A Gaussian over time that looks both ways (no delay) and skips what was lost."""
    seen = ~np.isnan(raw[:, 0, 0])
    total, weight = np.zeros_like(raw), np.zeros(len(raw), np.float32)
    held = np.where(seen[:, None, None], raw, 0)
    for step in range(-SPAN, SPAN + 1):
        here, there = _overlap(len(raw), step)
        away = (times[there] - times[here]) / SMOOTHING
        share = (np.exp(-0.5 * away**2) * seen[there]).astype(np.float32)
        total[here] += share[:, None, None] * held[there]
        weight[here] += share
    kept = _bridged(seen, times) & (weight > 0)
    total[kept] /= weight[kept, None, None]
    total[~kept] = np.nan
    return total


def _overlap(count: int, step: int) -> tuple[slice, slice]:
    """Where a series and the same series `step` later both exist."""
    step = min(max(step, -count), count)
    return slice(max(0, -step), min(count, count - step)), slice(max(0, step), count + min(0, step))


def _bridged(seen: NDArray[np.bool_], times: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Looks that saw the face, and those in gaps of at most `GAP` seconds between two that did."""
    if not seen.any():
        return seen
    at = times[seen]
    after = np.clip(np.searchsorted(at, times), 0, len(at) - 1)
    before = np.clip(np.searchsorted(at, times, side="right") - 1, 0, len(at) - 1)
    inside = (at[before] <= times) & (times <= at[after])
    return np.asarray(seen | (inside & (at[after] - at[before] <= GAP)))
