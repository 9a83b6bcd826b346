"""A model's reading of one movement, its spread, and when it abstains."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from microexpr.inputs import Input
from microexpr.preprocess.closeup import Closeup, model_input
from microexpr.training.checkpoint import Checkpoint
from microexpr.training.default import CONFIDENCE

AGREEMENT = 0.7  # share of the readings that must agree on it
LEAST_SHOWN = 0.1  # probability of an action unit below which it is in report.json alone

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Reading:
    """What the model makes of a movement, read ten times.

    Onset and apex are moved by a hundredth of a second (at least a frame), one at a time, and each
    of the five pairs is read as it is and mirrored. The spread tells how much the answer hangs on
    where exactly the movement begins and peaks; it is no interval of confidence.

    Attributes:
        labels: The model's classes.
        probabilities: Mean over the readings.
        lowest: Smallest of the readings.
        highest: Largest.
        agreement: Share of the readings whose first choice is that of the mean.
        emotion: The first choice; None where the model abstains.
        units: Action units, each with the mean probability that it is active; empty where the model
            has none.
    """

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    agreement: float
    emotion: str | None
    units: tuple[tuple[str, float], ...] = ()

    def likely_units(self) -> list[tuple[str, float]]:
        """The units with a probability of `LEAST_SHOWN` or more, the likeliest first.

        >>> units = ("1", 0.2), ("6", 0.05), ("12", 0.9)
        >>> Reading((), (), (), (), 1.0, None, units).likely_units()
        [('12', 0.9), ('1', 0.2)]
        """
        likely = [(unit, p) for unit, p in self.units if p >= LEAST_SHOWN]
        return sorted(likely, key=lambda pair: -pair[1])


def read_emotion(
    seen: Closeup, checkpoint: Checkpoint, confidence: float = CONFIDENCE, step: int = 1
) -> Reading:
    """Reads the emotion of one movement ten times, see `Reading`.

    Args:
        seen: From `closeup`, with `step` frames beside onset and apex.
        checkpoint: The model and its classes.
        confidence: Mean probability below which the model abstains.
        step: Frames by which onset and apex are moved.
    """
    wants, start, top = checkpoint.model.eats, seen.onset, seen.apex

    def beside(at: int, by: int) -> int:
        return int(np.abs(seen.numbers - (seen.numbers[at] + by)).argmin())

    pairs = [(start, top)]
    pairs += [(beside(start, by), top) for by in (-step, step)]
    pairs += [(start, beside(top, by)) for by in (-step, step)]
    planes = [model_input(seen, wants, a, b) if a < b else None for a, b in pairs]
    kept = np.stack([plane for plane in planes if plane is not None])
    both = torch.from_numpy(np.concatenate([kept, mirrored(kept, wants)]))
    model = checkpoint.model
    with torch.no_grad():
        _, probabilities = model.predict(both)
        active = model.unit_probabilities(both).mean(dim=0)
    reading = combine(probabilities.numpy().astype(np.float64), checkpoint.labels, confidence)
    units = zip(model.units, active.tolist(), strict=True)
    return replace(reading, units=tuple((unit, round(p, 4)) for unit, p in units))


def mirrored(planes: Array, wants: Input) -> Array:
    """Model inputs of the mirrored face: the picture turned round and u negated.

    Args:
        planes: ``(..., channels, size, size)``.
        wants: What they are; in ``minmax8`` u is mirrored within 0..255.
    """
    turned = planes[..., ::-1].copy()
    if "u" in wants.channels:
        u = wants.channels.index("u")
        zero = 255 if wants.normalisation == "minmax8" else 0
        turned[..., u, :, :] = zero - turned[..., u, :, :]
    return turned


def combine(
    probabilities: NDArray[np.float64], labels: tuple[str, ...], confidence: float
) -> Reading:
    """Several readings of one movement made into one.

    Args:
        probabilities: ``(readings, classes)``.
        labels: The classes.
        confidence: Mean probability below which no emotion is named.

    >>> sure = np.array([[0.9, 0.1], [0.8, 0.2]])
    >>> combine(sure, ("negative", "positive"), 0.6).emotion
    'negative'
    >>> combine(sure, ("negative", "positive"), 0.9).emotion is None
    True
    """
    mean = probabilities.mean(axis=0)
    first = int(mean.argmax())
    agreement = float((probabilities.argmax(axis=1) == first).mean())
    named = mean[first] >= confidence and agreement >= AGREEMENT
    return Reading(
        labels=labels,
        probabilities=tuple(mean.round(4).tolist()),
        lowest=tuple(probabilities.min(axis=0).round(4).tolist()),
        highest=tuple(probabilities.max(axis=0).round(4).tolist()),
        agreement=round(agreement, 3),
        emotion=labels[first] if named else None,
    )
