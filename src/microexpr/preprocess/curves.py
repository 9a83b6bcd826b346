"""The displacement of a face's regions over time, made ready for spotting.

Blinks taken out, the slow zero taken off, and what is left measured in standard deviations of this
recording's own noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from microexpr.preprocess.motion import REGIONS

SMOOTHING = 0.025  # seconds: standard deviation of the Gaussian over time
FOR_SPOTTING = 0.03  # seconds of a second one, for what decides whether there is a movement
SLOW = 1.0  # seconds: window of the running median that is the zero of short movements
SLOW_RATE = 25.0  # samples a second that the running median is made from
STEP = 0.25  # seconds across which a step is measured
TOP = 6  # regions whose mean is the activity
QUIETEST = 2e-4  # IOD: no region is taken to be less noisy than that
BLINK = 0.007  # IOD by which both upper lids sink in a blink
OVER_BROWS = 1.1  # by how much more than the brows above them
AROUND_BLINK = 0.1  # seconds before and after it

# Regions whose flow a blink drags along.
NEAR_EYES = frozenset(
    {"lid_upper", "lid_lower", "crow_feet", "eye_bag", "cheekbone", "nose_wing", "glabella"}
    | {"brow_inner", "brow_middle", "brow_outer", "forehead_inner", "forehead_outer"}
)

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Frames in a row that show the face.

    Attributes:
        at: Index in the recording of the frame nearest to each moment, ``(moments,)``. The moments
            are evenly spaced also where the frames are not.
        fps: Moments per second.
        place: Float32 ``(moments, regions, 2)`` IOD, smoothed; regions near the eyes pass straight
            through blinks.
        bump: The same without its running median: movements of up to half of `SLOW`. Smoothed
            once more, by `FOR_SPOTTING`.
        step: The same: place now and a little later, against a little before.
        blinking: ``(moments,)``.
    """

    at: NDArray[np.intp]
    fps: float
    place: Array
    bump: Array
    step: Array
    blinking: Mask


def stretch(shift: Array, times: NDArray[np.float64], first: int, fps: float) -> Stretch:
    """Makes a stretch ready.

    Args:
        shift: ``(frames, regions, 2)`` IOD, from `microexpr.preprocess.motion`, no NaN.
        times: Seconds of its frames, ``(frames,)``.
        first: Index of its first frame in the recording.
        fps: Frames per second of the recording, on average.
    """
    moments = times[0] + np.arange(round((times[-1] - times[0]) * fps) + 1) / fps
    after = np.clip(np.searchsorted(times, moments), 1, max(len(times) - 1, 1))
    after = np.minimum(after, len(times) - 1)
    before = np.maximum(after - 1, 0)
    span = np.maximum(times[after] - times[before], 1e-9)
    share = np.clip((moments - times[before]) / span, 0, 1).astype(np.float32)
    even = (1 - share[:, None, None]) * shift[before] + share[:, None, None] * shift[after]
    place = _smoothed(even, SMOOTHING * fps)
    blinking = _blinks(place - _slow(place, fps), fps)
    place = _passed(place, blinking)
    return Stretch(
        at=first + np.where(share < 0.5, before, after),
        fps=fps,
        place=place,
        bump=_smoothed(place - _slow(place, fps), FOR_SPOTTING * fps),
        step=_steps(place, fps),
        blinking=blinking,
    )


def runs(mask: Mask) -> list[tuple[int, int]]:
    """Stretches of true values, ``(first, one past the last)``.

    >>> runs(np.array([True, False, True, True]))
    [(0, 1), (2, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def peaks(level: Array, reach: int) -> list[int]:
    """Where a curve is as high as anywhere within `reach` on both sides, in order of time.

    >>> peaks(np.array([0, 2, 1, 1, 3, 0], np.float32), 2)
    [1, 4]
    """
    padded = np.pad(level, reach, constant_values=-np.inf)
    highest = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1)
    return [first for first, _ in runs(level >= highest)]


def near_eyes() -> NDArray[np.intp]:
    """Indices of the regions that a blink drags along."""
    return _named(*NEAR_EYES)


def noise(stretches: Sequence[Stretch]) -> Array:
    """Standard deviation of each region's bumps, ``(regions, 2)`` IOD.

    By the median of their absolute values: movements are rare, and blinks are left out.
    """
    still = [s.bump[~s.blinking] for s in stretches]
    if sum(map(len, still)) == 0:
        return np.full((len(REGIONS), 2), QUIETEST, np.float32)
    spread = 1.4826 * np.median(np.abs(np.concatenate(still)), axis=0)
    return np.maximum(spread, QUIETEST).astype(np.float32)


def activity(change: Array, unit: Array | float = 1.0) -> Array:
    """How far the regions that change most do so, ``(moments,)``: the mean over the `TOP` of them.

    Args:
        change: ``(moments, regions, 2)``: bumps or steps.
        unit: `noise`, for an answer in standard deviations; 1 for one in IOD.
    """
    strength = np.linalg.norm(change / unit, axis=-1)
    return np.asarray(np.sort(strength, axis=1)[:, -TOP:].mean(axis=1), np.float32)


def along(place: Array, change: Array, unit: Array) -> Array:
    """Displacement along the direction of a change, ``(moments,)`` IOD.

    The regions that change most (at least half as much as the foremost one) are added up with the
    weights of a matched filter: signal over variance.

    Args:
        place: ``(moments, regions, 2)``.
        change: ``(regions, 2)``: a bump or a step at one moment.
        unit: `noise`.
    """
    strength = np.linalg.norm(change / unit, axis=1)
    moving = (strength >= 0.5 * strength.max())[:, None]
    weight = np.where(moving, change / unit**2, 0)
    length = max(float(np.linalg.norm(weight, axis=1).sum()), 1e-12)
    return np.asarray(np.einsum("trc,rc->t", place, weight) / length, np.float32)


def _named(*landmarks: str) -> NDArray[np.intp]:
    return np.flatnonzero([region.landmark in landmarks for region in REGIONS])


def _blinks(bump: Array, fps: float) -> Mask:
    """Moments in or near a blink: both upper lids sink, and more than the brows above them."""
    lids = bump[:, _named("lid_upper"), 1]
    brows = bump[:, _named("brow_inner", "brow_middle"), 1].mean(axis=1)
    sunk = (lids.min(axis=1) > BLINK) & (lids.mean(axis=1) > OVER_BROWS * brows)
    reach = round(AROUND_BLINK * fps)
    return np.convolve(sunk, np.ones(2 * reach + 1))[reach : reach + len(sunk)] > 0.5


def _passed(place: Array, blinking: Mask) -> Array:
    """Regions near the eyes drawn straight from before each blink to after it."""
    near, place = near_eyes(), place.copy()
    for first, stop in runs(blinking):
        if stop - first == len(place):
            break
        after = place[stop if stop < len(place) else first - 1, near]
        before = place[first - 1, near] if first else after
        share = np.linspace(0, 1, stop - first + 2, dtype=np.float32)[1:-1, None, None]
        place[first:stop, near] = (1 - share) * before + share * after
    return place


def _smoothed(series: Array, spread: float) -> Array:
    """A Gaussian over the first axis, `spread` in rows; the first and last rows are repeated."""
    reach = int(np.ceil(3 * spread))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / spread) ** 2)
    padded = np.pad(series, ((reach, reach), (0, 0), (0, 0)), "edge")
    total = np.zeros(series.shape, np.float32)
    for shift, weight in enumerate(weights / weights.sum()):
        total += np.float32(weight) * padded[shift : shift + len(series)]
    return total


def _slow(series: Array, fps: float) -> Array:
    """The running median over `SLOW` seconds, from samples at `SLOW_RATE`, linear between them."""
    every = max(1, round(fps / SLOW_RATE))
    at = np.arange(0, len(series), every)
    half = max(1, round(SLOW * fps / every / 2))
    padded = np.pad(series[at], ((half, half), (0, 0), (0, 0)), "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=0)
    sampled = np.stack([np.median(window, axis=-1) for window in windows])
    position = np.minimum(np.arange(len(series)) / every, len(at) - 1)
    low = np.floor(position).astype(int)
    share = (position - low).astype(np.float32)[:, None, None]
    high = np.minimum(low + 1, len(at) - 1)
    return np.asarray((1 - share) * sampled[low] + share * sampled[high], np.float32)


def _steps(place: Array, fps: float) -> Array:
    """Place half a `STEP` later less place half a `STEP` before, or at the nearest end."""
    half = max(1, round(STEP * fps / 2))
    at = np.arange(len(place))
    return place[np.minimum(at + half, len(place) - 1)] - place[np.maximum(at - half, 0)]
