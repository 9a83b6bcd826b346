"""What a person corrects by hand: onset, apex, offset and emotion; movements added and removed.

A movement whose frames were changed is read again from the recording: closer look, ten readings,
regions, action units, quality. What was given by hand is told in every export.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from microexpr.analysis import Analysis, Finding, KeyFrames, key_frames, read_movement
from microexpr.analysis.reading import AGREEMENT, Reading
from microexpr.app.movement import draw_movement
from microexpr.app.record import Record
from microexpr.errors import UserError

LONGEST_NAME = 60  # letters of an emotion that a person names
MOST = 1000  # movements of one recording


@dataclass(frozen=True, slots=True)
class Given:
    """What a person says about a movement.

    Attributes:
        onset: Seconds from the first frame, as are apex and offset; the nearest frames are taken.
        apex: After the onset.
        offset: Not before the apex.
        emotion: In their words; empty: none is to be named; None: as the model reads it.
    """

    onset: float
    apex: float
    offset: float
    emotion: str | None = None


def correct(record: Record, at: int, given: Given, model: Path | None = None) -> tuple[Record, int]:
    """Corrects a movement; it is read again if its frames are others than before.

    Args:
        record: The analysis.
        at: Index of the movement.
        given: What is true of it.
        model: Checkpoint of the analysis; None for the default one.

    Returns:
        The corrected analysis, and where the movement now stands in the order of time.

    Raises:
        UserError: No such movement, frames not in their order, or no face at the onset.
    """
    old = _movement(record, at)
    analysis, frames = record.analysis, _frames(record.analysis, given)
    event = old.event
    before = {"onset": event.onset, "apex": event.apex, "offset": event.offset}
    now = {"onset": frames.onset, "apex": frames.apex, "offset": frames.offset}
    moved = {name for name in now if now[name] != before[name]}
    new = read_movement(analysis, frames, model) if moved else old
    new = _named(new, given.emotion, analysis.confidence)
    hand = (moved | set(old.by_hand)) - {"emotion"} | ({"emotion"} & set(new.by_hand))
    new = replace(new, by_hand=_ordered(hand))
    drawn = draw_movement(analysis, new) if moved or not record.drawn[at] else record.drawn[at]
    return _placed(_without(record, at), new, drawn)


def add(record: Record, given: Given, model: Path | None = None) -> tuple[Record, int]:
    """Adds a movement that was not found; arguments and errors as in `correct`."""
    if len(record.drawn) >= MOST:
        raise UserError(f"a recording holds at most {MOST} movements here")
    new = read_movement(record.analysis, _frames(record.analysis, given), model)
    new = _named(new, given.emotion, record.analysis.confidence)
    new = replace(new, by_hand=_ordered({"movement", *new.by_hand}))
    return _placed(record, new, draw_movement(record.analysis, new))


def remove(record: Record, at: int) -> Record:
    """Removes a movement.

    Raises:
        UserError: No such movement.
    """
    found = "movement" not in _movement(record, at).by_hand
    return replace(_without(record, at), removed=record.removed + found)


def in_words(record: Record) -> str:
    """What was done by hand, in one line; empty where nothing was."""
    findings = record.analysis.findings
    added = sum("movement" in finding.by_hand for finding in findings)
    corrected = sum(bool(finding.by_hand) for finding in findings) - added
    counts = {"corrected": corrected, "added": added, "removed": record.removed}
    done = [f"{number} {what}" for what, number in counts.items() if number]
    return f"by hand: {', '.join(done)}" if done else ""


def _movement(record: Record, at: int) -> Finding:
    if not 0 <= at < len(record.drawn):
        raise UserError("there is no such movement; choose one from the list")
    return record.analysis.findings[at]


def _frames(analysis: Analysis, given: Given) -> KeyFrames:
    """The nearest frames.

    Raises:
        UserError: Beyond the recording, or not in their order.
    """
    video, moments = analysis.video, (given.onset, given.apex, given.offset)
    if not all(-1e-3 <= moment <= video.duration for moment in moments):
        raise UserError(f"onset, apex and offset lie between 0 and {video.duration:.3f} s")
    if not given.onset < given.apex <= given.offset:
        raise UserError("the onset must come before the apex, and the offset not before the apex")
    onset, apex, offset = (
        int(video.numbers[np.abs(video.times - moment).argmin()]) for moment in moments
    )
    if onset == apex:
        raise UserError("onset and apex are the same frame; they must be one apart at least")
    key_frames(onset, apex, offset)
    return KeyFrames(onset, apex, offset)


def _named(finding: Finding, emotion: str | None, confidence: float) -> Finding:
    """The movement with the emotion that a person names, or again with the model's own."""
    reading = finding.reading
    if reading is None:
        if emotion is None:
            return finding
        raise UserError("no face is to be seen at the onset; set the onset to where it is seen")
    if emotion is None:
        own = replace(reading, emotion=_own_choice(reading, confidence))
        return replace(finding, reading=own, by_hand=_ordered({*finding.by_hand} - {"emotion"}))
    plain = "".join(letter if letter.isprintable() else " " for letter in emotion)
    plain = " ".join(plain.split())[:LONGEST_NAME]
    named = replace(reading, emotion=plain or None)
    return replace(finding, reading=named, by_hand=_ordered({*finding.by_hand, "emotion"}))


def _own_choice(reading: Reading, confidence: float) -> str | None:
    """What the model names, from its probabilities; see `microexpr.analysis.reading.combine`."""
    best, label = max(zip(reading.probabilities, reading.labels, strict=True))
    return label if best >= confidence and reading.agreement >= AGREEMENT else None


def _ordered(hand: set[str]) -> tuple[str, ...]:
    order = ("movement", "onset", "apex", "offset", "emotion")
    if "movement" in hand:  # an added one is given by hand as a whole
        hand = hand & {"movement", "emotion"}
    return tuple(name for name in order if name in hand)


def _without(record: Record, at: int) -> Record:
    analysis = record.analysis
    kept = analysis.findings[:at] + analysis.findings[at + 1 :]
    drawn = record.drawn[:at] + record.drawn[at + 1 :]
    return replace(record, analysis=replace(analysis, findings=kept), drawn=drawn)


def _placed(record: Record, new: Finding, drawn: str) -> tuple[Record, int]:
    """With one movement more, where its onset puts it."""
    analysis = record.analysis
    at = sum(finding.event.onset <= new.event.onset for finding in analysis.findings)
    findings = (*analysis.findings[:at], new, *analysis.findings[at:])
    pictures = (*record.drawn[:at], drawn, *record.drawn[at:])
    placed = replace(record, analysis=replace(analysis, findings=findings), drawn=pictures)
    return placed, at
