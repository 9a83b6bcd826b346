"""How well movements were spotted: intervals, apexes, and spotting followed by recognition.

The rules of the MEGC challenges (2020 to 2025): a prediction is right if its intersection with a
true interval is at least half of their union, one prediction to one truth; counts are pooled over
all videos, those without an event too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IOU = 0.5


@dataclass(frozen=True, slots=True)
class Interval:
    """A movement in a video, true or spotted.

    Attributes:
        onset: Number of its first frame.
        offset: Number of its last frame (it counts).
        apex: Number of the frame of its peak; None if unknown.
        label: Its class; None if unknown or not asked.
        score: How sure the spotter is; any unit.
    """

    onset: int
    offset: int
    apex: int | None = None
    label: int | None = None
    score: float = 1.0


@dataclass(frozen=True, slots=True)
class Pair:
    """A true interval and the prediction that found it, in the same video."""

    video: str
    truth: Interval
    predicted: Interval


@dataclass(frozen=True, slots=True)
class SpottingScore:
    """Counts and rates over all videos.

    Attributes:
        truths: True intervals.
        predictions: Spotted intervals.
        pairs: One-to-one matches; their number is that of the true positives.
        precision: 0 where nothing was spotted.
        recall: 0 where there was nothing to spot.
        f1: ``2 TP / (truths + predictions)``; 0 where both are 0.
    """

    truths: int
    predictions: int
    pairs: tuple[Pair, ...]
    precision: float
    recall: float
    f1: float


def iou(a: Interval, b: Interval) -> float:
    """Intersection over union of two intervals in frames, both ends included.

    >>> iou(Interval(0, 9), Interval(5, 14))
    0.3333333333333333
    """
    shared = min(a.offset, b.offset) - max(a.onset, b.onset) + 1
    if shared <= 0:
        return 0.0
    return shared / ((a.offset - a.onset + 1) + (b.offset - b.onset + 1) - shared)


def match(
    truths: Sequence[Interval], predictions: Sequence[Interval], least: float = IOU
) -> list[tuple[int, int]]:
    """The largest one-to-one matching of two lists of intervals of one video.

    Candidates are taken from the greatest overlap down, and exchanged (Kuhn's algorithm) where
    that lets one more truth be found.

    Returns:
        Pairs of indices ``(truth, prediction)`` in the order of the truths.
    """
    overlaps = [[iou(truth, prediction) for prediction in predictions] for truth in truths]
    reach = [_within(row, least) for row in overlaps]
    taken: dict[int, int] = {}

    def place(truth: int, tried: set[int]) -> bool:
        for prediction in reach[truth]:
            if prediction not in tried:
                tried.add(prediction)
                if prediction not in taken or place(taken[prediction], tried):
                    taken[prediction] = truth
                    return True
        return False

    for truth in sorted(range(len(truths)), key=lambda t: -max(overlaps[t], default=0.0)):
        place(truth, set())
    return sorted((truth, prediction) for prediction, truth in taken.items())


def _within(row: Sequence[float], least: float) -> list[int]:
    """Indices of the overlaps that suffice, the greatest first."""
    return sorted((i for i, overlap in enumerate(row) if overlap >= least), key=lambda i: -row[i])


def score_spotting(
    truths: Mapping[str, Sequence[Interval]],
    predictions: Mapping[str, Sequence[Interval]],
    least: float = IOU,
) -> SpottingScore:
    """Precision, recall and F1 pooled over all videos.

    Args:
        truths: True intervals by video; an empty list for a video without any.
        predictions: Spotted ones by video; a video that is missing here had none spotted.
        least: Intersection over union from which a prediction is right.

    Raises:
        ValueError: Predictions for a video that is not among the truths: leaving videos without
            events out of the truth would hide false alarms.
    """
    unknown = sorted(set(predictions) - set(truths))
    if unknown:
        raise ValueError(f"predictions for videos without truth (an empty list will do): {unknown}")
    pairs = [
        Pair(video, true[t], spotted[p])
        for video, true in truths.items()
        for spotted in [predictions.get(video, ())]
        for t, p in match(true, spotted, least)
    ]
    right = len(pairs)
    there = sum(map(len, truths.values()))
    found = sum(map(len, predictions.values()))
    return SpottingScore(
        there,
        found,
        tuple(pairs),
        right / found if found else 0.0,
        right / there if there else 0.0,
        2 * right / (there + found) if there + found else 0.0,
    )


def apex_errors(
    pairs: Sequence[Pair], fps: Mapping[str, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance of spotted from true apex over the matches that have both.

    Args:
        pairs: From `score_spotting`.
        fps: Frames per second by video.

    Returns:
        Float64 ``(n,)`` in frames, and the same in milliseconds; not negative.
    """
    both = [
        (abs(pair.truth.apex - pair.predicted.apex), fps[pair.video])
        for pair in pairs
        if pair.truth.apex is not None and pair.predicted.apex is not None
    ]
    frames = np.array([error for error, _ in both], np.float64)
    return frames, 1000 * frames / np.array([rate for _, rate in both], np.float64)


def apex_success(pairs: Sequence[Pair]) -> float:
    """Share of the matches whose spotted apex lies inside the true interval (ASR); nan if none."""
    inside = [
        pair.truth.onset <= pair.predicted.apex <= pair.truth.offset
        for pair in pairs
        if pair.predicted.apex is not None
    ]
    return float(np.mean(inside)) if inside else float("nan")


def average_precision(
    truths: Mapping[str, Sequence[Interval]],
    predictions: Mapping[str, Sequence[Interval]],
    least: Sequence[float] = tuple(np.arange(0.5, 1.0, 0.05).tolist()),
) -> float:
    """Area under precision over recall as the score falls, averaged over overlaps (COCO's AP).

    For each overlap, predictions of all videos are taken from the surest down, each given to the
    free truth that it overlaps most; precision is made monotonous and summed at every new recall.

    Returns:
        0..1; nan where there is nothing to spot.
    """
    if not sum(map(len, truths.values())):
        return float("nan")
    return float(np.mean([_average_precision(truths, predictions, bound) for bound in least]))


def _average_precision(
    truths: Mapping[str, Sequence[Interval]],
    predictions: Mapping[str, Sequence[Interval]],
    least: float,
) -> float:
    ranked = sorted(
        ((video, p) for video, spotted in predictions.items() for p in spotted),
        key=lambda item: -item[1].score,
    )
    free = {video: list(true) for video, true in truths.items()}
    right = np.zeros(len(ranked))
    for i, (video, prediction) in enumerate(ranked):
        left = free.get(video, [])
        overlaps = [iou(truth, prediction) for truth in left]
        if overlaps and max(overlaps) >= least - 1e-9:
            left.pop(int(np.argmax(overlaps)))
            right[i] = 1
    precision = np.cumsum(right) / np.arange(1, len(ranked) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((envelope * right).sum() / sum(map(len, truths.values())))


def recognition_f1(true: Sequence[int], predicted: Sequence[int]) -> float:
    """Harmonic mean of macro precision and macro recall (not the mean of the classes' F1).

    Over the classes that occur in truth or prediction; a class never predicted has precision 0,
    one never true has recall 0.

    >>> recognition_f1([0, 0, 1], [0, 1, 1])
    0.75
    """
    if len(true) != len(predicted):
        raise ValueError(f"as many predictions as truths, got {len(predicted)} and {len(true)}")
    a, b = np.asarray(true), np.asarray(predicted)
    classes = np.union1d(a, b)
    right = np.array([((a == c) & (b == c)).sum() for c in classes], np.float64)
    of_true = np.array([(a == c).sum() for c in classes])
    of_predicted = np.array([(b == c).sum() for c in classes])
    recall = (right / np.maximum(of_true, 1)).mean() if len(classes) else 0.0
    precision = (right / np.maximum(of_predicted, 1)).mean() if len(classes) else 0.0
    total = precision + recall
    return float(2 * precision * recall / total) if total else 0.0


def strs(f1_spotting: float, f1_recognition: float) -> float:
    """Spot-then-recognise score: the product of both F1 (MEGC2025).

    >>> round(strs(0.0278, 0.2222), 4), round(strs(0.0387, 0.2222), 4)
    (0.0062, 0.0086)
    """
    return f1_spotting * f1_recognition


def score_recognition(score: SpottingScore) -> tuple[float, float]:
    """Recognition F1 over the matches that carry both labels, and the STRS.

    Raises:
        ValueError: A match lacks a label.
    """
    pairs = [(pair.truth.label, pair.predicted.label) for pair in score.pairs]
    labelled = [(a, b) for a, b in pairs if a is not None and b is not None]
    if len(labelled) < len(pairs):
        raise ValueError(f"{len(pairs) - len(labelled)} of {len(pairs)} matches lack a label")
    recognised = recognition_f1([a for a, _ in labelled], [b for _, b in labelled])
    return recognised, strs(score.f1, recognised)
