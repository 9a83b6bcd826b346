"""Pictures of scores: dots with their intervals, and curves with their bands.

Each function gives a matplotlib `Figure`; `microexpr.drawing.save` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from microexpr.drawing import BLUE, GREY, INK, VERMILION, bare, blank
from microexpr.evaluation.calibration import Reliability, RiskCoverage
from microexpr.evaluation.comparison import Comparison
from microexpr.evaluation.honesty import Honesty
from microexpr.evaluation.tables import TITLES

COLOURS = (BLUE, GREY, VERMILION, "#009E73", "#CC79A7", "#E69F00")  # Okabe and Ito (2008)


@dataclass(frozen=True, slots=True)
class Series:
    """Scores in a row, each with its interval.

    Attributes:
        name: For the legend.
        values: nan: nothing is drawn there.
        lows: Lower ends; nan draws no interval.
        highs: Upper ends.
    """

    name: str
    values: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One part of a picture of dots.

    Attributes:
        axis: What the values are.
        series: One or more, side by side within a row.
        reference: A vertical line (0 for differences, or chance). With it, intervals of a single
            series that leave it out are blue and those that hold it grey.
    """

    axis: str
    series: tuple[Series, ...]
    reference: float | None = None


def draw_intervals(names: Sequence[str], panels: Sequence[Panel], title: str = "") -> Figure:
    """A dot and its interval for each row and series, the first row on top.

    Args:
        names: One per row.
        panels: Side by side.
        title: Above.
    """
    crowd = max(len(panel.series) for panel in panels)
    high = len(names) * (0.42 if crowd == 1 else 0.3 * crowd + 0.12)
    wide = 0.085 * max(map(len, names)) + 4.2 * len(panels)
    figure = blank(wide, high + 1.0 + 0.3 * bool(title) + 0.35 * (crowd > 1))
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True).ravel()
    for axes, panel in zip(grid, panels, strict=True):
        count = len(panel.series)
        for i, series in enumerate(panel.series):
            shift = (i - (count - 1) / 2) * 0.72 / max(count, 1)
            _draw_series(axes, series, shift, None if count == 1 else COLOURS[i], panel.reference)
        if panel.reference is not None:
            axes.axvline(panel.reference, color=VERMILION, lw=1.3, ls=(0, (4, 3)), zorder=1)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="x", color="#e6e6e6", lw=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel(panel.axis, fontsize=10, color=INK)
        bare(axes, size=9.5)
    grid[0].set_yticks(range(len(names)), names)
    grid[0].set_ylim(len(names) - 0.5, -0.6)
    if crowd > 1:
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=crowd, frameon=False)
    if title:
        figure.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left")
    return figure


def _draw_series(
    axes: Any, series: Series, shift: float, colour: str | None, reference: float | None
) -> None:
    first = True
    for y, (value, low, high) in enumerate(
        zip(series.values, series.lows, series.highs, strict=True)
    ):
        unsure = reference is not None and not (low > reference or high < reference)
        own = colour or (GREY if unsure else BLUE)
        axes.plot([low, high], [y + shift] * 2, color=own, lw=2.4, solid_capstyle="round")
        if np.isnan(value):
            continue
        name = series.name if first else None
        axes.plot(value, y + shift, "o", color=own, ms=8, mec="white", mew=1.2, label=name)
        first = False
        axes.annotate(
            f"{value:.3f}".replace("-", "−"),
            (value, y + shift),
            (0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )


def draw_comparison(comparison: Comparison, metric: str = "uf1") -> Figure:
    """Runs side by side: their scores, and their differences to the first.

    Args:
        comparison: From `microexpr.evaluation.comparison.compare`.
        metric: One of those that were compared.
    """
    rows = comparison.rows
    scores = [row.column.parts[0].scores[metric] for row in rows]
    name = {"uf1": "UF1", "uar": "UAR"}.get(metric, metric)
    panels = [Panel(f"{name}, {comparison.title}", (_series(metric, scores),))]
    if len(rows) > 1:
        nothing = float("nan")
        found = [row.differences.get(metric) for row in rows]
        ends = [(d.value, d.low, d.high) if d else (nothing,) * 3 for d in found]
        values, lows, highs = zip(*ends, strict=True)
        axis = f"Δ {name} to {rows[0].name}"
        panels.append(Panel(axis, (Series(metric, values, lows, highs),), 0.0))
    return draw_intervals([_named(row.name, row.adjusted.get(metric)) for row in rows], panels)


def draw_honesty(rows: Sequence[Honesty]) -> Figure:
    """Last, inner and oracle UF1 of several runs, and what the oracle adds to the last epoch."""
    hole = (float("nan"),) * 3
    series = []
    for key, title in TITLES.items():
        scores = [row.scores[key]["uf1"] if key in row.scores else None for row in rows]
        ends = [(s.value, s.low, s.high) if s else hole for s in scores]
        series.append(Series(title, *zip(*ends, strict=True)))
    gains = [(d.value, d.low, d.high) if (d := row.inflation) else hole for row in rows]
    added = Panel("oracle − last", (Series("", *zip(*gains, strict=True)),), 0.0)
    return draw_intervals([row.name for row in rows], [Panel("UF1", tuple(series)), added])


def _named(name: str, p: float | None) -> str:
    if p is None:
        return name
    return f"{name}\nHolm p " + ("< .001" if p < 0.001 else f"= {p:.3f}".replace("0.", "."))


def _series(name: str, scores: Sequence[Any]) -> Series:
    """Values with `value`, `low` and `high` as a series."""
    return Series(
        name,
        tuple(score.value for score in scores),
        tuple(score.low for score in scores),
        tuple(score.high for score in scores),
    )


def draw_curves(
    places: Sequence[float],
    series: Sequence[Series],
    axis: str,
    scores: str = "UF1",
    chance: float | None = None,
    even: bool = False,
) -> Figure:
    """Scores over a disturbance: a line and a band for each series.

    Args:
        places: Where the scores were measured.
        series: One value a place.
        axis: What the places are.
        scores: What the values are.
        chance: A horizontal line.
        even: Places are drawn at even distances, in their order, whatever their size.
    """
    figure = blank(6.0, 3.6)
    axes = figure.add_subplot()
    x = np.arange(len(places)) if even else np.asarray(places, float)
    for one, colour in zip(series, COLOURS, strict=False):
        axes.fill_between(x, one.lows, one.highs, color=colour, alpha=0.15, lw=0)
        axes.plot(x, one.values, color=colour, lw=1.8, marker="o", ms=5, label=one.name)
    if chance is not None:
        axes.axhline(chance, color=INK, lw=1.0, ls=(0, (4, 3)), zorder=1)
    axes.set_xticks(x, [f"{place:g}".replace("-", "−") for place in places])
    axes.set_ylim(0, 1.03)
    axes.grid(axis="y", color="#e6e6e6", lw=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(axis, fontsize=10, color=INK)
    axes.set_ylabel(scores, fontsize=10, color=INK)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=9)
    bare(axes, size=9.5)
    return figure


def draw_reliability(found: Mapping[str, Reliability]) -> Figure:
    """How often predictions are right over how sure they are; dots as large as their bin.

    Args:
        found: By name, for the legend.
    """
    figure, axes = _square("confidence", "right")
    axes.plot([0, 1], [0, 1], color=INK, lw=1.0, ls=(0, (4, 3)), zorder=1)
    for (name, one), colour in zip(found.items(), COLOURS, strict=False):
        size = 300 * one.count / one.count.sum()
        axes.plot(one.confidence, one.accuracy, color=colour, lw=1.4, label=name)
        axes.scatter(one.confidence, one.accuracy, s=12 + size, color=colour, edgecolor="white")
    _legend(axes, len(found), "upper left")
    return figure


def draw_risk_coverage(found: Mapping[str, RiskCoverage], threshold: float | None = None) -> Figure:
    """How often the surest predictions are wrong, over how many of them are named.

    Args:
        found: By name, for the legend.
        threshold: A confidence; a dot marks it on each curve.
    """
    figure, axes = _square("coverage: share that is named", "risk: share of those that is wrong")
    top = max(float(one.risk.max()) for one in found.values())
    for (name, one), colour in zip(found.items(), COLOURS, strict=False):
        axes.plot(one.coverage, one.risk, color=colour, lw=1.8, label=name)
        kept = np.flatnonzero(one.threshold >= (2.0 if threshold is None else threshold))
        if len(kept):
            axes.plot(one.coverage[kept[-1]], one.risk[kept[-1]], "o", color=colour, ms=8)
    axes.set_ylim(0, min(1.0, 1.15 * top + 0.02))
    _legend(axes, len(found), "upper left")
    return figure


def _square(across: str, up: str) -> tuple[Figure, Any]:
    figure = blank(4.2, 3.9)
    axes = figure.add_subplot()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.grid(color="#e6e6e6", lw=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(across, fontsize=10, color=INK)
    axes.set_ylabel(up, fontsize=10, color=INK)
    bare(axes, size=9.5)
    return figure, axes


def _legend(axes: Any, count: int, place: str) -> None:
    if count > 1:
        axes.legend(frameon=False, fontsize=9, loc=place)
