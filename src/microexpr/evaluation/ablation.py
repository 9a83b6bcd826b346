"""The table of a grid: a row an arm, and beside our scores those that a paper printed, as values.

A TOML file with a ``[grid]`` may say which printed table its arms are after::

    [published]
    paper = "merba"                     # these two as in published.csv, which lies beside the file
    table = "VII"
    whole = "orders=a+b+c+d"            # the arm that the others are compared to
    rows = { "orders=a" = "a" }         # arm -> row of the printed table
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from microexpr.errors import UserError, suggest
from microexpr.evaluation.comparison import Comparison, compare
from microexpr.evaluation.experiment import build, read_experiment
from microexpr.evaluation.tables import read_run

METRICS = ("UF1", "UAR", "ACC")


@dataclass(frozen=True, slots=True)
class Published:
    """The ``[published]`` of a TOML file.

    Attributes:
        paper: As in published.csv.
        table: Likewise.
        whole: The arm that the others are compared to; the first one if empty.
        rows: ``arm -> row of the table``; an arm that was not printed is left out.
    """

    paper: str
    table: str
    whole: str = ""
    rows: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ablation:
    """The arms of a grid that are done.

    Attributes:
        name: Of the TOML file.
        source: What was printed, in words; empty where nothing was.
        comparison: A row an arm, the one compared to first.
        printed: For each row its published scores by metric, as fractions; mostly of other data.
    """

    name: str
    source: str
    comparison: Comparison
    printed: tuple[Mapping[str, float], ...]


def ablation(path: Path, results: Path, *, resamples: int = 2000) -> Ablation | None:
    """Scores the arms of a grid; those without predictions are left out.

    Args:
        path: The TOML file.
        results: The folder that holds a folder for each arm.
        resamples: Of the bootstrap, and of the permutation test.

    Returns:
        None where no arm is done.

    Raises:
        UserError: As `read_experiment` and `compare`; a bad ``[published]``.
    """
    arms = list(read_experiment(path))
    spec = _published(path, arms)
    first = [spec.whole] if spec and spec.whole else []
    order = [*first, *(arm for arm in arms if arm not in first)]
    done = [arm for arm in order if (results / arm / "predictions.csv").exists()]
    if not done:
        return None
    found = compare([read_run(results / arm) for arm in done], resamples=resamples)
    if spec is None:
        return Ablation(path.stem, "", found, tuple({} for _ in done))
    printed = _printed(path.with_name("published.csv"), spec)
    data = ", ".join(dict.fromkeys(where for where, _ in printed.values()))
    source = f"{spec.paper}, table {spec.table}" + (f" ({data})" if data else "")
    rows = tuple(printed.get(spec.rows.get(arm, ""), ("", {}))[1] for arm in done)
    return Ablation(path.stem, source, found, rows)


def _published(path: Path, arms: Sequence[str]) -> Published | None:
    table = tomllib.loads(path.read_text(encoding="utf-8")).get("published")
    if table is None:
        return None
    spec = build(Published, table, "published")
    for arm in filter(None, (spec.whole, *spec.rows)):
        if arm not in arms:
            raise UserError(f"{path}: [published] names the arm '{arm}': {suggest(arm, arms)}")
    return spec


def _printed(path: Path, spec: Published) -> dict[str, tuple[str, dict[str, float]]]:
    """``row -> (data, scores by metric)`` of one printed table."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except OSError as error:
        raise UserError(f"[published] needs {path}: {error}") from error
    found: dict[str, tuple[str, dict[str, float]]] = {}
    for line in lines:
        if (line["paper"], line["table"]) == (spec.paper, spec.table):
            scores = found.setdefault(line["row"], (line["dataset"], {}))[1]
            if line["metric"] in METRICS:
                scores[line["metric"]] = float(line["value"])
    for row in spec.rows.values():
        if row not in found:
            raise UserError(f"{path} has no row '{row}' of that table: {suggest(row, found)}")
    return found
