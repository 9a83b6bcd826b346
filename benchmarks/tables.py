"""Writes the tables of README and docs from the committed predictions.

What stands in a document between one of these lines and ``<!-- end -->`` is made anew:

``<!-- table: RUN RUN ... -->``  the comparison of those folders of ``benchmarks/results``, the
first being the one compared to; ``<!-- grid: NAME ... -->``  the table of each grid of that name;
``<!-- honesty: NAME ... -->``  the columns of those runs of ``benchmarks/honesty``, and their
picture; ``<!-- speed: NAME ... -->``  the figures of those runs of ``benchmarks/speed``. Runs that
are not committed yet are left out.

    python benchmarks/tables.py            writes them
    python benchmarks/tables.py --check    exits with 1 if a document is not current
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from microexpr.evaluation.ablation import ablation
from microexpr.evaluation.comparison import compare
from microexpr.evaluation.honesty import honesty
from microexpr.evaluation.report import (
    ablation_to_markdown,
    comparison_to_markdown,
    honesty_to_markdown,
)
from microexpr.files import write_text
from microexpr.speed.figures import markdown, read_measured

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
BLOCK = re.compile(r"(<!-- (\w+): ([^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)
NONE_YET = "No run is committed yet.\n"


def comparison_table(names: list[str]) -> str:
    """Several runs side by side."""
    runs = [BENCHMARKS / "results" / name for name in names]
    there = [run for run in runs if (run / "predictions.csv").exists()]
    return comparison_to_markdown(compare(there)) if there else NONE_YET


def grid_tables(names: list[str]) -> str:
    """The table of each grid, under its name."""
    parts = []
    for name in names:
        found = ablation(BENCHMARKS / f"{name}.toml", BENCHMARKS / "results" / name)
        if found:
            parts.append(f"`{name}`:\n\n{ablation_to_markdown(found)}")
    return "\n".join(parts) or NONE_YET


def honesty_table(names: list[str]) -> str:
    """The columns of the honesty study, and their picture (of ``pictures.py``)."""
    rows = honesty([BENCHMARKS / "honesty" / "results" / name for name in names])
    link = "![last, inner and oracle](pictures/honesty.png)"
    return f"{honesty_to_markdown(rows)}\n{link}\n" if rows else NONE_YET


def speed_tables(names: list[str]) -> str:
    """Measured figures beside their targets."""
    files = [BENCHMARKS / "results" / "speed" / f"{name}.json" for name in names]
    return "\n".join(markdown(read_measured(file)) for file in files if file.exists()) or NONE_YET


KINDS: dict[str, Callable[[list[str]], str]] = {
    "table": comparison_table,
    "grid": grid_tables,
    "honesty": honesty_table,
    "speed": speed_tables,
}


def filled(text: str) -> str:
    """The document with every table made anew."""

    def table(match: re.Match[str]) -> str:
        start, kind, names, end = match.groups()
        return match[0] if kind not in KINDS else f"{start}{KINDS[kind](names.split())}{end}"

    return BLOCK.sub(table, text)


def main(check: bool) -> int:
    stale = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        new = filled(text)
        if new != text:
            stale.append(path.name)
            if not check:
                write_text(new, path)
    if check and stale:
        print(f"not current: {', '.join(stale)}; run python benchmarks/tables.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
