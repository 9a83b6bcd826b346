"""What happens in a film, and when: movements of a face, blinks, the head's drift, light and noise.

A script is a value. Everything in it is a function of time in seconds, so the same script makes the
same film at any frame rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from microexpr.anatomy import EMOTIONS, ONE_SIDED, UNITS
from microexpr.clip import Clip
from microexpr.errors import UserError, suggest
from microexpr.labels import LabelScheme

Times = NDArray[np.float64]

WAVES = 5  # sine waves that a slow random path is made of
SLOWEST, FASTEST = 0.05, 0.6  # Hz, of the head; light goes three times as fast
TURN, ZOOM = 0.3, 0.0025  # degrees and parts of size that go with one % of drift
MAINS = 100.3  # Hz: lamps on 50 Hz mains, seen by a clock that is a little off
CLOSING, OPENING = (0.06, 0.12), (0.12, 0.25)  # seconds of a blink


@dataclass(frozen=True, slots=True)
class Movement:
    """A facial movement: nothing at its onset, greatest at its apex, gone at its offset.

    Attributes:
        emotion: What it stands for.
        units: Action units as FACS writes them: ``"12"``, or ``"L14"``, ``"R14"`` on one side (the
            person's own: L is on the right of the picture).
        onset: Seconds from the first frame.
        apex: Likewise.
        offset: Likewise.
        peak: Displacement at the apex of the skin that moves most, in % of the distance between
            the eyes.

    Raises:
        UserError: Times out of order, no unit or an unknown one, or a peak that is not positive.
    """

    emotion: str
    units: tuple[str, ...]
    onset: float
    apex: float
    offset: float
    peak: float

    def __post_init__(self) -> None:
        if not 0 <= self.onset < self.apex < self.offset:
            times = f"{self.onset:g}, {self.apex:g}, {self.offset:g}"
            raise UserError(f"onset, apex and offset must follow each other from 0, got {times}")
        if not self.units or not self.peak > 0:
            raise UserError("a movement needs an action unit and a peak above 0")
        for unit in self.units:
            if unit.lstrip("LR") not in UNITS:
                raise UserError(f"unknown action unit '{unit}': {suggest(unit, UNITS)}")


@dataclass(frozen=True, slots=True)
class Blink:
    """Both lids close and open; seconds from the first frame.

    Raises:
        UserError: Times out of order.
    """

    onset: float
    closed: float
    offset: float

    def __post_init__(self) -> None:
        if not 0 <= self.onset < self.closed < self.offset:
            times = f"{self.onset:g}, {self.closed:g}, {self.offset:g}"
            raise UserError(f"a blink's onset, closed, offset must follow each other, got {times}")


@dataclass(frozen=True, slots=True)
class Script:
    """A film before it is shot.

    Attributes:
        fps: Frames per second.
        seconds: Its length.
        events: The facial movements.
        blinks: The blinks.
        drift: How far the head gets from where it began, at the most, in % of the distance between
            the eyes; it turns and comes nearer in proportion.
        flicker: Amplitude of the light's changes, % of its brightness.
        noise: Standard deviation of the sensor's noise, grey levels of 255.
        crf: Constant rate factor of H.264: 0 without loss, 18 visually so, 23 the usual, 51 worst.
        seed: Of the head's path, the light and the noise.
        width: Pixels.
        height: Pixels.
        eyes: Distance between the eyes, pixels.

    Raises:
        UserError: A number that makes no film; the message says which.
    """

    fps: float = 200.0
    seconds: float = 10.0
    events: tuple[Movement, ...] = ()
    blinks: tuple[Blink, ...] = ()
    drift: float = 3.0
    flicker: float = 1.0
    noise: float = 2.0
    crf: int = 23
    seed: int = 0
    width: int = 640
    height: int = 480
    eyes: float = 90.0

    def __post_init__(self) -> None:
        for name in ("fps", "seconds", "eyes"):
            if not 0 < getattr(self, name) < 1e6:
                raise UserError(f"{name} of a film must be positive, got {getattr(self, name)}")
        for name in ("drift", "flicker", "noise", "crf", "seed"):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name} of a film must not be below 0, got {getattr(self, name)}")
        if min(self.width, self.height) < 16 or self.crf > 51:
            raise UserError("a film needs at least 16x16 pixels and a crf of at most 51")
        parts: tuple[Movement | Blink, ...] = (*self.events, *self.blinks)
        late = max((part.offset for part in parts), default=0.0)
        if late > self.seconds:
            raise UserError(f"an event ends at {late:g} s, after the film of {self.seconds:g} s")

    @property
    def frames(self) -> int:
        """How many frames it has; at least one."""
        return max(1, round(self.seconds * self.fps))


class Head(NamedTuple):
    """Where the head is over time, ``(times,)`` each.

    Attributes:
        x: To the right of where it began, in distances between the eyes.
        y: Downwards, likewise.
        turn: Clockwise in the picture, radians.
        zoom: Its size over that at the beginning.
    """

    x: Times
    y: Times
    turn: Times
    zoom: Times


def write_script(
    seed: int,
    fps: float = 200.0,
    seconds: float = 10.0,
    events: int = 3,
    peak: tuple[float, float] = (0.5, 2.0),
    lasting: tuple[float, float] = (0.2, 0.5),
    blinks_per_minute: float = 15.0,
    drift: float = 3.0,
    noise: float = 2.0,
    crf: int = 23,
    emotions: Sequence[str] = tuple(EMOTIONS),
) -> Script:
    """A random script: micro-expressions of random emotions, spread evenly, and blinks anywhere.

    Args:
        seed: Decides everything that is random, in the film too; nothing of it depends on `fps`.
        fps: Frames per second.
        seconds: Length of the film.
        events: How many movements.
        peak: Range of their displacement at the apex, % of the distance between the eyes.
        lasting: Range of their duration, seconds.
        blinks_per_minute: At least that many.
        drift: See `Script`.
        noise: See `Script`.
        crf: See `Script`.
        emotions: Keys of `microexpr.anatomy.EMOTIONS` to choose from; each is as likely.

    Raises:
        UserError: An unknown emotion, or a film too short for so many events or blinks.
    """
    for emotion in emotions:
        if emotion not in EMOTIONS:
            raise UserError(f"unknown emotion '{emotion}': {suggest(emotion, EMOTIONS)}")
    rng = np.random.default_rng([seed, 1])
    room = seconds / events if events else seconds
    if room < lasting[1] + 0.1:
        raise UserError(f"{seconds:g} s are too short for {events} events of {lasting[1]:g} s")
    movements = []
    for number in range(events):
        length = rng.uniform(*lasting)
        onset = number * room + rng.uniform(0.05, room - length - 0.05)
        emotion = emotions[int(rng.integers(len(emotions)))]
        apex, offset = onset + length * rng.uniform(0.35, 0.6), onset + length
        movements.append(
            Movement(emotion, _mix(rng, emotion), onset, apex, offset, rng.uniform(*peak))
        )
    count = int(np.ceil(blinks_per_minute * seconds / 60))
    return Script(
        fps=fps,
        seconds=seconds,
        events=tuple(movements),
        blinks=_blinks(np.random.default_rng([seed, 2]), count, seconds),
        drift=drift,
        noise=noise,
        crf=crf,
        seed=seed,
    )


def emotions_of(scheme: LabelScheme, label: str) -> tuple[str, ...]:
    """The emotions of `microexpr.anatomy.EMOTIONS` that a label scheme calls by this label.

    >>> from microexpr.labels import label_scheme
    >>> emotions_of(label_scheme("megc3"), "negative")
    ('anger', 'contempt', 'disgust', 'fear', 'sadness')
    """
    clips = (Clip("synthetic", "anyone", emotion, emotion) for emotion in EMOTIONS)
    return tuple(clip.emotion for clip in clips if scheme(clip) == label)


def _mix(rng: np.random.Generator, emotion: str) -> tuple[str, ...]:
    """Action units that show an emotion, some of them on one side."""
    mixes = EMOTIONS[emotion]
    weights = np.array([mix.weight for mix in mixes], np.float64)
    units = mixes[rng.choice(len(mixes), p=weights / weights.sum())].units
    sides = [rng.random() < ONE_SIDED.get(unit, 0) for unit in units]
    which = "LR"[rng.integers(2)]
    return tuple(which + unit if side else unit for unit, side in zip(units, sides, strict=True))


def _blinks(rng: np.random.Generator, count: int, seconds: float) -> tuple[Blink, ...]:
    """Blinks that do not overlap: each falls somewhere in its own share of the film."""
    room = seconds / count if count else 0.0
    longest = CLOSING[1] + OPENING[1]
    if count and room < longest:
        raise UserError(f"{seconds:g} s are too short for {count} blinks")
    found = []
    for number in range(count):
        onset = number * room + rng.uniform(0, room - longest)
        closed = onset + rng.uniform(*CLOSING)
        found.append(Blink(onset, closed, closed + rng.uniform(*OPENING)))
    return tuple(found)


def course(times: Times, onset: float, apex: float, offset: float) -> Times:
    """How far a movement has come: 0 up to the onset, 1 at the apex, 0 from the offset on.

    It sets out, turns and ends with zero speed (``3z^2 - 2z^3`` on either side).

    >>> course(np.array([0.0, 0.1, 0.15, 0.2, 0.3]), 0.1, 0.2, 0.3).round(9).tolist()
    [0.0, 0.0, 0.5, 1.0, 0.0]
    """
    rise = np.clip((times - onset) / (apex - onset), 0, 1)
    fall = np.clip((offset - times) / (offset - apex), 0, 1)
    part = np.minimum(rise, fall)
    return np.asarray(part * part * (3 - 2 * part))


def closure(script: Script, times: Times) -> Times:
    """How far the lids are closed, 0..1."""
    shut = np.zeros(len(times))
    for blink in script.blinks:
        shut = np.maximum(shut, course(times, blink.onset, blink.closed, blink.offset))
    return shut


def head(script: Script, times: Times) -> Head:
    """Where the head is; at time 0 it is where the portrait shows it.

    Its greatest distance from there, on a grid of a hundredth of a second, is `Script.drift`.
    """
    rng = np.random.default_rng([script.seed, 3])
    waves = [_waves(rng, SLOWEST, FASTEST) for _ in range(4)]
    grid = np.linspace(0, script.seconds, max(2, round(100 * script.seconds)))
    start = [_sum(w, np.zeros(1)) for w in waves]
    along = [_sum(w, grid) - first for w, first in zip(waves, start, strict=True)]
    reach = max(float(np.hypot(along[0], along[1]).max()), 1e-9)
    x, y, turn, zoom = (_sum(w, times) - first for w, first in zip(waves, start, strict=True))
    size = script.drift / 100 / reach
    degrees = TURN * script.drift / max(float(np.abs(along[2]).max()), 1e-9)
    nearer = ZOOM * script.drift / max(float(np.abs(along[3]).max()), 1e-9)
    return Head(x * size, y * size, np.radians(turn * degrees), 1 + zoom * nearer)


def light(script: Script, times: Times) -> Times:
    """Brightness over time, 1 in the middle: slow changes and the mains' flicker."""
    rng = np.random.default_rng([script.seed, 4])
    slow = _sum(_waves(rng, 3 * SLOWEST, 3 * FASTEST), times)
    mains = np.sin(2 * np.pi * MAINS * times + rng.uniform(0, 2 * np.pi))
    return np.asarray(1 + script.flicker / 100 * (0.7 * slow + 0.3 * mains))


def _waves(rng: np.random.Generator, low: float, high: float) -> NDArray[np.float64]:
    """Frequency, amplitude and phase of `WAVES` sine waves, ``(3, WAVES)``; amplitudes sum to 1."""
    frequency = np.exp(rng.uniform(np.log(low), np.log(high), WAVES))
    amplitude = rng.uniform(0.5, 1, WAVES) / np.sqrt(frequency)
    return np.stack([frequency, amplitude / amplitude.sum(), rng.uniform(0, 2 * np.pi, WAVES)])


def _sum(waves: NDArray[np.float64], times: Times) -> Times:
    frequency, amplitude, phase = waves[:, :, None]
    return np.asarray((amplitude * np.sin(2 * np.pi * frequency * times + phase)).sum(axis=0))
