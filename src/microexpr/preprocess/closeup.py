"""One movement seen from near: aligned faces, the flow from onset to apex, and it magnified.

All frames of a movement are aligned by one transform, found at its onset, so that errors of the
landmarks do not enter the flow; what the head did meanwhile is taken out of the flow.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from microexpr.encoding import encode
from microexpr.errors import UserError
from microexpr.inputs import PICTURES, Input
from microexpr.preprocess.align import (
    FACE,
    TIGHT,
    Crop,
    alignment,
    grey,
    places,
    rigid_motion,
    warp,
)
from microexpr.preprocess.flow import FLOWS
from microexpr.preprocess.motion import REGIONS, SPREAD
from microexpr.preprocess.track import Track, points_at
from microexpr.template import INDEX, template
from microexpr.video import VideoInfo, frames

SIZE = 224  # pixels of the aligned faces
MOST = 48  # faces kept of one movement; longer ones are thinned
MARGIN = 0.1  # seconds kept before and after the movement
WEAKEST, STRONGEST = 1.5, 12.0  # factors of magnification
TARGET = 0.10  # IOD to which the largest displacement is magnified
BLUR = 0.05  # IOD: the magnified flow is smoothed by a Gaussian of this standard deviation

Array = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Closeup:
    """Aligned frames of one movement.

    Attributes:
        numbers: Frame numbers, int64 ``(n,)``, increasing.
        times: Seconds of each, float64.
        faces: uint8 RGB ``(n, 224, 224, 3)``, the crop `align.FACE`.
        tight: The same, the crop `align.TIGHT`, which models see.
        onset: Index of the onset in them.
        apex: Index of the apex.
        offset: Index of the offset.
    """

    numbers: NDArray[np.int64]
    times: NDArray[np.float64]
    faces: Image
    tight: Image
    onset: int
    apex: int
    offset: int


def closeup(
    video: VideoInfo, found: Track, onset: int, apex: int, offset: int, beside: int = 1
) -> Closeup:
    """Reads the frames of one movement and a little before and after.

    Args:
        video: From `open_video`.
        found: From `track` on it.
        onset: Frame number, as are apex and offset.
        apex: Not before onset.
        offset: Not before apex.
        beside: Frames before and after onset and apex that are kept in any case.

    Raises:
        UserError: There is no face at the onset, or one of the frames is not there.
    """
    numbers = video.numbers
    at = [int(np.searchsorted(numbers, number)) for number in (onset, apex, offset)]
    if not all(
        i < len(numbers) and numbers[i] == n for i, n in zip(at, (onset, apex, offset), strict=True)
    ):
        raise UserError(f"{video.path.name} has no frames {onset}, {apex} and {offset}")
    points = points_at(found, float(video.times[at[0]]))
    if points is None:
        raise UserError(f"no face is to be seen at frame {onset}")
    wanted = _chosen(video, at, beside)
    views = [alignment(points, crop, SIZE) for crop in (FACE, TIGHT)]
    kept, faces, tight = [], [], []
    first, last = int(numbers[wanted[0]]), int(numbers[wanted[-1]])
    names = set(numbers[wanted].tolist())
    for frame in frames(video, first, last + 1):
        if frame.number in names:
            kept.append(frame.number)
            faces.append(warp(frame.image, views[0], SIZE))
            tight.append(warp(frame.image, views[1], SIZE))
    seen = np.array(kept, np.int64)
    nearest = [int(np.abs(seen - number).argmin()) for number in (onset, apex, offset)]
    times = video.times[np.searchsorted(numbers, seen)]
    return Closeup(seen, times, np.stack(faces), np.stack(tight), *nearest)


def _chosen(video: VideoInfo, at: list[int], beside: int) -> NDArray[np.intp]:
    """Indices of the frames to keep: evenly over the movement, and all around onset and apex."""
    margin = round(MARGIN * (video.fps or 0))
    even = np.linspace(at[0] - margin, at[2] + margin, min(MOST, at[2] - at[0] + 2 * margin + 1))
    around = [i + step for i in at for step in range(-beside, beside + 1)]
    every = np.concatenate([np.round(even), around]).astype(np.intp)
    return np.unique(np.clip(every, 0, video.frames - 1))


def split_flow(
    pictures: Image, start: int, end: int, method: str, crop: Crop
) -> tuple[Array, Array]:
    """Flow between two aligned faces: what the face did by itself, and what the whole head did.

    Args:
        pictures: uint8 RGB ``(n, size, size, 3)``.
        start: Index of the first.
        end: Index of the second.
        method: Key of `microexpr.preprocess.flow.FLOWS`.
        crop: What they show.

    Returns:
        Two fields, float32 ``(size, size, 2)``: u and v in pixels. Their sum is the flow.
    """
    found = FLOWS[method](grey(pictures[start]), grey(pictures[end]))
    head = rigid_motion(found, crop)
    return np.asarray(found - head, np.float32), head


def own_flow(pictures: Image, start: int, end: int, method: str, crop: Crop) -> Array:
    """The first of `split_flow`."""
    return split_flow(pictures, start, end, method, crop)[0]


def region_shift(field: Array) -> Array:
    """Mean displacement of the regions in a flow field of a face in the crop `align.FACE`.

    Args:
        field: ``(size, size, 2)`` pixels.

    Returns:
        Float32 ``(regions, 2)`` IOD, in the order of `microexpr.preprocess.motion.REGIONS`.
    """
    x, y = places(FACE, field.shape[0])
    sides = {"left": 0, "middle": 0, "right": 1}
    shift = []
    for region in REGIONS:
        at = template()[INDEX[region.landmark], sides[region.side]]
        weight = np.exp(-0.5 * ((x - at[0]) ** 2 + (y - at[1]) ** 2) / SPREAD**2)
        shift.append((field * (weight / weight.sum())[..., None]).sum(axis=(0, 1)))
    return np.array(shift, np.float32) / np.float32(pixels_per_iod(field.shape[0]))


def pixels_per_iod(size: int = SIZE) -> float:
    """Pixels between the eye centres in a face of the crop `align.FACE`."""
    return size / (FACE.right - FACE.left)


def model_input(seen: Closeup, wants: Input, onset: int, apex: int) -> Array:
    """What a model eats, from the tight crop: flow from the onset, without the head's motion.

    Args:
        seen: From `closeup`.
        wants: What the model declares.
        onset: Index into `seen` at which the flow starts.
        apex: Index at which it ends; a model of several frames reads up to `seen.offset` instead.

    Returns:
        Float32 ``(channels, size, size)``; ``(frames, channels, ...)`` for several frames.
    """
    ends = [apex]
    if wants.frames > 1:
        ends = np.linspace(onset, max(seen.offset, apex), wants.frames).round().astype(int).tolist()
    shown = tuple(name for name in PICTURES if name in wants.channels)
    has = Input(("u", "v", *shown), SIZE, wants.flow, "none", wants.frames)
    rows = []
    for end in ends:
        field = own_flow(seen.tight, onset, end, wants.flow, TIGHT)
        pictures = [_picture(seen, name, onset, apex, end) for name in shown]
        rows.append(np.stack([field[..., 0], field[..., 1], *pictures]).astype(np.float32))
    planes = encode(np.stack(rows), has, wants)
    return planes if wants.frames > 1 else np.asarray(planes[0], np.float32)


def _picture(seen: Closeup, name: str, onset: int, apex: int, end: int) -> Image:
    if name == "grey":
        return grey(seen.tight[end])
    moment, _, colour = name.partition("_")
    return np.asarray(seen.tight[onset if moment == "onset" else apex][..., "rgb".index(colour)])


def magnification(field: Array) -> float:
    """The factor that takes the largest displacement of a flow field to `TARGET`.

    At most `STRONGEST`; 1 where it would be less than `WEAKEST`: such a motion is plain to see.

    Args:
        field: ``(size, size, 2)`` pixels, the crop `align.FACE`.
    """
    largest = float(np.quantile(np.hypot(field[..., 0], field[..., 1]), 0.98))
    wanted = TARGET * pixels_per_iod(field.shape[0]) / max(largest, 1e-6)
    return min(float(wanted), STRONGEST) if wanted >= WEAKEST else 1.0


def magnified(seen: Closeup, factor: float) -> tuple[Image, Array]:
    """The movement with each displacement from the onset made `factor` times as large.

    Each face is warped by ``(factor - 1)`` times its smoothed flow from the onset (Lagrangian
    magnification, as in Liu et al., SIGGRAPH 2005, with dense flow in place of tracked points).

    Returns:
        The faces, uint8 RGB ``(n, 224, 224, 3)``, and the flow, float32 ``(n, 224, 224, 2)``
        pixels, without the head's.
    """
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    spread = BLUR * pixels_per_iod()
    shown, fields = [], []
    for i, face in enumerate(seen.faces):
        field = cv2.GaussianBlur(own_flow(seen.faces, seen.onset, i, "dis", FACE), (0, 0), spread)
        # skin that was at p is seen at p + f(p) and belongs at p + factor f(p)
        began = x - factor * field[..., 0], y - factor * field[..., 1]
        further = (factor - 1) * cv2.remap(field, *began, cv2.INTER_LINEAR)
        source = x - further[..., 0], y - further[..., 1]
        shown.append(cv2.remap(face, *source, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
        fields.append(field)
    return np.stack(shown), np.stack(fields)
