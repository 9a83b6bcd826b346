from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from microexpr.errors import UserError
from microexpr.evaluation.metrics import (
    METRICS,
    accuracy,
    confusion,
    flags,
    metric,
    per_class,
    uar,
    uf1,
)

MAJORITY = {
    # negative, positive, surprise -> UF1 of always predicting negative (published with the data)
    "combined": ((250, 109, 83), 0.2408),
    "smic": ((70, 51, 43), 0.1994),
    "casme2": ((88, 32, 25), 0.2518),
    "samm": ((92, 26, 15), 0.2726),
}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40))
def test_equal_to_scikit_learn_where_both_are_defined(pairs: list[tuple[int, int]]) -> None:
    pairs = [*pairs, *((c, c) for c in range(4))]  # every class is true and predicted once
    true, pred = (np.array(column) for column in zip(*pairs, strict=True))
    matrix = confusion(true, pred, 4)
    scores = per_class(matrix)
    np.testing.assert_array_equal(matrix, reference.confusion_matrix(true, pred))
    np.testing.assert_allclose(uf1(matrix), reference.f1_score(true, pred, average="macro"))
    np.testing.assert_allclose(uar(matrix), reference.balanced_accuracy_score(true, pred))
    np.testing.assert_allclose(accuracy(matrix), reference.accuracy_score(true, pred))
    expected = reference.precision_recall_fscore_support(true, pred)
    found = (scores.precision, scores.recall, scores.f1, scores.support)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs)


@pytest.mark.parametrize("part", sorted(MAJORITY))
def test_majority_class_scores_what_the_literature_says(part: str) -> None:
    counts, expected = MAJORITY[part]
    matrix = np.zeros((3, 3), dtype=np.int64)
    matrix[:, 0] = counts
    assert float(uf1(matrix)) == pytest.approx(expected, abs=5e-5)
    assert float(uar(matrix)) == pytest.approx(1 / 3)


def test_class_in_neither_is_left_out_and_flagged() -> None:
    matrix = np.array([[3, 1, 0], [1, 3, 0], [0, 0, 0]])
    assert float(uf1(matrix)) == float(uf1(matrix[:2, :2])) == 0.75
    assert float(uar(matrix)) == 0.75
    assert np.isnan(per_class(matrix).f1[2])
    (line,) = flags(matrix, "abc")
    assert line.startswith("c: neither")


def test_class_only_predicted_counts_as_zero_in_uf1_and_not_in_uar() -> None:
    matrix = np.array([[4, 0, 1], [0, 5, 0], [0, 0, 0]])
    assert float(uf1(matrix)) == pytest.approx((8 / 9 + 1 + 0) / 3)
    assert float(uar(matrix)) == pytest.approx((4 / 5 + 1) / 2)
    assert np.isnan(per_class(matrix).recall[2])
    (line,) = flags(matrix, "abc")
    assert line.startswith("c: no true clip, but predicted")


def test_class_never_predicted_counts_as_zero_without_a_flag() -> None:
    matrix = np.array([[4, 0], [2, 0]])
    assert float(uf1(matrix)) == pytest.approx(8 / 10 / 2)
    assert float(uar(matrix)) == 0.5
    assert np.isnan(per_class(matrix).precision[1])
    assert flags(matrix, "ab") == ()


def test_nothing_is_undefined_and_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for function in METRICS.values():
            assert np.isnan(function(np.zeros((3, 3), dtype=np.int64)))


@pytest.mark.parametrize("name", sorted(METRICS))
def test_a_stack_of_matrices_is_scored_one_by_one(name: str) -> None:
    stack = np.random.default_rng(0).integers(0, 3, (5, 2, 3, 3))
    one_by_one = [[float(METRICS[name](stack[i, j])) for j in range(2)] for i in range(5)]
    np.testing.assert_allclose(METRICS[name](stack), one_by_one)


def test_pooling_is_not_averaging() -> None:
    folds = np.array([[[2, 0], [0, 0]], [[1, 1], [1, 1]]])
    assert float(uf1(folds.sum(axis=0))) != pytest.approx(float(uf1(folds).mean()))


@pytest.mark.parametrize(("true", "pred"), [([0, 3], [0, 0]), ([0, 0], [0, -1]), ([0], [0, 1])])
def test_confusion_refuses_what_it_cannot_count(true: list[int], pred: list[int]) -> None:
    with pytest.raises(ValueError, match=r"label|vectors"):
        confusion(np.array(true), np.array(pred), 3)


def test_unknown_metric_names_the_nearest() -> None:
    assert metric("uf1") is uf1
    with pytest.raises(UserError, match="did you mean 'uf1'"):
        metric("uff1")
