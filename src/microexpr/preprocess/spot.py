"""Facial movements in a recording: when they begin, peak and end, and how sure one may be.

A movement is a bump in the displacement of several regions at once. What counts is how far it
stands out of the noise of this very recording, region by region. Durations decide the kind: 0.04
to 0.5 s is a micro-expression (Yan et al., 2013), longer is macro.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from microexpr.errors import UserError
from microexpr.preprocess.curves import (
    SLOW,
    STEP,
    Mask,
    Stretch,
    activity,
    along,
    near_eyes,
    noise,
    peaks,
    runs,
    stretch,
)
from microexpr.preprocess.motion import Motion
from microexpr.preprocess.outline import FLANK, Bump, outline

SHORTEST, LONGEST_MICRO = 0.04, 0.5  # seconds
THRESHOLD = 6.5  # activity, in standard deviations of the noise, from which a peak is an event
LEAST = 1.8e-3  # IOD: displacement below which nothing is a movement
LEAST_MACRO = 1e-2  # the same for one of a second or longer
SLOWEST = 4.0  # steps in which a macro-expression must have risen
AFTER_POSTURE = 0.5  # seconds around a change that does not return in which nothing is spotted
RATE_ADVISED, RATE_NEEDED = 60.0, 12.0  # frames a second

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Event:
    """A spotted movement.

    Attributes:
        kind: ``"micro"`` or ``"macro"``.
        onset: Frame number of its beginning.
        apex: Frame number of its peak.
        offset: Frame number of its end.
        onset_time: Seconds since the first frame.
        apex_time: Likewise.
        offset_time: Likewise.
        score: Activity at its peak, in standard deviations of the noise; at least `THRESHOLD`.
        displacement: Of the regions that moved, at the apex, IOD.
        shift: Float32 ``(regions, 2)``: displacement of each of `motion.REGIONS` from the zero
            around the event to its apex, right and down, IOD; those near the eyes are 0 in a blink.
        complete: False where the recording (or the sight of the face) ends before the movement.
    """

    kind: str
    onset: int
    apex: int
    offset: int
    onset_time: float
    apex_time: float
    offset_time: float
    score: float
    displacement: float
    shift: Array
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Spotting:
    """What was found in a recording, and what could not be looked at.

    Attributes:
        events: In order of time, without overlap.
        activity: Float32 ``(frames,)``: standard deviations of the noise; NaN where there was no
            face. A micro-expression peaks above the threshold.
        blinks: Seconds ``(from, to)`` of each blink.
        lost: Seconds ``(from, to)`` of each stretch that was not analysed.
        warnings: What limits the result, one line each.
    """

    events: tuple[Event, ...]
    activity: Array
    blinks: tuple[tuple[float, float], ...]
    lost: tuple[tuple[float, float], ...]
    warnings: tuple[str, ...]


def spot(motion: Motion, fps: float, threshold: float = THRESHOLD) -> Spotting:
    """Finds the movements of a face.

    Args:
        motion: From `microexpr.preprocess.motion.motion`.
        fps: Frames per second.
        threshold: Activity from which a peak is an event; higher finds fewer.

    Raises:
        UserError: Fewer than 12 frames per second, or a threshold that is not positive.
    """
    if fps < RATE_NEEDED:
        raise UserError(f"{fps:g} frames per second are too few to see a movement of half a second")
    if not threshold > 0:
        raise UserError(f"the threshold must be positive, got {threshold}")
    seen = ~np.isnan(motion.shift[:, 0, 0])
    stretches = [stretch(motion.shift[a:b], motion.times[a:b], a, fps) for a, b in runs(seen)]
    unit = noise(stretches)
    levels = np.full(len(seen), np.nan, np.float32)
    blinking = np.zeros(len(seen), bool)
    for part in stretches:
        levels[part.at] = activity(part.bump, unit)
        blinking[part.at] = part.blinking
    found = [event for part in stretches for event in _events(part, unit, threshold, motion)]
    lost = _seconds(np.isnan(levels), motion.times, fps)
    return Spotting(
        events=tuple(found),
        activity=levels,
        blinks=_seconds(blinking, motion.times, fps),
        lost=lost,
        warnings=_warnings(fps, sum(b - a for a, b in lost) * fps / max(len(seen), 1)),
    )


def _seconds(mask: Mask, times: NDArray[np.float64], fps: float) -> tuple[tuple[float, float], ...]:
    return tuple((float(times[a]), float(times[b - 1]) + 1 / fps) for a, b in runs(mask))


def _warnings(fps: float, lost: float) -> tuple[str, ...]:
    found = []
    if fps < RATE_ADVISED:
        found.append(
            f"at {fps:.0f} frames per second a movement of 0.1 s fills {fps / 10:.0f} frames; "
            "shorter ones cannot be told from noise (100 or more are advised)"
        )
    if lost > 0:
        found.append(f"{lost:.0%} of the recording was not analysed: no face to be seen")
    return tuple(found)


def _events(part: Stretch, unit: Array, threshold: float, motion: Motion) -> list[Event]:
    """The events of one stretch in order of time: long ones first, then short ones between."""
    busy = np.zeros(len(part.at), bool)
    events = []
    for bump, score in _long(part, unit, threshold, busy):
        events.append(_event("macro", part, bump, score, motion))
    for bump, score in _short(part, unit, threshold, busy):
        kind = "micro" if _is_short(bump, part.fps) else "macro"
        events.append(_event(kind, part, bump, score, motion))
    return sorted(events, key=lambda event: event.onset_time)


def _is_short(bump: Bump, fps: float) -> bool:
    """Whether it lasts no longer than a micro-expression, give or take a frame."""
    return bump.complete and (_length(bump) - 1) / fps <= LONGEST_MICRO


def _long(part: Stretch, unit: Array, threshold: float, busy: Mask) -> Iterator[tuple[Bump, float]]:
    """Macro-expressions: a step away from rest and, later, back.

    Marks in `busy` what they fill; and the surroundings of steps that neither come back nor bring
    back, which are changes of posture.
    """
    size, level = activity(part.step), activity(part.step, unit)
    half, around = round(STEP * part.fps / 2), round(AFTER_POSTURE * part.fps)
    for edge in peaks(size, 2 * half):
        if busy[edge] or size[edge] < LEAST_MACRO or level[edge] < threshold:
            continue
        curve = along(part.place, part.step[edge], unit)
        bump = _after(curve, edge, half, part.fps)
        back = _after(-curve[::-1], len(curve) - 1 - edge, half, part.fps)
        if back and back.complete and (not bump or _length(back) < _length(bump)):
            continue  # the end of a movement; what follows is rest
        if bump is None:
            busy[max(edge - around, 0) : edge + around] = True
        elif bump.height > SLOWEST * size[edge]:
            continue  # it rises elsewhere, and will be met there
        elif not _is_short(bump, part.fps) and bump.height >= LEAST_MACRO:
            busy[max(bump.onset - half, 0) : bump.offset + 2 * half] = True
            yield bump, float(level[edge])


def _length(bump: Bump) -> int:
    return bump.offset - bump.onset


def _after(curve: Array, edge: int, half: int, fps: float) -> Bump | None:
    """The bump that a step is the rise of. On a curve turned round: the one it is the fall of."""
    rest = (edge - half - round(FLANK * fps), edge - half + 1)
    return outline(curve, min(edge + half, len(curve) - 1), rest, fps)


def _short(
    part: Stretch, unit: Array, threshold: float, busy: Mask
) -> Iterator[tuple[Bump, float]]:
    """Bumps that stand out of the noise, the strongest first; marks in `busy` what they fill."""
    level = activity(part.bump, unit)
    for peak in sorted(peaks(level, round(FLANK * part.fps)), key=lambda i: -level[i]):
        if busy[peak] or level[peak] < threshold:
            continue
        curve = along(part.place, part.bump[peak], unit)
        quarter = round(0.25 * part.fps)
        rest = (peak - quarter - 2 * round(FLANK * part.fps), peak - quarter)
        bump = outline(curve, peak, rest, part.fps)
        if bump is None or busy[bump.onset : bump.offset + 1].any():
            continue
        long_enough = (_length(bump) + 1) / part.fps >= SHORTEST
        if long_enough and bump.height >= _least(bump, part.fps):
            busy[bump.onset : bump.offset + 1] = True
            yield bump, float(level[peak])


def _least(bump: Bump, fps: float) -> float:
    """The displacement below which a bump is no movement; the longer it lasts, the less sure."""
    seconds = (_length(bump) - 1) / fps if bump.complete else SLOW
    return float(np.interp(seconds, (LONGEST_MICRO, SLOW), (LEAST, LEAST_MACRO)))


def _event(kind: str, part: Stretch, bump: Bump, score: float, motion: Motion) -> Event:
    ends = part.place[bump.onset], part.place[bump.offset if bump.complete else bump.onset]
    shift = part.place[bump.apex] - (ends[0] + ends[1]) / 2
    if part.blinking[bump.apex]:
        shift[near_eyes()] = 0
    onset, apex, offset = (int(part.at[i]) for i in (bump.onset, bump.apex, bump.offset))
    return Event(
        kind=kind,
        onset=int(motion.numbers[onset]),
        apex=int(motion.numbers[apex]),
        offset=int(motion.numbers[offset]),
        onset_time=float(motion.times[onset]),
        apex_time=float(motion.times[apex]),
        offset_time=float(motion.times[offset]),
        score=score,
        displacement=bump.height,
        shift=shift,
        complete=bump.complete,
    )
