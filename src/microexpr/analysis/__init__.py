"""A video in; its facial movements and, where the model is sure enough, their emotion out.

The road: face points (`preprocess.track`), motion of the regions, spotting, and for each movement a
closer look: flow from onset to apex, the model's reading of it, the regions that moved, the action
units that this suggests, and how well all of it could be seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from microexpr.analysis.reading import Reading, read_emotion
from microexpr.errors import UserError
from microexpr.preprocess.align import FACE, grey
from microexpr.preprocess.apex import apex as find_apex
from microexpr.preprocess.closeup import (
    Closeup,
    closeup,
    own_flow,
    region_shift,
)
from microexpr.preprocess.curves import runs
from microexpr.preprocess.face import load_face_models
from microexpr.preprocess.motion import REGIONS, Motion, motion
from microexpr.preprocess.spot import (
    LONGEST_MICRO,
    RATE_ADVISED,
    RATE_NEEDED,
    Event,
    Spotting,
    spot,
)
from microexpr.preprocess.track import Track, points_at, track
from microexpr.preprocess.units import Suggestion, most_active, region_name, suggest_units
from microexpr.training.checkpoint import Checkpoint
from microexpr.training.default import ModelCard
from microexpr.training.pretrained import Pretrained, load_pretrained
from microexpr.video import VideoInfo, open_video

STEP = 0.01  # seconds by which onset and apex are moved for the further readings
MOST_TURNED = 20.0  # degrees of yaw or pitch beyond which the face is seen too much from the side
SMALLEST_EYES = 40.0  # pixels between the eyes below which details are lost
BLURRED = 20.0  # variance of the Laplacian, see `Track.blur`
MOST_ACTIVE = 5  # regions that are told, and whose mean is the displacement of a given movement
DARK, BRIGHT = 50.0, 205.0  # mean grey of the face

Array = NDArray[np.float32]
Watch = Callable[[str, int, int], None]
Model = str | Path | Pretrained | None  # what `load_pretrained` takes, or gives


@dataclass(frozen=True, slots=True)
class KeyFrames:
    """Known frames of one movement; with them nothing is spotted.

    Attributes:
        onset: Frame number.
        apex: Frame number; None: found between onset and offset.
        offset: Frame number; None: the apex.
    """

    onset: int
    apex: int | None = None
    offset: int | None = None


def key_frames(onset: int | None, apex: int | None, offset: int | None) -> KeyFrames | None:
    """Key frames as a user gives them; None if none was given.

    Raises:
        UserError: An apex or offset without an onset, an onset alone, or not in their order.
    """
    if onset is None and apex is None and offset is None:
        return None
    if onset is None or (apex is None and offset is None):
        raise UserError("known key frames are --onset with --apex, --offset or both")
    order = [frame for frame in (onset, apex, offset) if frame is not None]
    if onset >= order[1] or order != sorted(order):
        raise UserError(f"need onset < apex <= offset, got {', '.join(map(str, order))}")
    return KeyFrames(onset, apex, offset)


@dataclass(frozen=True, slots=True)
class RegionMotion:
    """How far one region moved, in hundredths of the distance between the eyes."""

    name: str
    right: float
    down: float


@dataclass(frozen=True, slots=True)
class Finding:
    """A movement and all that is said about it.

    Attributes:
        event: When, how far, how sure.
        reading: The model's; None where the face could not be seen at its onset.
        quality: ``"good"``, ``"fair"`` (one thing in the way) or ``"poor"``.
        problems: What was in the way, one line each.
        regions: The five that moved most.
        units: Action units suggested.
        by_hand: What a person gave, not the program: of ``"movement"``, ``"onset"``, ``"apex"``,
            ``"offset"`` and ``"emotion"``.
    """

    event: Event
    reading: Reading | None
    quality: str
    problems: tuple[str, ...]
    regions: tuple[RegionMotion, ...]
    units: tuple[Suggestion, ...]
    by_hand: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """All that was found in a recording.

    Attributes:
        video: The recording.
        track: The face in it.
        spotting: Activity, blinks, stretches not analysed, warnings.
        findings: The movements in order of time.
        card: The model.
        labels: Its classes.
        confidence: Below it no emotion is named.
        given: Whether the key frames were given, not spotted.
    """

    video: VideoInfo
    track: Track
    spotting: Spotting
    findings: tuple[Finding, ...]
    card: ModelCard
    labels: tuple[str, ...]
    confidence: float
    given: bool

    @property
    def face_seen(self) -> bool:
        """Whether there was a face in any frame."""
        return bool((~np.isnan(self.track.size)).any())


def analyze(
    path: Path | str,
    *,
    model: Model = None,
    face: int = 0,
    key_frames: KeyFrames | None = None,
    confidence: float | None = None,
    fps: float | None = None,
    watch: Watch = lambda what, done, of: None,
) -> Analysis:
    """Analyses one recording.

    Args:
        path: A video, an animation, or a folder of frames.
        model: Any name of `load_pretrained`, or what it gave; None for the default one.
        face: Which of several faces, the largest being 0.
        key_frames: Of the one movement that is there, if they are known.
        confidence: Mean probability below which no emotion is named, 0..1; None: the model's own.
        fps: Frame rate of a folder of frames; overrules that of a file.
        watch: Called with (what, done, of).

    Returns:
        Without events where no face was seen; `Analysis.face_seen` tells.

    Raises:
        UserError: The recording or the checkpoint cannot be read, has one frame or fewer than 12 a
            second, or the key frames do not fit.
    """
    if confidence is not None and not 0 <= confidence <= 1:
        raise UserError(f"the confidence must lie between 0 and 1, got {confidence}")
    video = open_video(path, fps)
    if video.frames < 2:
        raise UserError(f"{video.path} has a single frame; a movement needs at least two")
    if video.fps is not None and video.fps < RATE_NEEDED:
        told = f"{video.fps:.3g} frames per second, too few to see a movement of half a second"
        raise UserError(f"{video.path} has {told}; at least {RATE_NEEDED:g} are needed")
    checkpoint, card = _model(model)
    confidence = card.confidence if confidence is None else confidence
    watch("steps", 0, 4)
    found = track(load_face_models(), video, face)
    watch("steps", 1, 4)
    moved = _motion(video, found)
    watch("steps", 2, 4)
    spotting = spot(moved, video.fps or 0.0)
    if key_frames is not None:
        event = _given(video, found, key_frames)
        events = () if event is None else (event,)
        # its warnings are about spotting; and a clip too short to spot in has its face all the same
        spotting = replace(spotting, events=events, lost=_faceless(video, found), warnings=())
    watch("steps", 3, 4)
    findings = tuple(
        _finding(video, found, spotting, event, checkpoint, confidence) for event in spotting.events
    )
    watch("steps", 4, 4)
    return Analysis(
        video=video,
        track=found,
        spotting=spotting,
        findings=findings,
        card=card,
        labels=checkpoint.labels,
        confidence=confidence,
        given=key_frames is not None,
    )


def read_movement(analysis: Analysis, frames: KeyFrames, model: Model = None) -> Finding:
    """Reads one more movement of a recording that was analysed, between frames that are known.

    Args:
        analysis: From `analyze`; its face points and blinks are used, nothing is tracked again.
        frames: Of the movement.
        model: Any name of `load_pretrained`, or what it gave; None for the default one.

    Raises:
        UserError: The key frames are not there or not in their order, or no face is at the onset.
    """
    key_frames(frames.onset, frames.apex, frames.offset)
    event = _given(analysis.video, analysis.track, frames)
    if event is None:
        raise UserError("no face is to be seen in this recording")
    checkpoint, _ = _model(model)
    return _finding(
        analysis.video,
        analysis.track,
        analysis.spotting,
        event,
        checkpoint,
        analysis.confidence,
    )


def _model(model: Model) -> tuple[Checkpoint, ModelCard]:
    found = model if isinstance(model, Pretrained) else load_pretrained(model)
    return found.checkpoint, found.card


def _motion(video: VideoInfo, found: Track) -> Motion:
    """The motion of the regions; all NaN, without reading the video again, where no face is."""
    if not np.isnan(found.size).all():
        return motion(video, found)
    shift = np.full((video.frames, len(REGIONS), 2), np.nan, np.float32)
    return Motion(video.times, video.numbers, shift, shift[:, 0])


def _given(video: VideoInfo, found: Track, frames: KeyFrames) -> Event | None:
    """The movement between known key frames; None where no face is seen in the whole recording."""
    ends = [frame for frame in (frames.apex, frames.offset) if frame is not None]
    if not ends:
        raise UserError("the key frames need an apex or an offset")
    if np.isnan(found.size).all():
        return None
    seen = closeup(video, found, frames.onset, ends[0], ends[-1])
    if frames.apex is None:
        views = np.stack([grey(face) for face in seen.faces])
        at = max(find_apex(views, seen.onset, seen.offset), seen.onset + 1)
        seen = replace(seen, apex=at)
    shift = region_shift(own_flow(seen.faces, seen.onset, seen.apex, "tvl1", FACE))
    return _known_event(seen, shift)


def _faceless(video: VideoInfo, found: Track) -> tuple[tuple[float, float], ...]:
    """Seconds ``(from, to)`` of each stretch without a face."""
    gone = np.array([points_at(found, float(time)) is None for time in video.times])
    frame = 1 / (video.fps or 1.0)
    return tuple((float(video.times[a]), float(video.times[b - 1]) + frame) for a, b in runs(gone))


def _known_event(seen: Closeup, shift: Array) -> Event:
    (onset, onset_time), (apex, apex_time), (offset, offset_time) = (
        (int(seen.numbers[i]), float(seen.times[i])) for i in (seen.onset, seen.apex, seen.offset)
    )
    return Event(
        kind="micro" if offset_time - onset_time <= LONGEST_MICRO else "macro",
        onset=onset,
        apex=apex,
        offset=offset,
        onset_time=onset_time,
        apex_time=apex_time,
        offset_time=offset_time,
        score=float("nan"),
        displacement=float(np.sort(np.linalg.norm(shift, axis=1))[-MOST_ACTIVE:].mean()),
        shift=shift,
    )


def _finding(
    video: VideoInfo,
    found: Track,
    spotting: Spotting,
    event: Event,
    checkpoint: Checkpoint,
    confidence: float,
) -> Finding:
    step = max(1, round(STEP * (video.fps or 0)))
    reading = None
    if points_at(found, event.onset_time) is not None:
        seen = closeup(video, found, event.onset, event.apex, event.offset, step)
        reading = read_emotion(seen, checkpoint, confidence, step)
    problems = _problems(video, found, spotting, event)
    regions = tuple(
        RegionMotion(
            region_name(REGIONS[i]),
            round(100 * float(event.shift[i, 0]), 2),
            round(100 * float(event.shift[i, 1]), 2),
        )
        for i in most_active(event.shift, MOST_ACTIVE)
    )
    return Finding(
        event=event,
        reading=reading,
        quality=("good", "fair", "poor")[min(len(problems), 2)],
        problems=problems,
        regions=regions,
        units=tuple(suggest_units(event.shift)),
    )


def _problems(video: VideoInfo, found: Track, spotting: Spotting, event: Event) -> tuple[str, ...]:
    """What stood in the way of seeing a movement well."""
    span = (found.times >= event.onset_time - 0.1) & (found.times <= event.offset_time + 0.1)
    turned = max(_typical(np.abs(found.yaw), span), _typical(np.abs(found.pitch), span))
    exposure = _typical(found.exposure, span, default=128.0)
    checks = {
        f"{video.fps or 0:.0f} frames per second are few": (video.fps or 0) < RATE_ADVISED,
        f"the face is turned by {turned:.0f} degrees": turned > MOST_TURNED,
        "the face is small": _typical(found.size, span, default=1e6) < SMALLEST_EYES,
        "the face is blurred": _typical(found.blur, span, default=1e6) < BLURRED,
        "the face is too dark": exposure < DARK,
        "the face is too bright": exposure > BRIGHT,
        "the eyes blink meanwhile": any(
            a < event.offset_time and event.onset_time < b for a, b in spotting.blinks
        ),
        "the recording or the sight of the face ends before the movement": not event.complete,
    }
    return tuple(problem for problem, there in checks.items() if there)


def _typical(values: Array, span: NDArray[np.bool_], default: float = 0.0) -> float:
    chosen = values[span & ~np.isnan(values)]
    return float(np.median(chosen)) if chosen.size else default
