"""How far probabilities can be trusted, and what it costs to name the sure cases alone.

Pure functions of probabilities ``(n, classes)`` and true classes ``(n,)``, or of the confidence of
a prediction (its probability) and whether it was right, ``(n,)`` each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]

BINS = 15
COLDEST, HOTTEST = 0.05, 20.0  # temperatures that `fit_temperature` chooses between
_TINY = 1e-12  # the smallest probability that a logarithm is taken of


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Predictions in bins of confidence; bins without one are left out.

    Attributes:
        count: Predictions in each bin, int64.
        confidence: Their mean confidence.
        accuracy: Share of them that is right.
    """

    count: Indices
    confidence: Floats
    accuracy: Floats


@dataclass(frozen=True, slots=True, eq=False)
class RiskCoverage:
    """What remains and how often it is wrong, for each threshold that makes a difference.

    Attributes:
        threshold: Confidences that occur, from the highest down.
        coverage: Share of the predictions at or above it, rising to 1.
        risk: Share of those that is wrong.
    """

    threshold: Floats
    coverage: Floats
    risk: Floats


def log_loss(probabilities: Floats, true: Indices) -> float:
    """Negative log-likelihood of the true class, natural logarithm, averaged.

    >>> round(log_loss(np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1])), 4)
    0.4904
    """
    chosen = probabilities[np.arange(len(true)), true]
    return float(-np.log(np.maximum(chosen, _TINY)).mean())


def brier(probabilities: Floats, true: Indices) -> float:
    """Squared distance to the true class, summed over classes and averaged: 0 to 2 (Brier, 1950).

    >>> brier(np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([0, 1]))
    0.25
    """
    wanted = np.eye(probabilities.shape[1])[true]
    return float(((probabilities - wanted) ** 2).sum(axis=1).mean())


def certainty(probabilities: Floats, pred: Indices, true: Indices) -> tuple[Floats, Flags]:
    """Confidence of each prediction and whether it is right."""
    return probabilities[np.arange(len(pred)), pred], pred == true


def reliability(
    confidence: Floats, right: Flags, bins: int = BINS, adaptive: bool = False
) -> Reliability:
    """Sorts predictions into bins of confidence.

    Args:
        confidence: 0..1.
        right: Whether each prediction is.
        bins: How many.
        adaptive: Bins of equal counts (Nguyen and O'Connor, EMNLP 2015; among equals in their
            order) instead of equal width, open below and closed above (Guo et al., ICML 2017).
    """
    if adaptive:
        order = np.argsort(confidence, kind="stable")
        parts = [part for part in np.array_split(order, bins) if len(part)]
    else:
        place = np.searchsorted(np.arange(1, bins) / bins, confidence, side="left")
        parts = [np.flatnonzero(place == i) for i in np.unique(place)]
    return Reliability(
        np.array([len(part) for part in parts], np.int64),
        np.array([confidence[part].mean() for part in parts]),
        np.array([right[part].mean() for part in parts]),
    )


def calibration_error(found: Reliability) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy, bins by count.

    >>> calibration_error(reliability(np.array([0.75, 0.75]), np.array([True, False])))
    0.25
    """
    gap = np.abs(found.confidence - found.accuracy)
    return float((found.count * gap).sum() / found.count.sum())


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities as logits divided by the temperature would give them.

    >>> tempered(np.array([[0.8, 0.2]]), 2.0).round(4).tolist()
    [[0.6667, 0.3333]]
    """
    powers = np.maximum(probabilities, _TINY) ** (1 / temperature)
    scaled: Floats = powers / powers.sum(axis=1, keepdims=True)
    return scaled


def fit_temperature(probabilities: Floats, true: Indices) -> float:
    """The temperature with the smallest log loss (Guo et al., ICML 2017), to about six digits.

    The loss is convex in 1 / temperature, so its derivative there is bisected.

    Args:
        probabilities: Of the uncalibrated model, on clips it did not learn from.
        true: Their classes.

    Returns:
        A number from `COLDEST` to `HOTTEST`; 1 leaves the model as it is.
    """
    logits = np.log(np.maximum(probabilities, _TINY))
    wanted = logits[np.arange(len(true)), true].mean()

    def slope(sharpness: float) -> float:
        weights = np.exp(sharpness * (logits - logits.max(axis=1, keepdims=True)))
        mean = (weights * logits).sum(axis=1) / weights.sum(axis=1)
        return float(mean.mean() - wanted)

    low, high = np.log(1 / HOTTEST), np.log(1 / COLDEST)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(float(np.exp(middle))) < 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


def risk_coverage(confidence: Floats, right: Flags) -> RiskCoverage:
    """The risk-coverage curve (El-Yaniv and Wiener, JMLR 2010).

    >>> curve = risk_coverage(np.array([0.9, 0.6, 0.6, 0.5]), np.array([1, 1, 0, 0], bool))
    >>> curve.coverage.tolist(), curve.risk.round(2).tolist()
    ([0.25, 0.75, 1.0], [0.0, 0.33, 0.5])
    """
    threshold, count, wrong = _by_confidence(confidence, right)
    kept = count.cumsum()
    return RiskCoverage(threshold, kept / len(right), wrong.cumsum() / kept)


def aurc(confidence: Floats, right: Flags) -> float:
    """Area under it: the mean risk of the 1, 2 ... n surest (Geifman et al., ICLR 2019).

    Among equals it is the mean over all their orders.
    """
    _, count, wrong = _by_confidence(confidence, right)
    expected = np.repeat(wrong / count, count).cumsum()
    return float((expected / np.arange(1, len(right) + 1)).mean())


def coverage_at(curve: RiskCoverage, risk: float) -> float:
    """The largest share that can be named with at most this risk; 0 where there is none."""
    return float(curve.coverage[curve.risk <= risk].max(initial=0.0))


def threshold_at(curve: RiskCoverage, risk: float) -> float:
    """The lowest confidence at which the risk is at most this; 1 where there is none."""
    return float(curve.threshold[curve.risk <= risk].min(initial=1.0))


def _by_confidence(confidence: Floats, right: Flags) -> tuple[Floats, Indices, Floats]:
    """Each confidence from the highest down, how many have it, and how many of them are wrong."""
    values, place = np.unique(-confidence, return_inverse=True)
    count: Indices = np.bincount(place).astype(np.int64)
    wrong: Floats = np.bincount(place, weights=1.0 - right).astype(np.float64)
    return -values, count, wrong
