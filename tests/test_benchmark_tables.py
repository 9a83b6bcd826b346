"""`benchmarks/tables.py` and the experiments that its tables are made from."""

from __future__ import annotations

import csv
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from microexpr.evaluation.ablation import ablation
from microexpr.evaluation.bench import build_model
from microexpr.evaluation.experiment import read_experiment
from microexpr.evaluation.plan import plan

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
FILES = sorted(
    file for part in ("", "honesty", "candidates") for file in (BENCHMARKS / part).glob("*.toml")
)
PRINTED = [path for path in FILES if "published" in tomllib.loads(path.read_text())]
HERE = sorted(BENCHMARKS.glob("ablation_*s.toml")) + sorted(BENCHMARKS.glob("ablation_*i.toml"))
HERE += sorted(BENCHMARKS.glob("ablation_*_synthetic.toml"))


@pytest.fixture(scope="module")
def tables(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("tables.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_committed_experiment_can_be_read_and_its_model_built(path: Path) -> None:
    for experiment in read_experiment(path).values():
        with torch.device("meta"):
            build_model(experiment)


@pytest.mark.parametrize("path", PRINTED, ids=lambda path: path.stem)
def test_every_printed_row_has_an_arm(path: Path) -> None:
    spec = tomllib.loads(path.read_text())["published"]
    with (BENCHMARKS / "published.csv").open(newline="", encoding="utf-8") as file:
        rows = {
            line["row"]
            for line in csv.DictReader(file)
            if (line["paper"], line["table"]) == (spec["paper"], spec["table"])
        }
    assert set(spec["rows"].values()) == rows
    assert {spec["whole"], *spec["rows"]} <= set(read_experiment(path))


def test_there_is_an_experiment_for_each_ablation_and_kind_of_data() -> None:
    names = {path.stem for path in PRINTED}
    for ablated in ("lgfi", "scans"):
        assert {f"ablation_{ablated}{data}" for data in ("", "_synthetic", "_dfme")} <= names
    assert {"ablation_ammsm", "ablation_ammsm_casme2", "ammsm_nano_synthetic"} <= names


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("ablation_lgfi", "merba_scan_flow442"),
        ("ablation_scans", "merba_scan_flow442"),
        ("ablation_lgfi_dfme", "merba_dfme"),
        ("ablation_scans_dfme", "merba_dfme"),
        ("ablation_ammsm_casme2", "ammsm_casme2_5"),
    ],
)
def test_an_ablation_changes_the_model_alone(name: str, base: str) -> None:
    (whole, *_) = read_experiment(BENCHMARKS / f"{base}.toml").values()
    for arm in read_experiment(BENCHMARKS / f"{name}.toml").values():
        assert (arm.data, arm.protocol, arm.recipe) == (whole.data, whole.protocol, whole.recipe)
        kept = {key: arm.model.settings.get(key) for key in whole.model.settings if key != "mixer"}
        assert kept.items() <= whole.model.settings.items()


def test_documents_are_filled_and_what_is_missing_is_left_out(
    tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "BENCHMARKS", tmp_path)
    run = BENCHMARKS / "results" / "svm_flow442"
    shutil.copytree(run, tmp_path / "results" / "svm")
    shutil.copytree(run, tmp_path / "honesty" / "results" / "svm")
    shutil.copy(BENCHMARKS / "ablation_scans.toml", tmp_path)
    shutil.copy(BENCHMARKS / "published.csv", tmp_path)
    shutil.copytree(run, tmp_path / "results" / "ablation_scans" / "orders=a+b")
    text = "".join(
        f"# {kind}\n<!-- {kind}: {names} -->\nstale\n<!-- end -->\n"
        for kind, names in (
            ("table", "svm missing"),
            ("table", "missing"),
            ("grid", "ablation_scans"),
            ("honesty", "missing svm"),
        )
    )
    found = tables.filled(text + "<!-- other: x -->\nstale\n<!-- end -->\n")
    assert found.count("stale") == 1
    assert found.count(tables.NONE_YET) == 1
    assert found.count("| svm |") == 2
    assert "| orders=a+b | " in found
    assert "| .385 | .381 | .395 |" in found  # as printed
    assert tables.filled(found) == found


def test_the_committed_documents_name_runs_that_have_an_experiment(tables: ModuleType) -> None:
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for _, kind, names, _ in tables.BLOCK.findall(path.read_text(encoding="utf-8")):
            folder = BENCHMARKS / "honesty" if kind == "honesty" else BENCHMARKS
            for name in names.split() if kind in ("table", "grid", "honesty") else ():
                there = (folder / f"{part}.toml" for part in (name, name.rpartition("/")[0]))
                assert any(file.is_file() for file in there), (path.name, name)


def test_a_run_lies_beside_its_experiment(tables: ModuleType) -> None:
    for part in (BENCHMARKS, BENCHMARKS / "honesty", BENCHMARKS / "candidates"):
        for file in part.glob("*.toml"):
            name = file.relative_to(BENCHMARKS).with_suffix("").as_posix()
            assert tables.run_folder(name) == part / "results" / file.stem


@pytest.mark.slow
@pytest.mark.parametrize("path", HERE, ids=lambda path: path.stem)
def test_an_arm_of_an_ablation_takes_less_than_half_a_core_hour(
    path: Path, flow442_root: Path
) -> None:
    for name, experiment in read_experiment(path).items():
        last = plan(experiment, flow442_root, name).splitlines()[-1]
        hours = float(last.removeprefix("about ").partition(" ")[0])
        assert 0 < hours < 0.5, (name, last)


def test_an_unknown_grid_is_no_table(tmp_path: Path) -> None:
    assert ablation(BENCHMARKS / "ablation_scans.toml", tmp_path) is None
