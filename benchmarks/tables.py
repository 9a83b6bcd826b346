"""Writes the tables of README and docs from the committed predictions.

What stands in a document between one of these lines and ``<!-- end -->`` is made anew:

``<!-- table: RUN RUN ... -->``  the comparison of those folders of ``benchmarks/results``
(``a/RUN``: of ``benchmarks/a/results``), the first being the one compared to;
``<!-- grid: NAME ... -->``  the table of each grid of that name, which may lie in a folder, too;
``<!-- honesty: NAME ... -->``  the columns of those runs of ``benchmarks/honesty``, and their
picture; ``<!-- speed: NAME ... -->``  the figures of those runs of ``benchmarks/speed``;
``<!-- cost: RUN RUN ... -->``  what those runs of ``benchmarks/results`` took;
``<!-- hours: FILE -->``  what experiments took and would take, by ``cost.py``;
``<!-- card: RUN -->``  scores, calibration and abstention of the default model in that run, and how
it was calibrated; ``<!-- failures: RUN -->``  where that one fails on synthetic films;
``<!-- two_sample: ARM ... -->``  how well synthetic flow is told from real flow;
``<!-- looks: LIST -->``  who looked at the real clips. Runs that are not committed yet are left
out.

    python benchmarks/tables.py            writes them
    python benchmarks/tables.py --check    exits with 1 if a document is not current
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from microexpr.evaluation.ablation import ablation
from microexpr.evaluation.comparison import compare
from microexpr.evaluation.cost import cost_to_markdown, read_estimates
from microexpr.evaluation.honesty import honesty
from microexpr.evaluation.report import (
    ablation_to_markdown,
    comparison_to_markdown,
    honesty_to_markdown,
)
from microexpr.evaluation.trust import (
    card_to_markdown,
    failures_to_markdown,
    looks_to_markdown,
    read_looks,
    validation_to_markdown,
)
from microexpr.files import write_text
from microexpr.speed.figures import markdown, read_measured
from microexpr.training.default import default_card

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
BLOCK = re.compile(r"(<!-- (\w+): ([^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)
NONE_YET = "No run is committed yet.\n"
TRUST = """![reliability](pictures/reliability.png) ![risk and coverage](pictures/risk_coverage.png)

Left: how often it is right where it says how sure it is. Right: how often the named are wrong when
only the surest are named; the dots are at the threshold that `analyze` takes.
"""


def comparison_table(names: list[str]) -> str:
    """Several runs side by side."""
    there = [run for run in map(run_folder, names) if (run / "predictions.csv").exists()]
    return comparison_to_markdown(compare(there)) if there else NONE_YET


def run_folder(name: str) -> Path:
    """Where a run's results are; those of experiments in a folder lie in that folder.

    >>> run_folder("honesty/svm_flow442").relative_to(BENCHMARKS).as_posix()
    'honesty/results/svm_flow442'
    """
    for part in ("honesty", "candidates"):
        if name.startswith(f"{part}/"):
            return BENCHMARKS / part / "results" / name.removeprefix(f"{part}/")
    return BENCHMARKS / "results" / name


def grid_tables(names: list[str]) -> str:
    """The table of each grid, under its name."""
    parts = []
    for name in names:
        found = ablation(BENCHMARKS / f"{name}.toml", run_folder(name))
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


def cost_table(names: list[str]) -> str:
    """Trainings and core-hours of runs, from their ``environment.json``."""
    rows = ["| run | trainings | core-hours |", "|---|--:|--:|"]
    for name in names:
        path = BENCHMARKS / "results" / name / "environment.json"
        if path.exists():
            told = json.loads(path.read_text(encoding="utf-8"))
            rows.append(f"| {name} | {told['trainings']} | {told['core_seconds'] / 3600:.2f} |")
    return "\n".join(rows) + "\n" if len(rows) > 2 else NONE_YET


def hours_table(names: list[str]) -> str:
    """What experiments took, and what others would take (of ``cost.py``)."""
    files = [BENCHMARKS / "results" / f"{name}.json" for name in names]
    rows = [row for file in files if file.exists() for row in read_estimates(file)[0]]
    return cost_to_markdown({r.name: BENCHMARKS / "results" / r.name for r in rows}, rows)


def card_tables(names: list[str]) -> str:
    """What docs/model_card.md says of the default model in numbers."""
    parts = []
    for run in (BENCHMARKS / "results" / name for name in names):
        if (run / "validation.json").exists():
            told = json.loads((run / "validation.json").read_text(encoding="utf-8"))
            parts.append(validation_to_markdown(told))
        if (run / "predictions.csv").exists():
            parts += [card_to_markdown(run, default_card().confidence), TRUST]
    return "\n".join(parts) or NONE_YET


def failures_table(names: list[str]) -> str:
    """Where the default model fails, on synthetic fields and films."""
    files = [BENCHMARKS / "results" / name / "failures.json" for name in names]
    there = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
    return "\n".join(map(failures_to_markdown, there)) or NONE_YET


def looks_table(names: list[str]) -> str:
    """The looks at the real clips."""
    looks = [look for name in names for look in read_looks(BENCHMARKS / "results" / f"{name}.csv")]
    return looks_to_markdown(looks) if looks else NONE_YET


def two_sample_tables(names: list[str]) -> str:
    """Areas under the ROC curve, per encoding, and how many real clips lie inside."""
    files = [BENCHMARKS / "results" / "two_sample" / f"{name}.json" for name in names]
    arms = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
    parts = []
    for encoding in arms[0]["encodings"] if arms else ():
        rows = [
            f"`{encoding}`:\n\n| generator | clips | AUC | boosting | CASME II | SMIC | SAMM "
            "| inside, median | least |",
            "|---|--:|---|--:|--:|--:|--:|--:|---|",
        ]
        for arm in arms:
            found = arm["encodings"][encoding]
            one, parted = found["sets"]["all"], found["sets"]
            area = "{auc:.3f} [{low:.3f}, {high:.3f}]".format(**one["logistic"])
            sets = " | ".join(
                f"{parted[s]['logistic']['auc']:.3f}" for s in ("casme2", "smic", "samm")
            )
            inside = sorted((share, name) for name, share in found["inside"].items())
            least, name = inside[0]
            rows.append(
                f"| {arm['arm']} | {arm['clips']} | {area} | {one['boosting']['auc']:.3f} | {sets} "
                f"| {inside[len(inside) // 2][0]:.2f} | {least:.2f}, {name} |"
            )
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts) or NONE_YET


KINDS: dict[str, Callable[[list[str]], str]] = {
    "table": comparison_table,
    "grid": grid_tables,
    "honesty": honesty_table,
    "speed": speed_tables,
    "cost": cost_table,
    "hours": hours_table,
    "card": card_tables,
    "failures": failures_table,
    "looks": looks_table,
    "two_sample": two_sample_tables,
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
