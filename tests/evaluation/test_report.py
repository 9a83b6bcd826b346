from __future__ import annotations

import io
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from matplotlib.image import imread
from rich.console import Console

from microexpr.evaluation import report as text
from microexpr.evaluation.comparison import compare
from microexpr.evaluation.predictions import Predictions, concatenate, write_predictions
from microexpr.evaluation.report import (
    comparison_to_json,
    comparison_to_markdown,
    render,
    render_comparison,
    to_json,
    to_markdown,
    write_report,
)
from microexpr.evaluation.tables import Run, table

Maker = Callable[..., Predictions]


def _shown(what: object, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(what)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture
def run(by_chance: Maker, tmp_path: Path) -> Path:
    """A finished run of two seeds and three selections."""
    made = [by_chance(12, seeds=(0, 1), selection=s) for s in ("last", "inner", "oracle")]
    write_predictions(concatenate(made), tmp_path / "demo" / "predictions.csv")
    return tmp_path / "demo"


def test_a_report_is_written_whole(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = write_report(run, out, resamples=20)
    assert sorted(file.name for file in out.iterdir()) == [
        "confusion.png",
        "confusion_inner.png",
        "confusion_oracle.png",
        "report.json",
        "report.md",
    ]
    read = json.loads((out / "report.json").read_text())
    assert read == to_json(report)
    assert read["columns"][0]["parts"][0]["scores"]["uf1"]["value"] == pytest.approx(
        report.columns[0].parts[0].scores["uf1"].value
    )
    markdown = (out / "report.md").read_text()
    assert markdown.startswith(to_markdown(report))
    for name in ("confusion.png", "confusion_inner.png", "confusion_oracle.png"):
        assert f"({name})" in markdown
        height, width, _ = imread(out / name).shape
        assert min(height, width) > 300


def test_the_same_run_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_report(run, tmp_path / name, resamples=20)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_terminal_and_markdown_show_the_same_numbers(run: Path) -> None:
    report = table(run, resamples=20)
    markdown, shown = to_markdown(report), _shown(render(report))
    score = report.columns[0].parts[0].scores["uf1"]
    cell = "{} [{}, {}]".format(*(f"{v:.3f}"[1:] for v in (score.value, score.low, score.high)))
    for rendering in (markdown, shown):
        assert cell in rendering
        for word in ("last epoch", "inner validation", "oracle (leaky)", "combined", "samm"):
            assert word in rendering
        assert "12 persons, 12 folds, 2 seeds" in rendering
        assert f"{score.median:.3f}"[1:] in rendering
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80


def test_markdown_tables_are_square(run: Path) -> None:
    rows = [line for line in to_markdown(table(run, resamples=5)).splitlines() if line[:1] == "|"]
    for above, line in pairwise(rows):
        if line.startswith("|---"):
            width = line.count("|")
            assert above.count("|") == width
    assert len(rows) > 20


def test_absent_classes_show_in_every_form(hand_made: Maker) -> None:
    report = table(hand_made([("smic/s1/c1", 0, 0), ("smic/s2/c1", 1, 2)]), resamples=5)
    for rendering in (
        to_markdown(report),
        _shown(render(report), 200),
        json.dumps(to_json(report)),
    ):
        assert "surprise: no true clip, but predicted" in rendering
    assert "| surprise | 0 | .000 | – | .000 |" in to_markdown(report)
    assert to_json(report)["columns"][0]["parts"][0]["classes"][2]["recall"] is None


def test_one_seed_needs_no_seed_table_and_one_column_no_oracle(by_chance: Maker) -> None:
    markdown = to_markdown(table(by_chance(5), resamples=5))
    assert "## Seeds" not in markdown
    assert "oracle" not in markdown


def test_names_with_markup_are_shown_as_they_are(hand_made: Maker) -> None:
    made = hand_made([("smic/s1/c1", 0, 0), ("smic/s2/c1", 1, 1)])
    report = table(Run("[red]|x", made, {}, {}), resamples=5)
    assert "[red]|x" in _shown(render(report))
    found = compare([Run("[red]|x", made, {}, {})], resamples=5)
    assert "[red]|x" in _shown(render_comparison(found))
    assert "| [red]\\|x |" in comparison_to_markdown(found)


def test_a_comparison_shows_each_difference(by_chance: Maker) -> None:
    runs = [
        Run(name, by_chance(14, skill, salt=i), {}, {})
        for i, (name, skill) in enumerate({"merba": 0.8, "svm": 0.4, "ststnet": 0.7}.items())
    ]
    found = compare(runs, resamples=60)
    lines = comparison_to_markdown(found).splitlines()
    assert lines[0] == "| run | UF1 | UAR | samm | smic | Δ UF1 | p | Δ UAR | p |"
    assert len({line.count("|") for line in lines[:5]}) == 1
    assert lines[2].startswith("| merba | ")
    assert lines[2].endswith("|  |  |  |  |")
    assert lines[3].startswith("| svm | ")
    assert "| −." in lines[3]
    shown = _shown(render_comparison(found), 200)
    assert all(name in shown for name in ("merba", "svm", "ststnet", "Δ UF1"))
    read = json.loads(json.dumps(comparison_to_json(found), allow_nan=False))
    assert read["rows"][1]["differences"]["uf1"]["value"] < 0


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.7484, ".748"), (1.0, "1.000"), (0.99961, "1.000"), (0.0, ".000"), (float("nan"), "–")],
)
def test_numbers_are_printed_as_the_field_does(value: float, shown: str) -> None:
    assert text._number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.05, "+.050"), (-0.05, "−.050"), (-0.0001, ".000"), (-1.0, "−1.000")]
)
def test_differences_carry_a_sign(value: float, shown: str) -> None:
    assert text._signed(value) == shown
