"""How sure a score is: bootstrap over persons, paired differences, Holm's correction.

Clips of one person are not independent, so persons are resampled, never clips. Everything runs on
confusion matrices per person, which makes a resample one row of a matrix product.
Several seeds are one system: the score is the mean over seeds, taken inside each resample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from microexpr.errors import UserError
from microexpr.evaluation.metrics import Counts, Floats, Metric
from microexpr.evaluation.predictions import Predictions, in_common


@dataclass(frozen=True, slots=True)
class Interval:
    """A score and its percentile interval; `low` and `high` are nan for a single person."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Score of the first minus score of the second system, on the clips both predicted.

    Attributes:
        value: The difference; positive where the first is better.
        low: Lower end of the percentile interval.
        high: Upper end.
        p: Two-sided permutation p-value of "the two are exchangeable within each person".
        clips: Number of clips compared.
        persons: Number of persons.
    """

    value: float
    low: float
    high: float
    p: float
    clips: int
    persons: int


def person_confusions(predictions: Predictions) -> Counts:
    """Confusion matrices of each seed and person, both in ascending order.

    Args:
        predictions: Rows of one selection.

    Returns:
        Int64 ``(seeds, persons, classes, classes)``, rows = true. Summed over persons it is the
        pooled matrix of each seed.

    Raises:
        UserError: Several selections.
    """
    if len(set(predictions.selection.tolist())) > 1:
        raise UserError("one selection at a time: predictions of several would be counted together")
    persons, person = np.unique(predictions.person, return_inverse=True)
    seeds, seed = np.unique(predictions.seed, return_inverse=True)
    shape = (len(seeds), len(persons), len(predictions.labels), len(predictions.labels))
    cells = np.ravel_multi_index((seed, person, predictions.true, predictions.pred), shape)
    return np.bincount(cells, minlength=math.prod(shape)).reshape(shape)


def bootstrap_interval(
    confusions: Counts,
    metric: Metric,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Score with a percentile interval over resampled persons (with replacement, no strata).

    Args:
        confusions: Int ``(persons, classes, classes)`` or ``(seeds, persons, classes, classes)``.
        metric: From `microexpr.evaluation.metrics`.
        resamples: Number of resamples.
        level: Coverage of the interval.
        seed: Of the resampling.
    """
    confusions = confusions if confusions.ndim == 4 else confusions[None]
    value = float(_seed_mean(confusions.sum(axis=1), metric))
    persons = confusions.shape[1]
    if persons < 2:
        return Interval(value, math.nan, math.nan)
    scores = _seed_mean(_weighted(_person_weights(persons, resamples, seed), confusions), metric)
    return Interval(value, *_ends(scores, level))


def paired_difference(
    a: Predictions,
    b: Predictions,
    metric: Metric,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Score of `a` minus score of `b` over their common clips, paired by person.

    The interval resamples persons, the same for both. The p-value swaps the two systems'
    predictions for a random half of the persons, `resamples` times. Where the numbers of seeds
    differ, each seed is repeated so that all count alike in a common multiple.

    Args:
        a: Rows of one selection.
        b: Rows of one selection; its own may be another one.
        metric: From `microexpr.evaluation.metrics`.
        resamples: Number of resamples, and of permutations.
        level: Coverage of the interval.
        seed: Of both.

    Raises:
        UserError: Different labels, a clip with two truths, no clip in common, or too few persons.
    """
    a, b = in_common(a, b)
    one, other = person_confusions(a), person_confusions(b)
    persons, seeds = one.shape[1], math.lcm(len(one), len(other))
    if persons < 2:
        raise UserError("a paired difference needs at least two persons in common")
    one = np.tile(one, (seeds // len(one), 1, 1, 1))
    other = np.tile(other, (seeds // len(other), 1, 1, 1))

    weights = _person_weights(persons, resamples, seed)
    drawn = _seed_mean(_weighted(weights, one), metric) - _seed_mean(
        _weighted(weights, other), metric
    )
    total, rest = one.sum(axis=1), other.sum(axis=1)
    value = float(_seed_mean(total, metric) - _seed_mean(rest, metric))

    swaps = np.random.default_rng([seed, 1]).integers(0, 2, size=(resamples, persons))
    moved = _weighted(swaps, other - one)
    chance = _seed_mean(total + moved, metric) - _seed_mean(rest - moved, metric)
    extreme = np.count_nonzero(np.abs(chance) >= abs(value) - 1e-12)
    p = (1 + extreme) / (1 + resamples)
    clips = len(set(a.clip.tolist()))
    return Difference(value, *_ends(drawn, level), p=float(p), clips=clips, persons=persons)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: p-values of several comparisons made at once.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = highest
    return adjusted


def _person_weights(persons: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each person is drawn, int ``(resamples, persons)``; rows sum to `persons`."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(persons, np.full(persons, 1 / persons), size=resamples)


def _weighted(weights: NDArray[np.int64], confusions: Counts) -> Counts:
    """Confusion matrices ``(resamples, seeds, classes, classes)`` of weighted persons.

    The product runs in float64, which is exact for counts and many times faster than int64.
    """
    seeds, persons, classes, _ = confusions.shape
    flat = confusions.transpose(1, 0, 2, 3).reshape(persons, -1).astype(np.float64)
    product = weights.astype(np.float64) @ flat
    return product.astype(np.int64).reshape(len(weights), seeds, classes, classes)


def _seed_mean(matrices: Counts, metric: Metric) -> Floats:
    """(..., seeds, classes, classes) -> (...)."""
    scores: Floats = metric(matrices).mean(axis=-1)
    return scores


def _ends(scores: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
