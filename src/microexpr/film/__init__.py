"""Synthetic micro-expression films from a portrait, with the truth about them.

A portrait is animated by the action units of `microexpr.anatomy`, blinks, drifts with the head, is
lit, photographed and compressed. What is known of it is written beside the film.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from microexpr.files import write_text
from microexpr.film.drawn import drawn_portrait
from microexpr.film.portrait import Portrait, find_astronaut, read_portrait
from microexpr.film.script import Blink, Movement, Script, head, write_script
from microexpr.film.warp import pictures, stage
from microexpr.video import Image
from microexpr.videowriter import write_video

__all__ = [
    "Blink",
    "Movement",
    "Portrait",
    "Script",
    "Truth",
    "default_portrait",
    "drawn_portrait",
    "film",
    "read_portrait",
    "shoot",
    "write_script",
]


@dataclass(frozen=True, slots=True)
class TrueEvent:
    """A movement in a film.

    Attributes:
        emotion: As in `Movement`.
        units: Likewise.
        onset: Number of the frame nearest to the onset, from 0.
        apex: Likewise.
        offset: Likewise.
        onset_time: Seconds from the first frame.
        apex_time: Likewise.
        offset_time: Likewise.
        peak: Displacement at the apex of the skin that moves most, % of the eyes' distance.
        peak_pixels: The same in pixels.
    """

    emotion: str
    units: tuple[str, ...]
    onset: int
    apex: int
    offset: int
    onset_time: float
    apex_time: float
    offset_time: float
    peak: float
    peak_pixels: float


@dataclass(frozen=True, slots=True)
class TrueBlink:
    """A blink in a film: numbers of the frames nearest to its onset, full closure and offset."""

    onset: int
    closed: int
    offset: int


@dataclass(frozen=True, slots=True)
class TrueHead:
    """The head's way through a film, one value a frame.

    Attributes:
        x: Pixels to the right of where it began.
        y: Pixels downwards.
        turn: Degrees clockwise.
        zoom: Its size over that at the beginning.
        reach: Its greatest distance from the beginning, % of the eyes' distance.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    turn: tuple[float, ...]
    zoom: tuple[float, ...]
    reach: float


@dataclass(frozen=True, slots=True)
class Truth:
    """What happens in a film; its JSON file has the same keys.

    Attributes:
        fps: Frames per second.
        frames: How many.
        eye_distance: Pixels between the eye centres.
        events: The movements in order of time.
        blinks: The blinks in order of time.
        head: The head's way.
        flicker: As in `Script`.
        noise: Likewise.
        crf: Likewise.
        seed: Likewise.
    """

    fps: float
    frames: int
    eye_distance: float
    events: tuple[TrueEvent, ...]
    blinks: tuple[TrueBlink, ...]
    head: TrueHead
    flicker: float
    noise: float
    crf: int
    seed: int


def default_portrait() -> Portrait:
    """The astronaut of scikit-image where it is installed (extra ``demo``), else a drawn face."""
    path = find_astronaut()
    return read_portrait(path) if path else drawn_portrait()


def shoot(portrait: Portrait, script: Script) -> Iterator[Image]:
    """The frames of a film before compression, uint8 RGB ``(height, width, 3)``, one at a time.

    The same portrait and script give the same frames; memory does not grow with the length.
    """
    return pictures(stage(portrait, script))


def film(portrait: Portrait, script: Script, path: Path | str) -> Truth:
    """Makes a film, and beside it a JSON file of the same name with what happens in it.

    Args:
        portrait: From `read_portrait`, `drawn_portrait` or `default_portrait`.
        script: From `write_script`, or written by hand.
        path: Ends in ``.mp4`` (H.264) or ``.gif``.

    Raises:
        UserError: Another suffix, or the file cannot be written.
    """
    path = Path(path)
    write_video(path, shoot(portrait, script), script.fps, script.crf)
    told = truth(script)
    write_text(json.dumps(asdict(told), indent=1) + "\n", path.with_suffix(".json"))
    return told


def truth(script: Script) -> Truth:
    """What a film made of this script shows."""
    last = script.frames - 1

    def frame(time: float) -> int:
        return min(round(time * script.fps), last)

    events = [
        TrueEvent(
            emotion=event.emotion,
            units=event.units,
            onset=frame(event.onset),
            apex=frame(event.apex),
            offset=frame(event.offset),
            onset_time=event.onset,
            apex_time=event.apex,
            offset_time=event.offset,
            peak=event.peak,
            peak_pixels=event.peak / 100 * script.eyes,
        )
        for event in sorted(script.events, key=lambda event: event.onset)
    ]
    blinks = [
        TrueBlink(frame(blink.onset), frame(blink.closed), frame(blink.offset))
        for blink in sorted(script.blinks, key=lambda blink: blink.onset)
    ]
    return Truth(
        fps=script.fps,
        frames=script.frames,
        eye_distance=script.eyes,
        events=tuple(events),
        blinks=tuple(blinks),
        head=_head(script),
        flicker=script.flicker,
        noise=script.noise,
        crf=script.crf,
        seed=script.seed,
    )


def _head(script: Script) -> TrueHead:
    way = head(script, np.arange(script.frames) / script.fps)
    rows = (way.x * script.eyes, way.y * script.eyes, np.degrees(way.turn), way.zoom)
    x, y, turn, zoom = (tuple(row.round(4).tolist()) for row in rows)
    return TrueHead(x, y, turn, zoom, round(100 * float(np.hypot(way.x, way.y).max()), 4))
