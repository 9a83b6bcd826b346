"""What is committed about the field's systems: published figures, docs/models.md, experiments."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from microexpr.evaluation.bench import build_model
from microexpr.evaluation.experiment import read_experiment
from microexpr.models import create_model, model_class, model_names
from microexpr.models.merba import SIZES

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
        ("merba", "I"): 33,
        ("merba", "II"): 24,
        ("merba", "III"): 16,
        ("merba", "IV"): 42,
        ("merba", "V"): 80,
        ("merba", "VI"): 9,
        ("merba", "VII"): 18,
        ("ammsm", "I"): 22,
        ("ammsm", "II"): 10,
        ("ammsm", "III"): 21,
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
            if (paper, table) == ("merba", "I"):
                continue
            rows = [r for r in published() if (r["paper"], r["table"]) == (paper, table)]
            body = text.split(f"TABLE {table}:")[1].split("TABLE")[0]
            if any("clips" in row["metric"] for row in rows):
                printed = re.findall(r"(?<![\d.])\d+(?![\d.])", body)
                own = [row["value"] for row in rows]
            else:
                printed = re.findall(r"(?<![\d.])\d+\.\d{1,4}(?!\d)", body)
                percent = paper == "ammsm"
                own = [
                    f"{100 * float(r['value']):.2f}"
                    if percent and not r["metric"].startswith("latency")
                    else r["value"]
                    for r in rows
                ]
            start = next(i for i in range(len(printed)) if printed[i : i + len(own)] == own)
            assert printed[start : start + len(own)] == own


def settings_of_merba(metric: str) -> list[int]:
    """The figures of the paper's table I that end so, in its order."""
    rows = [row for row in published() if (row["paper"], row["table"]) == ("merba", "I")]
    return [int(row["value"]) for row in rows if row["metric"].endswith(metric)]


def test_the_settings_of_merba_are_those_of_the_paper(shared_data: Path) -> None:
    """The paper's text has table I twice over, as formulas and as words; these are the words."""
    paper = shared_data.parent / "papers" / "merba.txt"
    if not paper.is_file():
        pytest.skip("the papers are not here")
    body = paper.read_text(encoding="utf-8").split("TABLE I:")[1].split("III Methodology")[0]
    depths = re.findall(r"end_POSTSUBSCRIPT = (\d+)|Self-attention (\d+)", body)
    assert settings_of_merba("depth") == [int(a or b) for a, b in depths]
    squares = re.findall(r" × (\d+)(?: × (\d+))?", body)
    assert settings_of_merba("channels") == [int(channels) for _, channels in squares if channels]
    in_order = [int(side) for side, channels in squares if channels]
    rows = [r for r in published() if r["table"] == "I" and r["metric"].endswith("put side")]
    assert [int(row["value"]) for row in rows] == in_order
    assert sorted(settings_of_merba("window side")) == sorted(
        int(side) for side, channels in squares if not channels
    )


def test_merba_is_built_as_its_table_says() -> None:
    with torch.device("meta"):
        model = create_model("merba", 3)
    preset = SIZES["base"]
    depth = settings_of_merba("depth")
    assert (*preset.depths, *preset.attentions) == (*depth[:2], *depth[3::2], *depth[2::2])
    assert [model.eats.size, preset.widths[0]] == [
        settings_of_merba("input side")[0],
        settings_of_merba("output channels")[0],
    ]
    assert list(preset.widths[1:]) == settings_of_merba("output channels")[1:-1]


def test_systems_of_which_nothing_can_be_built_are_cited_with_the_reason() -> None:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    for system, row in (("LAENet", "LAENet"), ("GEME", "GEME"), ("He et al.", "He et al.")):
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {system}")]
        cells = [cell.strip() for cell in line.split("|")]
        assert cells[2] == "cited"
        assert len(cells[-2]) > 10
        assert any(found["row"] == row for found in published())


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


# What the papers say of training: MERba section IV-B, AMMSM section IV-C.
MERBA = {
    "optimiser": "adamw", "batch": 128, "lr": 5e-4, "schedule": "cosine", "warmup": 5,
    "cooldown": 10, "weight_decay": 0.05, "flip": True, "mixup": 0, "shift": 0, "rotate": 0,
    "zoom": 0, "noise": 0, "label_smoothing": 0, "class_weights": False,
}  # fmt: skip
AMMSM = {
    "optimiser": "adamw", "batch": 16, "lr": 3e-5, "schedule": "cosine", "warmup": 0,
    "cooldown": 0, "weight_decay": 0.05,
}  # fmt: skip
HTNET = {
    "optimiser": "adam", "batch": 256, "lr": 5e-5, "schedule": "constant", "weight_decay": 0,
    "flip": False,
}  # fmt: skip
MEGC = ("3DB", "SMIC-HS", "CASME II", "SAMM")
TESTS = ("DFME Test A", "DFME Test B")
ROWS = {  # file: table, row, data sets; recipe, epochs of its phases, settings of the model
    "merba_3db": ("merba V", "MERba", MEGC, MERBA, [70], {"dropout": 0.1, "size": "base"}),
    "merba_dfme": (
        "merba IV", "MERba-DGCM", TESTS, MERBA, [200], {"dropout": 0.1, "head": "dgcm"}
    ),
    "merba_base_dfme": (
        "merba IV", "MERba-base", TESTS, MERBA, [200], {"dropout": 0.1, "head": "linear"}
    ),
    "mambavision_3db": ("merba V", "MambaVision-B", MEGC, MERBA, [70], {}),
    "mambavision_dfme": ("merba IV", "MambaVision-B", TESTS, MERBA, [200], {}),
    "htnet_dfme": ("merba IV", "HTNet", TESTS, HTNET, [800], {"dropout": 0.0}),
    "ammsm_casme2_3": ("ammsm I", "AMMSM", ("CASME II 3 classes",), AMMSM, [70, 10, 30], {}),
    "ammsm_casme2_5": ("ammsm I", "AMMSM", ("CASME II 5 classes",), AMMSM, [70, 10, 30], {}),
    "ammsm_samm_3": ("ammsm II", "AMMSM", ("SAMM 3 classes",), AMMSM, [70, 10, 30], {}),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_a_published_row_has_the_papers_recipe_and_figures(name: str) -> None:
    source, row, sets, recipe, epochs, settings = ROWS[name]
    path = ROOT / "benchmarks" / f"{name}.toml"
    (experiment,) = read_experiment(path).values()
    assert [phase.epochs for phase in experiment.recipe.phases] == epochs
    for phase in experiment.recipe.phases:
        assert {key: getattr(phase, key) for key in recipe} == recipe
        assert source.startswith("merba") or phase.mode == "search" or phase.mixup * phase.mesa > 0
    assert settings.items() <= experiment.model.settings.items()
    comment = " ".join(line[2:] for line in path.read_text().splitlines() if line.startswith("# "))
    for dataset in sets:
        figures = [
            p["value"].removeprefix("0")
            for p in published()
            if (f"{p['paper']} {p['table']}", p["row"], p["dataset"]) == (source, row, dataset)
        ]
        assert len(figures) >= 2
        assert "/".join(figures) in comment, (dataset, figures)


def test_the_honesty_study_is_complete() -> None:
    """What it was promised to hold, and HTNet by the recipe that was measured elsewhere."""
    nets = ("ststnet", "offapexnet", "sssnet", "htnet", "svm", "merba_nano", "ammsm_nano")
    noise = {path.stem for path in HONESTY if path.stem.startswith("noise_")}
    assert {path.stem for path in HONESTY} - noise == {f"{name}_flow442" for name in nets}
    for name in noise:
        one, other = (
            read_experiment(ROOT / "benchmarks" / "honesty" / f"{stem}.toml")[""]
            for stem in (name, name.removeprefix("noise_"))
        )
        assert one.data.labels == "megc3_noise"
        assert replace(one, data=other.data) == other
    assert noise
    htnet = read_experiment(ROOT / "benchmarks" / "honesty" / "htnet_flow442.toml")[""]
    (phase,) = htnet.recipe.phases
    assert htnet.protocol.settings == {"folds": 5}
    assert (phase.epochs, phase.batch, phase.lr) == (50, 64, 2e-5)
    assert (phase.optimiser, phase.sampling) == ("adam", "shuffled")


@pytest.mark.parametrize("path", HONESTY, ids=lambda path: path.stem)
def test_the_honesty_study_can_be_read(path: Path) -> None:
    (experiment,) = read_experiment(path).values()
    assert experiment.run.selections == ("last", "inner", "oracle")
    assert experiment.data.dataset == "flow442"
    with torch.device("meta"):
        build_model(experiment)
