"""Writes the tables of README and docs from the committed predictions.

A document holds ``<!-- table: RUN RUN ... -->`` and ``<!-- end -->``; what stands between them is
the comparison of those folders of ``benchmarks/results``, the first being the one compared to.

    python benchmarks/tables.py            writes them
    python benchmarks/tables.py --check    exits with 1 if a document is not current
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from microexpr.evaluation.comparison import compare
from microexpr.evaluation.report import comparison_to_markdown
from microexpr.files import write_text

ROOT = Path(__file__).resolve().parents[1]
TABLE = re.compile(r"(<!-- table: ([^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """The document with every table made anew."""

    def table(match: re.Match[str]) -> str:
        runs = [ROOT / "benchmarks" / "results" / name for name in match[2].split()]
        return f"{match[1]}{comparison_to_markdown(compare(runs))}{match[3]}"

    return TABLE.sub(table, text)


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
