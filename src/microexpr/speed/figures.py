"""A measured figure, what it should be, and tables of them for terminal, file and document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microexpr.errors import UserError
from microexpr.files import write_text

if TYPE_CHECKING:
    from rich.console import Group

HEADS = ("figure", "measured", "target", "margin", "from")


@dataclass(frozen=True, slots=True)
class Figure:
    """One number with all that it is judged by.

    Attributes:
        table: The table that it belongs to.
        what: What was measured.
        value: In `unit`.
        unit: ``x`` for a ratio.
        least: It should be at least this; None: no such bound.
        most: It should be at most this; None: no such bound.
        times: Milliseconds of one call, by rival, that the value was computed from.
    """

    table: str
    what: str
    value: float
    unit: str = "x"
    least: float | None = None
    most: float | None = None
    times: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measured:
    """One run.

    Attributes:
        machine: `microexpr.speed.timing.machine`.
        settings: How it was run.
        figures: In the order of the tables.
    """

    machine: dict[str, Any]
    settings: dict[str, Any]
    figures: tuple[Figure, ...]


def margin(figure: Figure) -> float | None:
    """How much better than its target a figure is, as a share of the target; below 0: missed.

    >>> round(margin(Figure("t", "w", 45.0, least=30.0)), 3)
    0.5
    >>> round(margin(Figure("t", "w", 1.21, most=1.1)), 3)
    -0.1
    """
    if figure.least is not None:
        return figure.value / figure.least - 1
    if figure.most is not None:
        return 1 - figure.value / figure.most
    return None


def missed(figures: Sequence[Figure]) -> list[Figure]:
    """Those that do not reach their target."""
    margins = ((figure, margin(figure)) for figure in figures)
    return [figure for figure, left in margins if left is not None and not left >= 0]


def cells(figure: Figure) -> tuple[str, ...]:
    """A figure as a row under `HEADS`."""
    left = margin(figure)
    bounds = ((">=", figure.least), ("<=", figure.most))
    return (
        figure.what,
        _number(figure.value, figure.unit),
        " ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None),
        "" if left is None else f"{left:+.0%}" + ("" if left >= 0 else " MISSED"),
        ", ".join(f"{name} {ms:.3g} ms" for name, ms in figure.times.items()),
    )


def _number(value: float, unit: str) -> str:
    if unit == "x":
        return f"{value:.2f}" if value < 10 else f"{value:.1f}"
    return f"{value:.3g} {unit}"


def by_table(figures: Sequence[Figure]) -> dict[str, list[Figure]]:
    """The tables in order, each with its figures."""
    names = dict.fromkeys(figure.table for figure in figures)
    return {name: [figure for figure in figures if figure.table == name] for name in names}


def markdown(measured: Measured) -> str:
    """All tables, and below them the machine."""
    parts = []
    for name, figures in by_table(measured.figures).items():
        lines = [f"**{name}**", "", f"| {' | '.join(HEADS)} |", "|---|--:|--:|--:|---|"]
        lines += [f"| {' | '.join(cells(figure))} |" for figure in figures]
        parts.append("\n".join(lines))
    about = ", ".join(f"{key} {value}" for key, value in measured.machine.items())
    how = ", ".join(f"{key} {value}" for key, value in measured.settings.items())
    return "\n\n".join([*parts, f"Machine: {about}. Run: {how}."]) + "\n"


def render(measured: Measured) -> Group:
    """All tables for the terminal, and below them the machine and what was missed."""
    from rich.console import Group
    from rich.table import Table

    tables = []
    for name, figures in by_table(measured.figures).items():
        table = Table(title=name, box=None, pad_edge=False, title_justify="left")
        for head in HEADS:
            table.add_column(head, justify="left" if head in ("figure", "from") else "right")
        for figure in figures:
            table.add_row(*cells(figure))
        tables.append(table)
    late = missed(measured.figures)
    ending = f"{len(late)} targets missed" if late else "every target reached"
    return Group(*tables, ", ".join(f"{k} {v}" for k, v in measured.machine.items()), ending)


def write_measured(measured: Measured, path: Path) -> None:
    """Writes a run as JSON, with the margin beside each figure."""
    rows = [asdict(figure) | {"margin": margin(figure)} for figure in measured.figures]
    found = {"machine": measured.machine, "settings": measured.settings, "figures": rows}
    write_text(json.dumps(found, indent=1) + "\n", path)


def read_measured(path: Path) -> Measured:
    """Reads what `write_measured` wrote.

    Raises:
        UserError: No such file, or something else in it.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = [{k: v for k, v in row.items() if k != "margin"} for row in found["figures"]]
        return Measured(found["machine"], found["settings"], tuple(Figure(**row) for row in rows))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} holds no figures of `microexpr bench`: {error}") from error
