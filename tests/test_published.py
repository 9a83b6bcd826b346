"""What is committed about the field's systems: published figures, docs/models.md, experiments."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import pytest
import torch

from microexpr.evaluation.bench import build_model
from microexpr.evaluation.experiment import read_experiment
from microexpr.models import create_model, model_class, model_names

ROOT = Path(__file__).resolve().parents[1]
HONESTY = sorted((ROOT / "benchmarks" / "honesty").glob("*.toml"))


def published() -> list[dict[str, str]]:
    with (ROOT / "benchmarks" / "published.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_figures_are_well_formed_and_each_is_there_once() -> None:
    rows = published()
    assert list(rows[0]) == ["paper", "table", "row", "dataset", "metric", "value"]
    keys = [tuple(row.values())[:5] for row in rows]
    assert len(set(keys)) == len(keys)
    for row in rows:
        value = float(row["value"])
        assert (0 < value < 1) == (row["metric"] in {"UF1", "UAR", "ACC"}), row
    assert Counter((row["paper"], row["table"]) for row in rows) == {
        ("merba", "II"): 24,
        ("merba", "III"): 16,
        ("merba", "IV"): 42,
        ("merba", "V"): 80,
        ("merba", "VI"): 9,
        ("merba", "VII"): 18,
        ("ammsm", "I"): 22,
        ("ammsm", "II"): 10,
        ("ammsm", "III"): 20,
    }


def test_accuracies_are_counts_of_clips() -> None:
    """Each printed accuracy is a whole number of the 474 and 299 clips."""
    rows = [row for row in published() if row["metric"] == "ACC"]
    for row in rows:
        clips = 474 if row["dataset"].endswith("A") else 299
        right = round(float(row["value"]) * clips)
        assert abs(right / clips - float(row["value"])) < 1.1e-4, row
    assert len(rows) == 23


def test_figures_are_those_of_the_papers(shared_data: Path) -> None:
    """Every figure after a table's caption, in its order."""
    folder = shared_data.parent / "papers"
    if not folder.is_dir():
        pytest.skip("the papers are not here")
    for paper in ("merba", "ammsm"):
        text = (folder / f"{paper}.txt").read_text(encoding="utf-8")
        for table in sorted({row["table"] for row in published() if row["paper"] == paper}):
            rows = [r for r in published() if (r["paper"], r["table"]) == (paper, table)]
            body = text.split(f"TABLE {table}:")[1].split("TABLE")[0]
            if any("clips" in row["metric"] for row in rows):
                printed = re.findall(r"(?<![\d.])\d+(?![\d.])", body)
                own = [row["value"] for row in rows]
            else:
                printed = re.findall(r"(?<![\d.])\d+\.\d{2,4}(?!\d)", body)
                percent = paper == "ammsm"
                own = [
                    f"{100 * float(r['value']):.2f}"
                    if percent and r["metric"] != "latency ms"
                    else r["value"]
                    for r in rows
                ]
            start = next(i for i in range(len(printed)) if printed[i : i + len(own)] == own)
            assert printed[start : start + len(own)] == own


def test_the_page_of_systems_names_every_model_as_it_stands() -> None:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    rows = {
        cells[1].strip("` "): [cell.strip() for cell in cells[2:-1]]
        for cells in (line.split("|") for line in text.splitlines() if line.startswith("| `"))
    }
    assert set(rows) == set(model_names())
    for name, (standing, size, *_) in rows.items():
        assert standing == model_class(name).standing, name
        match = re.fullmatch(r"([\d.]+) M", size)
        if match:
            with torch.device("meta"):
                model = create_model(name, 3)
            count = sum(p.numel() for p in model.parameters())
            assert f"{count / 1e6:.{len(match[1].partition('.')[2])}f}" == match[1], name


@pytest.mark.parametrize("path", HONESTY, ids=lambda path: path.stem)
def test_the_honesty_study_can_be_read(path: Path) -> None:
    (experiment,) = read_experiment(path).values()
    assert experiment.run.selections == ("last", "inner", "oracle")
    assert experiment.data.dataset == "flow442"
    with torch.device("meta"):
        build_model(experiment)
