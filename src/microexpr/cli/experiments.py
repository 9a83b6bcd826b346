"""Experiments: run them, score them, compare them; train one model on everything."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from microexpr.cli.options import (
    Address,
    DataFolder,
    Engine,
    GpusPerTask,
    Jobs,
    Json,
    open_cluster,
)
from microexpr.cli.terminal import Progress, print_report, print_rows
from microexpr.errors import UserError

if TYPE_CHECKING:
    from microexpr.evaluation.experiment import Experiment


def run(
    experiment: Annotated[Path, typer.Argument(help="TOML file of the experiment.")],
    data: DataFolder = None,
    out: Annotated[
        Path | None, typer.Option(help="Result folder; default: results/NAME beside the TOML.")
    ] = None,
    jobs: Jobs = None,
    engine: Engine = "processes",
    address: Address = None,
    gpus_per_task: GpusPerTask = 0.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show folds, classes and steps; train nothing.")
    ] = False,
) -> None:
    """Train and test every fold of an experiment; killed and started again, it goes on."""
    from microexpr.evaluation.experiment import read_experiment
    from microexpr.evaluation.plan import plan
    from microexpr.evaluation.run import run_experiment
    from microexpr.jobs import check_jobs

    workers = check_jobs(jobs)
    arms = read_experiment(experiment)
    base = out or experiment.parent / "results" / experiment.stem
    with open_cluster(engine, address, gpus_per_task, jobs) as on:
        for arm, settings in arms.items():
            if dry_run:
                print(plan(settings, data, arm))
                continue
            folder = base / arm if arm else base
            with Progress(arm or experiment.stem) as watch:
                run_experiment(settings, data, folder, workers, watch, on)
            print_report(folder)
    if "" not in arms and not dry_run:
        _print_arms(experiment, base)


def _print_arms(experiment: Path, base: Path) -> None:
    """Sets the arms of a grid side by side, in the terminal and in ``table.md``."""
    from microexpr.evaluation.ablation import ablation
    from microexpr.evaluation.report import ablation_to_markdown
    from microexpr.files import write_text

    found = ablation(experiment, base)
    if found:
        write_text(ablation_to_markdown(found), base / "table.md")
        print(f"{ablation_to_markdown(found)}table: {base / 'table.md'}")


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders with predictions.csv.")],
    as_json: Json = False,
) -> None:
    """Score runs: combined and per data set, with intervals; writes report.md, .json and .png."""
    from microexpr.evaluation.report import to_json, write_report

    if as_json:
        reports = [to_json(write_report(folder, folder)) for folder in runs]
        print(json.dumps(reports if len(reports) > 1 else reports[0], indent=2))
        return
    for folder in runs:
        print_report(folder)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders; the first is compared to each.")],
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    selection: Annotated[str, typer.Option(help="last, inner or oracle.")] = "last",
    out: Annotated[
        Path | None, typer.Option(help="Folder for comparison.md, .json and the picture.")
    ] = None,
) -> None:
    """Compare runs on the clips they share: paired difference, interval, p-value."""
    from rich.console import Console

    from microexpr.evaluation import report

    found = report.compare(runs, selection)
    if out:
        report.write_comparison(found, out)
    if as_json:
        print(json.dumps(report.comparison_to_json(found), indent=2))
    elif markdown:
        print(report.comparison_to_markdown(found), end="")
    else:
        Console().print(report.render_comparison(found))
    if out and not as_json:
        print(f"picture: {out / 'comparison.png'}", file=sys.stderr)


def train(
    experiment: Annotated[Path, typer.Argument(help="TOML file of the experiment.")],
    out: Annotated[Path, typer.Option(help="Checkpoint to write (.safetensors).")],
    data: DataFolder = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Train one model on every labelled clip of an experiment's data and save it."""
    from microexpr.evaluation.experiment import read_experiment
    from microexpr.evaluation.run import train_on_all
    from microexpr.training.devices import is_first

    settings = _one(read_experiment(experiment), experiment)
    with Progress(experiment.stem) as watch:
        train_on_all(settings, data, out, seed, watch if is_first() else lambda *_: None)
    if is_first():
        print(f"wrote {out}")


def search(
    experiment: Annotated[Path, typer.Argument(help="TOML file of the experiment.")],
    out: Annotated[Path, typer.Option(help="Result folder.")],
    data: DataFolder = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    jobs: Jobs = None,
    engine: Engine = "processes",
    address: Address = None,
    gpus_per_task: GpusPerTask = 0.0,
) -> None:
    """Search a model's choices on every labelled clip, up to the recipe's last search phase."""
    from microexpr.evaluation.experiment import read_experiment
    from microexpr.evaluation.searching import search_experiment
    from microexpr.jobs import check_jobs

    workers = check_jobs(jobs)
    settings = _one(read_experiment(experiment), experiment)
    with (
        open_cluster(engine, address, gpus_per_task, jobs) as on,
        Progress(experiment.stem) as watch,
    ):
        trials = search_experiment(settings, data, out, seed, workers, watch, on)
    with (out / "search.csv").open(encoding="utf-8", newline="") as file:
        chosen = next(csv.DictReader(file))
    print_rows([{"": name, "chosen": value} for name, value in chosen.items()], as_json=False)
    print(f"model: {out / 'model.safetensors'}   trials: {trials}")


def _one(arms: dict[str, Experiment], path: Path) -> Experiment:
    if len(arms) != 1:
        raise UserError(f"{path} has a grid of {len(arms)} arms; this takes an experiment of one")
    return next(iter(arms.values()))
