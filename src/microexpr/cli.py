"""One thin command a verb; whatever is heavy is imported inside the commands."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from microexpr.errors import UserError

app = typer.Typer(
    help="Facial micro-expression recognition with an evaluation that cannot leak.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DataFolder = Annotated[
    Path | None, typer.Option("--data", help="Folder of the data set, or of several below it.")
]
Jobs = Annotated[int | None, typer.Option("--jobs", help="Processes; default: one a core.")]


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log.")] = False,
) -> None:
    """Facial micro-expression recognition with an evaluation that cannot leak."""
    if debug:
        os.environ["MICROEXPR_DEBUG"] = "1"
        logging.basicConfig(level=logging.DEBUG, format="%(name)s: %(message)s")


def main() -> None:
    """Entry point: errors of the user end in one line and exit code 2."""
    try:
        app()
    except KeyboardInterrupt:
        _leave("stopped; the same command goes on from here", 130)
    except (UserError, OSError) as error:
        if os.environ.get("MICROEXPR_DEBUG"):
            raise
        _leave(f"error: {error}", 2)


def _leave(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)


@app.command()
def models(as_json: Json = False) -> None:
    """List the models: paper, input, and how sure we are of them."""
    from microexpr.models import model_class, model_names

    _list(
        [
            {
                "name": name,
                "paper": (cls := model_class(name)).paper,
                "input": f"{', '.join(cls.eats.channels)} {cls.eats.size}x{cls.eats.size} "
                f"{cls.eats.flow} {cls.eats.normalisation}"
                + (f" {cls.eats.frames} frames" if cls.eats.frames > 1 else ""),
                "standing": cls.standing,
                "uncertain": cls.uncertain,
            }
            for name in model_names()
        ],
        as_json,
    )


@app.command()
def datasets(as_json: Json = False) -> None:
    """List the data sets: what they hold, their paper, how to obtain them."""
    from microexpr.datasets import dataset_class, dataset_names

    rows = []
    for name in dataset_names():
        cls = dataset_class(name)
        ships = cls.ships
        rows.append(
            {
                "name": name,
                "title": cls.title,
                "paper": cls.paper,
                "access": cls.access + (" (unverified)" if cls.unverified else ""),
                "input": "frames"
                if ships is None
                else f"{', '.join(ships.channels)} {ships.size}x{ships.size} {ships.normalisation}",
            }
        )
    _list(rows, as_json)


@app.command()
def protocols(as_json: Json = False) -> None:
    """List the protocols and the label schemes."""
    from microexpr.evaluation.protocols import PROTOCOLS, protocol_settings
    from microexpr.labels import SCHEMES

    rows: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "kind": "protocol",
            "about": entry.about,
            "settings": ", ".join(f"{k}={v}" for k, v in protocol_settings(entry.name).items()),
        }
        for entry in PROTOCOLS.values()
    ]
    rows += [
        {"name": s.name, "kind": "labels", "about": ", ".join(s.labels), "settings": ""}
        for s in SCHEMES.values()
    ]
    _list(rows, as_json)


def _list(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Prints rows of equal keys as JSON or as a table."""
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*rows[0], box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)


@app.command()
def run(
    experiment: Annotated[Path, typer.Argument(help="TOML file of the experiment.")],
    data: DataFolder = None,
    out: Annotated[
        Path | None, typer.Option(help="Result folder; default: results/NAME beside the TOML.")
    ] = None,
    jobs: Jobs = None,
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
    for arm, settings in arms.items():
        if dry_run:
            print(plan(settings, data, arm))
            continue
        folder = base / arm if arm else base
        with _progress(arm or experiment.stem) as watch:
            run_experiment(settings, data, folder, workers, watch)
        _print_report(folder)


@app.command()
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
        _print_report(folder)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders; the first is compared to each.")],
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
) -> None:
    """Compare runs on the clips they share: paired difference, interval, p-value."""
    from rich.console import Console

    from microexpr.evaluation import report

    found = report.compare(runs)
    if as_json:
        print(json.dumps(report.comparison_to_json(found), indent=2))
    elif markdown:
        print(report.comparison_to_markdown(found), end="")
    else:
        Console().print(report.render_comparison(found))


@app.command()
def train(
    experiment: Annotated[Path, typer.Argument(help="TOML file of the experiment.")],
    out: Annotated[Path, typer.Option(help="Checkpoint to write (.safetensors).")],
    data: DataFolder = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Train one model on every labelled clip of an experiment's data and save it."""
    from microexpr.evaluation.experiment import read_experiment
    from microexpr.evaluation.run import train_on_all

    arms = read_experiment(experiment)
    if len(arms) != 1:
        raise UserError(f"{experiment} has a grid of {len(arms)} arms; train takes one")
    with _progress(experiment.stem) as watch:
        train_on_all(next(iter(arms.values())), data, out, seed, watch)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"wrote {out}")


@app.command()
def analyze(
    videos: Annotated[
        list[Path], typer.Argument(help="Videos, folders of videos, or folders of frames.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the results; of several videos, one folder each in it.")
    ],
    model: Annotated[
        Path | None, typer.Option(help="Checkpoint; default: one trained on synthetic faces.")
    ] = None,
    face: Annotated[int, typer.Option(help="Which face: 0 the largest, 1 the next ...")] = 0,
    onset: Annotated[
        int | None, typer.Option(help="Known frame numbers: nothing is spotted then.")
    ] = None,
    apex: Annotated[int | None, typer.Option(help="See --onset.")] = None,
    offset: Annotated[int | None, typer.Option(help="See --onset.")] = None,
    confidence: Annotated[
        float, typer.Option(help="Probability below which no emotion is named.")
    ] = 0.6,
    fps: Annotated[
        float | None, typer.Option(help="Frame rate of a folder of frames; overrules a file's.")
    ] = None,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Find the micro-expressions in videos; write a page, tables and an annotated video."""
    from microexpr.analysis import key_frames
    from microexpr.app.outputs import Settings, analyze_all, exit_code

    known = key_frames(onset, apex, offset)
    settings = Settings(model, face, known, confidence, fps)
    with _progress("analyze") as watch:
        outcomes = analyze_all(videos, out, settings, jobs, watch)
    _print_outcomes(outcomes, as_json)
    if exit_code(outcomes):
        raise typer.Exit(exit_code(outcomes))


@app.command()
def prepare(
    dataset: Annotated[str, typer.Argument(help="Name of the data set: `microexpr datasets`.")],
    root: Annotated[Path, typer.Argument(help="Its folder.")],
    out: Annotated[Path, typer.Option(help="Folder of the store; data sets may share one.")],
    wants: Annotated[
        list[str] | None,
        typer.Option("--input", help="KEY=VALUE of what is stored; default: flow of 224 pixels."),
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, a setting of the data set.")
    ] = None,
    sheet: Annotated[int, typer.Option(help="Clips on the contact sheet; 0: no sheet.")] = 8,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Turn a data set's frames into flow, once; killed and started again, it goes on."""
    from microexpr.preparation import prepare_dataset, summary

    with _progress(f"prepare {dataset}") as watch:
        done = prepare_dataset(dataset, root, out, wants or [], setting or [], sheet, jobs, watch)
    print(json.dumps(done, indent=2) if as_json else summary(done))
    if done["failed"]:
        raise typer.Exit(1)


@app.command()
def doctor(
    dataset: Annotated[str | None, typer.Argument(help="Name of a data set.")] = None,
    root: Annotated[Path | None, typer.Argument(help="Its folder.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, a setting of the data set.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what is installed and works; for a data set's folder, what is there and what is not."""
    from dataclasses import asdict

    from microexpr.doctor import examine, render, worst

    found = examine(dataset, root, setting or [])
    print(
        json.dumps([asdict(finding) for finding in found], indent=2) if as_json else render(found)
    )
    if worst(found) == "wrong":
        raise typer.Exit(1)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("runs/demo"),
    jobs: Jobs = None,
) -> None:
    """Make a film, find its movements; train a small MERba on synthetic flow under kfold."""
    from rich.console import Console

    from microexpr.app.outputs import Job, Settings, do_job
    from microexpr.demo import demo_experiment, demo_script, film_table, sample_film
    from microexpr.evaluation.run import run_experiment
    from microexpr.jobs import check_jobs

    workers = check_jobs(jobs)
    film, analysis, kfold = out / "film.mp4", out / "analysis", out / "kfold"
    with _progress("demo") as watch:
        truth = sample_film(film, demo_script(), watch)
        outcome = do_job(Job(film, analysis, Settings()), watch)
    if outcome.report is None:
        raise UserError(outcome.error)
    Console().print(film_table(truth, outcome.report))
    print(f"film: {film}   page: {analysis / 'report.html'}\n")
    with _progress("demo") as watch:
        run_experiment(demo_experiment(), None, kfold, workers, watch)
    _print_report(kfold)


def _print_outcomes(outcomes: list[Any], as_json: bool) -> None:
    """One line a video: what was found and where the page is; errors on stderr."""
    if as_json:
        reports = [outcome.report for outcome in outcomes if outcome.report]
        print(json.dumps(reports[0] if len(outcomes) == len(reports) == 1 else reports, indent=2))
    for outcome in outcomes:
        if outcome.error:
            print(f"error: {outcome.error}", file=sys.stderr)
        elif not as_json:
            before = " (done before)" if outcome.skipped else ""
            print(f"{outcome.job.video}: {outcome.report['summary']}{before}")
            print(f"  {outcome.job.out / 'report.html'}")


def _print_report(folder: Path) -> None:
    from rich.console import Console

    from microexpr.evaluation.report import render, write_report

    Console().print(render(write_report(folder, folder)))
    print(f"report: {folder / 'report.md'}   confusion matrix: {folder / 'confusion.png'}")


class _progress:
    """A progress bar with time left on stderr; gives ``watch(what, done, of)``."""

    def __init__(self, title: str) -> None:
        from rich import progress
        from rich.console import Console

        self.title = title
        self.bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left"),
            progress.TimeRemainingColumn(elapsed_when_finished=False),
            console=Console(stderr=True),
        )
        self.tasks: dict[str, Any] = {}

    def __enter__(self) -> Any:
        return self.watch

    def __exit__(self, *_: object) -> None:
        if self.tasks:
            self.bar.stop()

    def watch(self, what: str, done: int, of: int) -> None:
        """Shows that `done` of `of` pieces of `what` are done."""
        self.bar.start()  # not before there is something to show: an error comes alone
        if what not in self.tasks:
            self.tasks[what] = self.bar.add_task(f"{self.title}: {what}", total=of)
        self.bar.update(self.tasks[what], completed=done, total=of)


if __name__ == "__main__":
    main()
