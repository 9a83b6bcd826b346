from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from microexpr.drawing import BLUE, GREY
from microexpr.evaluation.calibration import Reliability, RiskCoverage
from microexpr.evaluation.comparison import compare
from microexpr.evaluation.pictures import (
    Panel,
    Series,
    draw_comparison,
    draw_curves,
    draw_intervals,
    draw_reliability,
    draw_risk_coverage,
)
from microexpr.evaluation.predictions import Predictions
from microexpr.evaluation.tables import Run

NAN = math.nan


def test_intervals_stand_in_their_rows() -> None:
    series = Series("s", (0.2, -0.1), (0.1, -0.3), (0.3, 0.1))
    figure = draw_intervals(["a", "b"], [Panel("UF1", (series,), 0.0)], "t")
    (axes,) = figure.axes
    drawn = [line.get_xydata().tolist() for line in axes.lines]
    assert drawn[:4] == [[[0.1, 0], [0.3, 0]], [[0.2, 0]], [[-0.3, 1], [0.1, 1]], [[-0.1, 1]]]
    assert [line.get_color() for line in axes.lines[:4:2]] == [BLUE, GREY]  # the second holds 0
    assert [text.get_text() for text in axes.texts] == ["0.200", "−0.100"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    low, high = axes.get_ylim()
    assert low > high  # the first row is on top


def test_several_series_stand_side_by_side_and_holes_stay_empty() -> None:
    one = Series("last", (0.5, 0.6), (0.4, 0.5), (0.6, 0.7))
    other = Series("oracle", (NAN, 0.8), (NAN, 0.7), (NAN, 0.9))
    figure = draw_intervals(["a", "b"], [Panel("UF1", (one, other))])
    (axes,) = figure.axes
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [round(float(dot.get_xdata()[0]), 9) for dot in dots] == [0.5, 0.6, 0.8]
    heights = [float(dot.get_ydata()[0]) for dot in dots]
    assert heights[1] < 1 < heights[2]
    assert heights[2] - heights[1] < 0.5
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["last", "oracle"]


def test_a_comparison_shows_scores_and_differences(by_chance: Callable[..., Predictions]) -> None:
    runs = [
        Run(name, by_chance(12, skill, salt=i), {}, {})
        for i, (name, skill) in enumerate((("a", 0.9), ("b", 0.3)))
    ]
    found = compare(runs, resamples=50)
    scores, differences = draw_comparison(found).axes
    dots = [line for line in scores.lines if line.get_marker() == "o"]
    values = [row.column.parts[0].scores["uf1"].value for row in found.rows]
    assert [float(dot.get_xdata()[0]) for dot in dots] == values
    (dot,) = [line for line in differences.lines if line.get_marker() == "o"]
    assert dot.get_xydata().tolist() == [[found.rows[1].differences["uf1"].value, 1]]
    names = [label.get_text() for label in scores.get_yticklabels()]
    assert names[0] == "a"
    assert names[1].startswith("b\nHolm p ")
    assert len(draw_comparison(compare(runs[:1], resamples=5)).axes) == 1


def test_curves_go_through_their_places() -> None:
    series = [
        Series("onset", (0.5, 0.7, 0.6), (0.4, 0.6, 0.5), (0.6, 0.8, 0.7)),
        Series("apex", (0.5, 0.6, 0.6), (0.4, 0.5, 0.5), (0.6, 0.7, 0.7)),
    ]
    (axes,) = draw_curves((-2, 0, 8), series, "frames", chance=1 / 3).axes
    assert axes.lines[0].get_xydata().tolist() == [[-2, 0.5], [0, 0.7], [8, 0.6]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["onset", "apex"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["−2", "0", "8"]
    (axes,) = draw_curves((25, 50, 200), series[:1], "frames a second", even=True).axes
    assert axes.lines[0].get_xdata().tolist() == [0, 1, 2]
    assert axes.get_legend() is None


def test_a_reliable_model_lies_on_the_diagonal() -> None:
    one = Reliability(np.array([30, 10]), np.array([0.4, 0.9]), np.array([0.5, 0.8]))
    (axes,) = draw_reliability({"15 bins": one, "equal counts": one}).axes
    assert axes.lines[0].get_xydata().tolist() == [[0, 0], [1, 1]]
    assert axes.lines[1].get_xydata().tolist() == [[0.4, 0.5], [0.9, 0.8]]
    large, small = axes.collections[0].get_sizes()
    assert large - 12 == 3 * (small - 12)
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["15 bins", "equal counts"]


def test_the_threshold_is_a_dot_on_the_curve() -> None:
    thresholds, coverage = np.array([0.9, 0.6, 0.4]), np.array([0.2, 0.7, 1.0])
    one = RiskCoverage(thresholds, coverage, np.array([0.0, 0.1, 0.3]))
    (axes,) = draw_risk_coverage({"all": one}, threshold=0.5).axes
    curve, dot = axes.lines
    assert curve.get_xydata().tolist() == [[0.2, 0.0], [0.7, 0.1], [1.0, 0.3]]
    assert dot.get_xydata().tolist() == [[0.7, 0.1]]
    assert axes.get_legend() is None
    assert len(draw_risk_coverage({"all": one}).axes[0].lines) == 1
    assert len(draw_risk_coverage({"all": one}, threshold=0.95).axes[0].lines) == 1
