"""Calibration and abstention against loops that follow the definitions word by word."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microexpr.evaluation.calibration import (
    COLDEST,
    HOTTEST,
    aurc,
    brier,
    calibration_error,
    certainty,
    coverage_at,
    fit_temperature,
    log_loss,
    reliability,
    risk_coverage,
    tempered,
    threshold_at,
)

Floats = NDArray[np.float64]
grid = st.integers(0, 30).map(lambda k: k / 30)
pairs = st.lists(st.tuples(grid, st.booleans()), min_size=1, max_size=40)


def split(rows: list[tuple[float, bool]]) -> tuple[Floats, NDArray[np.bool_]]:
    return np.array([c for c, _ in rows]), np.array([r for _, r in rows])


def drawn(n: int, sharpness: float, seed: int = 0) -> tuple[Floats, NDArray[np.int64]]:
    """Probabilities and classes drawn from them, then sharpened."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, 3))
    fair = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    true = (rng.random((n, 1)) > fair.cumsum(1)).sum(1)
    return tempered(fair, 1 / sharpness), true


@given(pairs, st.integers(1, 20))
@settings(deadline=None, max_examples=60)
def test_bins_of_equal_width(rows: list[tuple[float, bool]], bins: int) -> None:
    found = reliability(*split(rows), bins)
    error, at = 0.0, 0
    for m in range(bins):
        inside = [(c, r) for c, r in rows if m / bins < c <= (m + 1) / bins or (m == 0 and c == 0)]
        if inside:
            confidence = sum(c for c, _ in inside) / len(inside)
            accuracy = sum(r for _, r in inside) / len(inside)
            assert found.count[at] == len(inside)
            assert found.confidence[at] == pytest.approx(confidence)
            assert found.accuracy[at] == pytest.approx(accuracy)
            error += len(inside) / len(rows) * abs(confidence - accuracy)
            at += 1
    assert at == len(found.count)
    assert calibration_error(found) == pytest.approx(error)


@given(pairs, st.integers(1, 20))
@settings(deadline=None, max_examples=60)
def test_bins_of_equal_counts(rows: list[tuple[float, bool]], bins: int) -> None:
    found = reliability(*split(rows), bins, adaptive=True)
    left = sorted(rows, key=lambda row: row[0])
    for count, confidence, accuracy in zip(
        found.count, found.confidence, found.accuracy, strict=True
    ):
        inside, left = left[:count], left[count:]
        assert confidence == pytest.approx(sum(c for c, _ in inside) / count)
        assert accuracy == pytest.approx(sum(r for _, r in inside) / count)
    assert not left
    assert max(found.count) - min(found.count) <= 1
    assert len(found.count) == min(bins, len(rows))


@given(pairs)
@settings(deadline=None, max_examples=60)
def test_the_curve_by_counting_at_each_threshold(rows: list[tuple[float, bool]]) -> None:
    curve = risk_coverage(*split(rows))
    assert curve.threshold.tolist() == sorted({c for c, _ in rows}, reverse=True)
    for t, coverage, risk in zip(curve.threshold, curve.coverage, curve.risk, strict=True):
        kept = [r for c, r in rows if c >= t]
        assert coverage == pytest.approx(len(kept) / len(rows))
        assert risk == pytest.approx(kept.count(False) / len(kept), abs=1e-12)
    target = 0.25
    good = [
        (len(kept) / len(rows), t)
        for t in {c for c, _ in rows}
        if (kept := [r for c, r in rows if c >= t]) and kept.count(False) / len(kept) <= target
    ]
    assert coverage_at(curve, target) == pytest.approx(max((c for c, _ in good), default=0.0))
    assert threshold_at(curve, target) == pytest.approx(min((t for _, t in good), default=1.0))


def test_the_area_is_the_mean_over_all_orders_of_equals() -> None:
    rows = [(0.9, True), (0.7, False), (0.7, True), (0.7, True), (0.4, False), (0.4, True)]
    areas = []
    for order in itertools.permutations(rows):
        if [c for c, _ in order] != sorted((c for c, _ in order), reverse=True):
            continue
        wrong = [sum(not r for _, r in order[: i + 1]) / (i + 1) for i in range(len(order))]
        areas.append(sum(wrong) / len(wrong))
    assert len(areas) == 12
    assert aurc(*split(rows)) == pytest.approx(sum(areas) / len(areas), rel=1e-12)


def test_log_loss_and_brier_by_loops() -> None:
    probabilities, true = drawn(50, 1.3)
    rows = list(zip(probabilities.tolist(), true.tolist(), strict=True))
    assert log_loss(probabilities, true) == pytest.approx(
        sum(-math.log(row[t]) for row, t in rows) / 50
    )
    assert brier(probabilities, true) == pytest.approx(
        sum((p - (k == t)) ** 2 for row, t in rows for k, p in enumerate(row)) / 50
    )
    assert math.isfinite(log_loss(np.array([[0.0, 1.0]]), np.array([0])))
    confidence, right = certainty(probabilities, probabilities.argmax(1), true)
    assert confidence.tolist() == probabilities.max(1).tolist()
    assert right.mean() == np.mean([max(row) == row[t] for row, t in rows])


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_a_sharpening(sharpness: float) -> None:
    probabilities, true = drawn(20_000, sharpness)
    found = fit_temperature(probabilities, true)
    assert found == pytest.approx(sharpness, rel=0.05)
    after = tempered(probabilities, found)
    confidence, right = certainty(after, after.argmax(1), true)
    assert calibration_error(reliability(confidence, right)) < 0.015
    tried = np.geomspace(found / 1.5, found * 1.5, 401)
    losses = [log_loss(tempered(probabilities, float(t)), true) for t in tried]
    assert tried[int(np.argmin(losses))] == pytest.approx(found, rel=0.003)
    assert log_loss(after, true) <= min(losses) + 1e-9


def test_the_temperature_stays_within_its_range() -> None:
    sure = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert fit_temperature(sure, np.array([0, 1])) == pytest.approx(COLDEST, rel=1e-6)
    assert fit_temperature(sure, np.array([1, 0])) == pytest.approx(HOTTEST, rel=1e-6)
