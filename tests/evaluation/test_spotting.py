from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_score, recall_score

from microexpr.evaluation.spotting import (
    Interval,
    apex_errors,
    apex_success,
    average_precision,
    iou,
    match,
    recognition_f1,
    score_recognition,
    score_spotting,
    strs,
)

intervals = st.builds(
    lambda onset, length: Interval(onset, onset + length), st.integers(0, 30), st.integers(0, 12)
)


def frames(interval: Interval) -> set[int]:
    return set(range(interval.onset, interval.offset + 1))


@settings(deadline=None)
@given(intervals, intervals)
def test_overlap_is_that_of_the_sets_of_frames(a: Interval, b: Interval) -> None:
    union = frames(a) | frames(b)
    assert iou(a, b) == pytest.approx(len(frames(a) & frames(b)) / len(union))
    assert iou(a, b) == iou(b, a)


def largest(truths: list[Interval], predictions: list[Interval], least: float) -> int:
    """By trying every assignment."""
    slots = predictions + [None] * len(truths)
    return max(
        sum(p is not None and iou(t, p) >= least for t, p in zip(truths, chosen, strict=True))
        for chosen in itertools.permutations(slots, len(truths))
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(intervals, max_size=3), st.lists(intervals, max_size=3), st.sampled_from([0.3, 0.5])
)
def test_matching_is_one_to_one_and_the_largest(
    truths: list[Interval], predictions: list[Interval], least: float
) -> None:
    pairs = match(truths, predictions, least)
    assert len({t for t, _ in pairs}) == len({p for _, p in pairs}) == len(pairs)
    assert all(iou(truths[t], predictions[p]) >= least for t, p in pairs)
    assert len(pairs) == largest(truths, predictions, least)


def test_half_is_enough_and_a_second_prediction_is_false() -> None:
    truth = [Interval(10, 19)]
    assert match(truth, [Interval(15, 19)]) == [(0, 0)]
    assert match(truth, [Interval(16, 19)]) == []
    assert match(truth, [Interval(15, 19), Interval(10, 18)]) == [(0, 1)]


def test_counts_are_pooled_over_all_videos() -> None:
    truths = {"a": [Interval(0, 9), Interval(50, 59)], "b": [Interval(0, 9)], "empty": []}
    found = {"a": [Interval(1, 9)], "empty": [Interval(5, 9), Interval(70, 80)]}
    score = score_spotting(truths, found)
    assert (score.truths, score.predictions, len(score.pairs)) == (3, 3, 1)
    assert score.precision == pytest.approx(1 / 3)
    assert score.recall == pytest.approx(1 / 3)
    assert score.f1 == pytest.approx(1 / 3)
    only_with_events = {"a": found["a"]}
    assert score_spotting(truths, only_with_events).precision == 1  # what must not be reported


def test_videos_without_truth_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\['b'\]"):
        score_spotting({"a": []}, {"b": [Interval(0, 1)]})


def test_nothing_at_all_scores_zero() -> None:
    score = score_spotting({"a": []}, {})
    assert (score.precision, score.recall, score.f1) == (0, 0, 0)
    assert np.isnan(average_precision({"a": []}, {}))


def test_apexes_are_compared_over_the_matches() -> None:
    truths = {"fast": [Interval(0, 99, apex=40)], "slow": [Interval(0, 9, apex=5)]}
    found = {"fast": [Interval(10, 99, apex=46)], "slow": [Interval(0, 9, apex=12)]}
    pairs = score_spotting(truths, found).pairs
    in_frames, in_ms = apex_errors(pairs, {"fast": 200, "slow": 30})
    assert in_frames.tolist() == [6, 7]
    assert in_ms == pytest.approx([30, 1000 * 7 / 30])
    assert apex_success(pairs) == 0.5
    assert np.isnan(apex_success(()))


def test_average_precision_by_hand() -> None:
    truths = {"a": [Interval(0, 9), Interval(20, 29)], "b": [Interval(0, 9)]}
    found = {
        "a": [Interval(0, 9, score=0.9), Interval(40, 49, score=0.8)],
        "b": [Interval(0, 9, score=0.7)],
    }
    # right, wrong, right: precision 1, 1/2, 2/3; recall 1/3 at the first, 2/3 at the third
    assert average_precision(truths, found, [0.5]) == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision(truths, {"a": truths["a"], "b": truths["b"]}) == 1
    loose = {"a": [Interval(0, 7), Interval(20, 29)], "b": [Interval(0, 9)]}  # one overlaps by .8
    assert average_precision(truths, loose, [0.8]) == 1
    assert average_precision(truths, loose, [0.85]) < 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20))
def test_recognition_is_the_harmonic_mean_of_macro_precision_and_recall(
    pairs: list[tuple[int, int]],
) -> None:
    true, predicted = zip(*pairs, strict=True)
    precision = precision_score(true, predicted, average="macro", zero_division=0)
    recall = recall_score(true, predicted, average="macro", zero_division=0)
    expected = 2 * precision * recall / (precision + recall) if precision + recall else 0
    assert recognition_f1(true, predicted) == pytest.approx(expected)


def test_strs_of_the_published_table() -> None:
    """MEGC2025 (arXiv 2506.15298): SAMM .0278 x .2222, CAS(ME)^3 .0387 x .2222."""
    assert round(strs(0.0278, 0.2222), 4) == 0.0062
    assert round(strs(0.0387, 0.2222), 4) == 0.0086


def test_recognition_counts_matches_only() -> None:
    truths = {"a": [Interval(0, 9, label=0), Interval(20, 29, label=1), Interval(40, 49, label=1)]}
    found = {"a": [Interval(0, 9, label=0), Interval(20, 29, label=1), Interval(60, 69, label=2)]}
    score = score_spotting(truths, found)
    assert score_recognition(score) == (1.0, score.f1)
    unlabelled = score_spotting(truths, {"a": [Interval(0, 9)]})
    with pytest.raises(ValueError, match="1 of 1 matches lack a label"):
        score_recognition(unlabelled)
    with pytest.raises(ValueError, match="as many predictions"):
        recognition_f1([0], [])
