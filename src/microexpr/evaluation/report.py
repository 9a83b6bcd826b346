"""How a report looks: in the terminal, in Markdown, in JSON, and its pictures."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from microexpr.evaluation.ablation import METRICS, Ablation
from microexpr.evaluation.comparison import Comparison, compare
from microexpr.evaluation.honesty import Honesty
from microexpr.evaluation.statistics import Difference
from microexpr.evaluation.tables import TITLES, Part, Report, Score, table
from microexpr.files import write_text

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = [
    "ablation_to_markdown",
    "compare",
    "comparison_to_json",
    "comparison_to_markdown",
    "honesty_to_markdown",
    "render",
    "render_comparison",
    "scores_to_markdown",
    "table",
    "to_json",
    "to_markdown",
    "write_comparison",
    "write_report",
]

SCHEMA = 1  # raised whenever a field of the JSON changes its meaning or goes
SHORT = {"uf1": "UF1", "uar": "UAR", "accuracy": "ACC"}


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells ready to print; the same for terminal and Markdown."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def write_report(run: Path, out: Path, *, resamples: int = 2000) -> Report:
    """Scores a run and writes ``report.md``, ``report.json`` and its confusion matrices.

    ``confusion.png`` shows the headline, ``confusion_<selection>.png`` each further selection; all
    clips, counts summed over seeds.

    Args:
        run: Folder with ``predictions.csv``, or the file.
        out: Folder to write to; it is made if need be.
        resamples: Of the bootstrap.

    Raises:
        UserError: As `microexpr.evaluation.tables.read_run`.
    """
    from microexpr.drawing import draw_confusion, save  # matplotlib: half a second

    report = table(run, resamples=resamples)
    pictures = []
    for i, column in enumerate(report.columns):
        part, seeds = column.parts[0], len(column.seeds)
        caption = "   ".join(f"{SHORT[k]} {_score(part.scores[k])}" for k in ("uf1", "uar"))
        figure = draw_confusion(
            np.array(part.confusion, dtype=np.int64),
            report.labels,
            f"{report.name}, {column.title}" + (f", sum of {seeds} seeds" if seeds > 1 else ""),
            caption,
        )
        pictures.append("confusion.png" if i == 0 else f"confusion_{column.selection}.png")
        save(figure, out / pictures[-1])
    links = "\n".join(f"![confusion matrix]({name})" for name in pictures)
    write_text(f"{to_markdown(report)}\n{links}\n", out / "report.md")
    write_text(json.dumps(to_json(report), indent=2) + "\n", out / "report.json")
    return report


def to_json(report: Report) -> dict[str, Any]:
    """The report as JSON values: ``schema`` and the fields of `Report`; undefined is null."""
    return {"schema": SCHEMA, "kind": "report", **_plain(dataclasses.asdict(report))}


def to_markdown(report: Report) -> str:
    """The report as Markdown, without pictures."""
    lines = [f"# {report.name}", "", _summary(report), ""]
    for grid in _grids(report):
        lines += [f"## {grid.title}", "", *_markdown(grid), ""]
    notes = _notes(report)
    if notes:
        lines += ["## Notes", "", *(f"- {line}" for line in notes), ""]
    lines.append(_FOOT)
    return "\n".join(lines) + "\n"


def scores_to_markdown(report: Report, level: str) -> str:
    """The tables of a report that name no person, with their notes, for a model card.

    Args:
        report: From `table`.
        level: Of the headings: ``"####"``.
    """
    lines = [f"{_summary(report)}.", ""]
    for grid in _grids(replace(report, worst=())):
        lines += [f"{level} {grid.title}", "", *_markdown(grid), ""]
    lines += [f"- {line}" for line in _notes(report)] + [""] * bool(_notes(report))
    return "\n".join([*lines, _FOOT]) + "\n"


def render(report: Report) -> RenderableType:
    """The report for a terminal: print it with a `rich.console.Console`."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(report.name, style="bold"), Text(_summary(report)), Text()]
    for grid in _grids(report):
        parts += [_terminal(grid), Text()]
    parts += [Text(f"note: {line}", style="yellow") for line in _notes(report)]
    return Group(*parts, Text(_FOOT, style="dim"))


def comparison_to_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON values: ``schema`` and the fields of `Comparison`."""
    return {"schema": SCHEMA, "kind": "comparison", **_plain(dataclasses.asdict(comparison))}


def comparison_to_markdown(comparison: Comparison) -> str:
    """One Markdown table of several runs, for a README, with its footnotes."""
    lines = [*_markdown(_comparison_grid(comparison)), "", _comparison_foot(comparison)]
    if comparison.flags:
        lines += ["", *(f"- {line}" for line in comparison.flags)]
    return "\n".join(lines) + "\n"


def render_comparison(comparison: Comparison) -> RenderableType:
    """The comparison for a terminal: print it with a `rich.console.Console`."""
    from rich.console import Group
    from rich.text import Text

    notes = [Text(f"note: {line}", style="yellow") for line in comparison.flags]
    foot = Text(_comparison_foot(comparison), style="dim")
    return Group(_terminal(_comparison_grid(comparison)), *notes, foot)


def write_comparison(comparison: Comparison, out: Path) -> None:
    """Writes ``comparison.md``, ``comparison.json`` and the picture ``comparison.png``.

    Args:
        comparison: From `compare`.
        out: Folder to write to; it is made if need be.
    """
    from microexpr.drawing import save  # matplotlib: half a second
    from microexpr.evaluation.pictures import draw_comparison

    save(draw_comparison(comparison), out / "comparison.png")
    link = "\n![scores and differences](comparison.png)\n"
    write_text(comparison_to_markdown(comparison) + link, out / "comparison.md")
    text = json.dumps(comparison_to_json(comparison), indent=2)
    write_text(text + "\n", out / "comparison.json")


def ablation_to_markdown(found: Ablation) -> str:
    """The table of a grid, published scores beside ours where there are any."""
    rows = found.comparison.rows
    cells = []
    for row, printed in zip(rows, found.printed, strict=True):
        scores = row.column.parts[0].scores
        own = [_score(scores["uf1"]), *(_number(scores[key].value) for key in ("uar", "accuracy"))]
        delta = [_difference(row.differences.get("uf1")), _p(row.adjusted.get("uf1"))]
        theirs = [_number(printed.get(metric, math.nan)) for metric in METRICS]
        cells.append((row.name, *own, *delta, *(theirs if found.source else ())))
    header = ["arm", *METRICS, "Δ UF1", "p"]
    header += [f"published {metric}" for metric in METRICS] if found.source else []
    lines = [*_markdown(Grid(found.name, tuple(header), tuple(cells))), ""]
    lines.append(
        f"Ours: {rows[0].about}; last epoch, pooled over all folds; in brackets the 95 % interval, "
        f"bootstrap over persons. Δ: this minus {rows[0].name}, paired by person; p: permutation "
        "of the two within persons, Holm-corrected over the rows."
    )
    if found.source:
        lines[-1] += f" Published: {found.source}, as printed."
    return "\n".join(lines) + "\n"


def honesty_to_markdown(rows: Sequence[Honesty]) -> str:
    """The columns of several runs beside each other, UF1 with intervals and then UAR."""
    cells = []
    for row in rows:
        found = {key: row.scores.get(key, {}) for key in TITLES}
        scores = [_score(s["uf1"]) if s else "–" for s in found.values()]
        recalls = [_number(s["uar"].value) if s else "–" for s in found.values()]
        gain = _difference(row.inflation)
        cells.append((row.name, str(row.folds), *scores, gain, " / ".join(recalls)))
    titles = [f"UF1, {title}" for title in TITLES.values()]
    header = ("run", "folds", *titles, "oracle − last", f"UAR, {' / '.join(TITLES)}")
    foot = (
        "Pooled over all folds. In brackets: 95 % interval, bootstrap over persons, the difference "
        "paired by person."
    )
    return "\n".join([*_markdown(Grid("", header, tuple(cells))), "", foot]) + "\n"


_FOOT = (
    "Pooled over all folds. In brackets: 95 % interval, bootstrap over persons. "
    "With several seeds, scores are means over seeds."
)


def _comparison_foot(comparison: Comparison) -> str:
    return (
        f"Predictions: {comparison.title}, pooled over all folds. In brackets: 95 % interval, "
        f"bootstrap over persons. Δ: this minus {comparison.rows[0].name}, paired by person; "
        "p: permutation of the two within persons, Holm-corrected over the rows. "
        "Columns of a data set: UF1 / UAR."
    )


def _summary(report: Report) -> str:
    seeds = sorted({seed for column in report.columns for seed in column.seeds})
    counts = [
        _plural(report.clips, "clip"),
        _plural(report.persons, "person"),
        _plural(report.folds, "fold"),
        _plural(len(seeds), "seed"),
    ]
    return f"{report.about}: {', '.join(counts)}" if report.about else ", ".join(counts)


def _grids(report: Report) -> list[Grid]:
    grids = [_scores_grid(report), _classes_grid(report)]
    if any(len(column.seeds) > 1 for column in report.columns):
        grids.append(_seeds_grid(report))
    if report.worst:
        rows = tuple((p.person, str(p.clips), _number(p.accuracy)) for p in report.worst)
        grids.append(Grid("Hardest persons", ("person", "clips", "ACC"), rows))
    return grids


def _scores_grid(report: Report) -> Grid:
    """A row per part and metric, a column per selection; the first column gives the sizes."""
    by_name = [{part.name: part for part in column.parts} for column in report.columns]
    rows = []
    for name in dict.fromkeys(name for parts in by_name for name in parts):
        first = next(parts[name] for parts in by_name if name in parts)
        size = (name, _plural(first.clips, "clip"), _plural(first.persons, "person"))
        for line, (key, short) in zip(size, SHORT.items(), strict=True):
            cells = [_score(parts[name].scores[key]) if name in parts else "–" for parts in by_name]
            rows.append((line, short, *cells))
    titles = tuple(column.title for column in report.columns)
    return Grid("Scores", ("part", "metric", *titles), tuple(rows))


def _classes_grid(report: Report) -> Grid:
    column = report.columns[0]
    rows = tuple(
        (c.label, str(c.support), _number(c.precision), _number(c.recall), _number(c.f1))
        for c in column.parts[0].classes
    )
    return Grid(f"Classes, {column.title}", ("class", "clips", "precision", "recall", "F1"), rows)


def _seeds_grid(report: Report) -> Grid:
    """Median and each seed's value of the combined part."""
    seeds = sorted({seed for column in report.columns for seed in column.seeds})
    rows = []
    for column in report.columns:
        for i, (key, short) in enumerate(SHORT.items()):
            score = column.parts[0].scores[key]
            by_seed = dict(zip(column.seeds, score.per_seed, strict=True))
            cells = [_number(by_seed.get(seed, math.nan)) for seed in seeds]
            rows.append((column.title if i == 0 else "", short, _number(score.median), *cells))
    header = ("predictions", "metric", "median", *(f"seed {seed}" for seed in seeds))
    return Grid("Seeds", header, tuple(rows))


def _comparison_grid(comparison: Comparison) -> Grid:
    rows = comparison.rows
    sets = list(dict.fromkeys(part.name for row in rows for part in row.column.parts[1:]))
    deltas = list(dict.fromkeys(key for row in rows for key in row.differences))
    cells = []
    for row in rows:
        parts = {part.name: part for part in row.column.parts}
        scores = [_score(parts["combined"].scores[key]) for key in ("uf1", "uar")]
        pairs = [_pair(parts.get(name)) for name in sets]
        signed = [
            text
            for key in deltas
            for text in (_difference(row.differences.get(key)), _p(row.adjusted.get(key)))
        ]
        cells.append((row.name, *scores, *pairs, *signed))
    header = ["run", "UF1", "UAR", *sets]
    header += [text for key in deltas for text in (f"Δ {SHORT[key]}", "p")]
    return Grid(comparison.title, tuple(header), tuple(cells))


def _notes(report: Report) -> list[str]:
    """The flags, each once, with the selections and parts it holds for."""
    where: dict[str, list[str]] = {}
    for column in report.columns:
        for part in column.parts:
            for line in part.flags:
                where.setdefault(f"{part.name}: {line}", []).append(column.title)
    notes = [
        line if len(titles) == len(report.columns) else f"{line} ({', '.join(titles)})"
        for line, titles in where.items()
    ]
    return [*report.flags, *notes]


def _markdown(grid: Grid) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(grid.header), "|" + "---|" * len(grid.header), *map(line, grid.rows)]


def _terminal(grid: Grid) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    found = Table(title=grid.title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    found.pad_edge = found.show_edge = False  # three columns of scores fit 80 characters
    for name in grid.header:
        found.add_column(Text(name), overflow="fold")
    for row in grid.rows:
        found.add_row(*(Text(cell) for cell in row))
    return found


def _number(value: float) -> str:
    """Three places without the leading zero, as the field prints them; a dash if undefined."""
    if math.isnan(value):
        return "–"
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 0.9995 else f"{value:.3f}"


def _signed(value: float) -> str:
    sign = "−" if value < -0.0005 else "+" if value > 0.0005 else ""
    return sign + _number(abs(value))


def _score(score: Score) -> str:
    if math.isnan(score.low):
        return _number(score.value)
    return f"{_number(score.value)} [{_number(score.low)}, {_number(score.high)}]"


def _pair(part: Part | None) -> str:
    if part is None:
        return "–"
    return f"{_number(part.scores['uf1'].value)} / {_number(part.scores['uar'].value)}"


def _difference(found: Difference | None) -> str:
    if found is None:
        return ""
    return f"{_signed(found.value)} [{_signed(found.low)}, {_signed(found.high)}]"


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "< .001" if value < 0.001 else _number(value)


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _plain(value: Any) -> Any:
    """Values that JSON has: nan becomes null, dates text, tuples lists."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)
