"""The second tab: runs side by side, and the honest score beside the leaky one."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from microexpr.app.studio import views
from microexpr.app.studio.results import words
from microexpr.errors import UserError

if TYPE_CHECKING:  # pandas and matplotlib come when there is something to compare
    from microexpr.evaluation.tables import Column

UNKNOWN = "<p>None of these runs recorded the oracle: nothing leaky to show.</p>"
MOST = 8  # runs side by side
AT_FIRST = 1  # which of them go together is not known before they are read
NONE = (
    "<p>There are no runs here. A run is a folder with <code>predictions.csv</code>, made by "
    "<code>microexpr run</code>; start the app with <code>--runs FOLDER</code> to compare what "
    "lies in a folder.</p>"
)
LEAK = (
    '<h2>Honest and leaky</h2><div class="note"><b>The oracle column is a leak, shown to be '
    "recognised.</b> There the persons on whom a run is tested chose the epoch. The last epoch, "
    "and the epoch chosen by an inner validation, never saw them: only these are results.</div>"
)


def build(runs: Path | None) -> None:
    """Lays the tab out and wires it."""
    found = find_runs(runs)
    if not found:
        words(NONE)
        return
    names = list(found)
    chosen = gr.CheckboxGroup(
        names,
        value=names[:AT_FIRST],
        label=f"Runs, at most {MOST}; the others are compared with the first in this list",
        elem_id="runs",
    )
    compare = gr.Button("Compare", variant="primary", elem_id="compare")
    shown = words(elem_id="comparison")

    def show(asked: list[str]) -> str:
        try:
            runs = {name: folder for name, folder in found.items() if name in asked}
            if not 0 < len(runs) <= MOST:
                raise UserError(f"choose between one and {MOST} runs")
            return side_by_side(runs)
        except UserError as error:
            return views.error(str(error))

    compare.click(show, chosen, shown, concurrency_limit=2, api_visibility="private")


def find_runs(folder: Path | None) -> dict[str, Path]:
    """Folders of runs by their path below `folder`."""
    if folder is None:
        return {}
    there = sorted(path.parent for path in folder.rglob("predictions.csv"))
    return {path.relative_to(folder).as_posix() or path.name: path for path in there}


def side_by_side(folders: Mapping[str, Path]) -> str:
    """Tables and pictures of runs of the same clips; the first is the one compared with.

    Args:
        folders: By the names that are shown.

    Raises:
        UserError: As `microexpr.evaluation.comparison.compare`.
    """
    from microexpr.evaluation.comparison import compare
    from microexpr.evaluation.honesty import honesty
    from microexpr.evaluation.pictures import draw_comparison, draw_honesty
    from microexpr.evaluation.report import comparison_to_markdown, honesty_to_markdown
    from microexpr.evaluation.tables import read_run, table

    runs = [replace(read_run(folder), name=name) for name, folder in folders.items()]
    compared = compare(runs)
    honest = [
        replace(row, name=name)
        for row, name in zip(honesty(list(folders.values())), folders, strict=True)
    ]
    matrices = "".join(
        f"<section><h3>{escape(report.name)}</h3><p class='small soft'>{escape(report.about)}</p>"
        f'<div class="matrices">{"".join(_matrix(c, report.labels) for c in report.columns)}</div>'
        "</section>"
        for report in map(table, runs)
    )
    leaky = any("oracle" in row.scores for row in honest)
    drawn = _picture(draw_honesty(honest), "UF1 of the last epoch beside inner and oracle")
    return (
        f"<h2>Scores</h2>{in_html(comparison_to_markdown(compared))}"
        f"{_picture(draw_comparison(compared), 'Scores and differences with their intervals')}"
        f'<h2>Confusion matrices</h2><div class="matrices">{matrices}</div>'
        f"{LEAK}{in_html(honesty_to_markdown(honest))}{drawn if leaky else UNKNOWN}"
    )


def in_html(markdown: str) -> str:
    r"""A Markdown table with what stands below it.

    >>> shown = in_html("| a | b |\n|---|---|\n| 1 | <2> |\n\nfoot")
    >>> '<td class="n">&lt;2&gt;</td>' in shown, shown.endswith("foot</p>")
    (True, True)
    """
    lines = markdown.strip().splitlines()
    table = [line for line in lines if line.startswith("|")]
    rows = [
        [cell.strip().replace("\\|", "|") for cell in line.strip("|").split(" | ")]
        for line in (table[0], *table[2:])
    ]
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in rows[0])
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f'<td class="n">{escape(cell)}</td>' for cell in row[1:])
        + "</tr>"
        for row in rows[1:]
    )
    below = [line.removeprefix("- ") for line in lines if line and not line.startswith("|")]
    notes = "".join(f'<p class="small soft">{escape(line)}</p>' for line in below)
    return (
        '<div class="scrolled" tabindex="0" role="region" aria-label="Table">'
        f'<table class="scores"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{notes}"
    )


def _matrix(column: Column, labels: Sequence[str]) -> str:
    """A confusion matrix of all clips: rows are true, the shade is the share of the row."""
    head = "".join(f'<th scope="col">{escape(label)}</th>' for label in labels)
    rows = ""
    for label, counts in zip(labels, column.parts[0].confusion, strict=True):
        whole = max(sum(counts), 1)
        cells = "".join(
            f'<td style="--share:{100 * n / whole:.0f}%">{n}<br><small>{n / whole:.0%}</small></td>'
            for n in counts
        )
        rows += f'<tr><th scope="row">{escape(label)}</th>{cells}</tr>'
    seeds = f", sum of {len(column.seeds)} seeds" if len(column.seeds) > 1 else ""
    kind = "leaky" if column.selection == "oracle" else "fair"
    return (
        f'<table class="matrix {kind}"><caption>{escape(column.title)}{seeds}</caption>'
        f'<thead><tr><td><span class="small soft">true \\ predicted</span></td>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _picture(figure: Any, told: str) -> str:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    held = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(held, format="png", dpi=150)
    data = base64.b64encode(held.getvalue()).decode("ascii")
    source = f"data:image/png;base64,{data}"
    return f'<div class="scrolled"><img class="drawn" alt="{escape(told)}" src="{source}"></div>'
