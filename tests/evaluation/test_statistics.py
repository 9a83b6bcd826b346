from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microexpr.errors import UserError
from microexpr.evaluation import statistics
from microexpr.evaluation.metrics import METRICS, accuracy, confusion, uf1
from microexpr.evaluation.predictions import Predictions, concatenate, take
from microexpr.evaluation.statistics import (
    bootstrap_interval,
    holm,
    paired_difference,
    person_confusions,
)

Maker = Callable[..., Predictions]


def _slow_score(p: Predictions, persons: list[str], name: str) -> float:
    """Mean over seeds of the metric on the listed persons' rows, one row after another."""
    scores = []
    for seed in sorted(set(p.seed.tolist())):
        true, pred = [], []
        for person in persons:
            rows = (p.person == person) & (p.seed == seed)
            true += p.true[rows].tolist()
            pred += p.pred[rows].tolist()
        scores.append(float(METRICS[name](confusion(np.array(true), np.array(pred), 3))))
    return float(np.mean(scores))


def test_confusions_are_counted_per_seed_and_person(by_chance: Maker) -> None:
    made = by_chance(5, seeds=(3, 1))
    found = person_confusions(made)
    assert found.shape == (2, 5, 3, 3)
    for i, seed in enumerate((1, 3)):
        for j, person in enumerate(sorted(set(made.person.tolist()))):
            rows = (made.seed == seed) & (made.person == person)
            np.testing.assert_array_equal(
                found[i, j], confusion(made.true[rows], made.pred[rows], 3)
            )


@pytest.mark.parametrize("name", sorted(METRICS))
def test_interval_equals_a_loop_over_resampled_rows(by_chance: Maker, name: str) -> None:
    made = by_chance(8, seeds=(0, 1))
    persons = sorted(set(made.person.tolist()))
    weights = statistics._person_weights(8, 60, seed=5)
    assert (weights.sum(axis=1) == 8).all()
    slow = [
        _slow_score(made, [p for p, w in zip(persons, row, strict=True) for _ in range(w)], name)
        for row in weights.tolist()
    ]
    found = bootstrap_interval(
        person_confusions(made), METRICS[name], resamples=60, level=0.9, seed=5
    )
    assert found.value == pytest.approx(_slow_score(made, persons, name))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(slow, [0.05, 0.95])))


def test_interval_of_one_clip_a_person_is_the_binomial_one() -> None:
    right = np.arange(400) < 300
    confusions = np.zeros((400, 2, 2), dtype=np.int64)
    confusions[np.arange(400), 0, np.where(right, 0, 1)] = 1
    found = bootstrap_interval(confusions, accuracy)
    half = 1.96 * math.sqrt(0.75 * 0.25 / 400)
    assert found.value == 0.75
    assert found.low == pytest.approx(0.75 - half, abs=0.006)
    assert found.high == pytest.approx(0.75 + half, abs=0.006)


def test_clips_of_one_person_stay_together() -> None:
    """40 clips of 4 persons, each wholly right or wrong, are worth 4 clips and not 40."""
    confusions = np.zeros((4, 2, 2), dtype=np.int64)
    confusions[:2, 0, 0] = 10
    confusions[2:, 0, 1] = 10
    found = bootstrap_interval(confusions, accuracy)
    assert (found.low, found.value, found.high) == (0.0, 0.5, 1.0)


def test_seeds_are_averaged_not_pooled(hand_made: Maker) -> None:
    rows = [("smic/s1/c1", 0, 0), ("smic/s2/c1", 1, 1), ("smic/s3/c1", 2, 2)]
    wrong = [(clip, true, 0) for clip, true, _ in rows]
    both = concatenate([hand_made(rows, seed=0), hand_made(wrong, seed=1)])
    found = bootstrap_interval(person_confusions(both), uf1, resamples=10)
    assert found.value == pytest.approx((1 + 0.5 / 3) / 2)
    assert found.value != pytest.approx(float(uf1(person_confusions(both).sum(axis=(0, 1)))))


def test_one_person_has_no_interval(hand_made: Maker) -> None:
    made = hand_made([("smic/s1/c1", 0, 0), ("smic/s1/c2", 1, 0)])
    found = bootstrap_interval(person_confusions(made), accuracy)
    assert found.value == 0.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_same_seed_same_interval(by_chance: Maker) -> None:
    confusions = person_confusions(by_chance())
    first = bootstrap_interval(confusions, uf1, resamples=100, seed=1)
    assert first == bootstrap_interval(confusions, uf1, resamples=100, seed=1)
    assert first != bootstrap_interval(confusions, uf1, resamples=100, seed=2)


def _swap(a: Predictions, b: Predictions, persons: set[str]) -> Predictions:
    """The predictions of `a`, those for `persons` from `b` (same seeds, rows in stable order)."""
    rows = np.isin(a.person, sorted(persons))
    np.testing.assert_array_equal(a.clip, b.clip)
    return replace(a, pred=np.where(rows, b.pred, a.pred))


def test_p_value_is_the_share_of_all_swaps(by_chance: Maker) -> None:
    """Six persons have 64 swaps: enumerate them by rows instead of drawing."""
    a, b = by_chance(6, 0.9, salt=1, seeds=(0, 1)), by_chance(6, 0.4, salt=2, seeds=(0, 1))
    persons = sorted(set(a.person.tolist()))
    observed = _slow_score(a, persons, "uf1") - _slow_score(b, persons, "uf1")
    extreme = 0
    for bits in itertools.product([False, True], repeat=6):
        swapped = {p for p, bit in zip(persons, bits, strict=True) if bit}
        one, other = _swap(a, b, swapped), _swap(b, a, swapped)
        found = _slow_score(one, persons, "uf1") - _slow_score(other, persons, "uf1")
        extreme += abs(found) >= abs(observed) - 1e-12
    difference = paired_difference(a, b, uf1, resamples=4000)
    assert difference.value == pytest.approx(observed)
    assert difference.p == pytest.approx(extreme / 64, abs=0.02)


def test_difference_interval_equals_a_loop(by_chance: Maker) -> None:
    a, b = by_chance(7, 0.8, salt=1), by_chance(7, 0.5, salt=2, seeds=(0, 1, 2))
    persons = sorted(set(a.person.tolist()))
    slow = []
    for row in statistics._person_weights(7, 50, seed=0).tolist():
        drawn = [p for p, w in zip(persons, row, strict=True) for _ in range(w)]
        slow.append(_slow_score(a, drawn, "uar") - _slow_score(b, drawn, "uar"))
    found = paired_difference(a, b, METRICS["uar"], resamples=50)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])))
    assert found.persons == 7
    assert found.clips == len(a.clip)


def test_a_system_does_not_differ_from_itself(by_chance: Maker) -> None:
    made = by_chance(seeds=(0, 1))
    found = paired_difference(made, made, uf1, resamples=50)
    assert (found.value, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_exchanging_the_two_turns_the_difference_round(by_chance: Maker) -> None:
    a, b = by_chance(skill=0.8, salt=1), by_chance(skill=0.5, salt=2)
    one, other = (paired_difference(*p, uf1, resamples=200) for p in ((a, b), (b, a)))
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))
    assert one.p == other.p


def test_difference_is_over_common_clips_joined_by_id(by_chance: Maker) -> None:
    a, b = by_chance(10, 0.8, salt=1), by_chance(10, 0.5, salt=2)
    some = np.flatnonzero(a.person != a.person[0])[::-1]
    short = paired_difference(take(a, some), b, accuracy, resamples=20)
    same = paired_difference(take(a, some[::-1]), take(b, some[::-1]), accuracy, resamples=20)
    assert short == same
    assert short.persons == 9


def test_a_clear_difference_is_seen_and_chance_is_not(by_chance: Maker) -> None:
    good, bad = by_chance(30, 0.9, salt=1), by_chance(30, 0.3, salt=2)
    clear = paired_difference(good, bad, uf1, resamples=400)
    assert clear.low > 0
    assert clear.p < 0.01
    none = paired_difference(bad, by_chance(30, 0.3, salt=3), uf1, resamples=400)
    assert none.low < 0 < none.high
    assert none.p > 0.05


def test_what_cannot_be_compared_is_refused(by_chance: Maker, hand_made: Maker) -> None:
    one = hand_made([("smic/s1/c1", 0, 0)])
    with pytest.raises(UserError, match="at least two persons"):
        paired_difference(one, one, uf1)
    two = concatenate([by_chance(3), by_chance(3, selection="oracle")])
    with pytest.raises(UserError, match="one selection at a time"):
        person_confusions(two)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_is_the_definition(p: list[float]) -> None:
    adjusted = holm(p)
    for i, value in enumerate(adjusted):
        smaller = [q for j, q in enumerate(p) if (q, j) <= (p[i], i)]
        ranked = sorted(smaller)
        expected = max(min(1.0, (len(p) - k) * q) for k, q in enumerate(ranked))
        assert value == pytest.approx(expected)
        assert value >= p[i]
