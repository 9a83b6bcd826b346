"""From videos to pages: analyze, and the demo that makes its own film."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from microexpr.cli.options import MODEL_HELP, Address, Engine, GpusPerTask, Jobs, Json, open_cluster
from microexpr.cli.terminal import Progress, print_report
from microexpr.errors import UserError


def analyze(
    videos: Annotated[
        list[Path],
        # what cannot be read is said by `analyze`, in one line
        typer.Argument(help="Videos, folders of videos, or folders of frames.", readable=False),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the results; of several videos, one folder each in it.")
    ],
    model: Annotated[
        str | None,
        typer.Option(help=f"{MODEL_HELP.capitalize()}; default: one trained on synthetic faces."),
    ] = None,
    face: Annotated[int, typer.Option(help="Which face: 0 the largest, 1 the next ...")] = 0,
    onset: Annotated[
        int | None, typer.Option(help="Known frame numbers: nothing is spotted then.")
    ] = None,
    apex: Annotated[int | None, typer.Option(help="See --onset.")] = None,
    offset: Annotated[int | None, typer.Option(help="See --onset.")] = None,
    confidence: Annotated[
        float | None,
        typer.Option(help="Probability below which no emotion is named; default: the model's."),
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Frame rate of a folder of frames; overrules a file's.")
    ] = None,
    jobs: Jobs = None,
    engine: Engine = "processes",
    address: Address = None,
    gpus_per_task: GpusPerTask = 0.0,
    as_json: Json = False,
) -> None:
    """Find the micro-expressions in videos; write a page, tables and an annotated video."""
    from microexpr.analysis import key_frames
    from microexpr.app.outputs import Settings, analyze_all, exit_code
    from microexpr.training.pretrained import locate

    known = key_frames(onset, apex, offset)
    # once, and not by each of several processes: the hub may have to be asked
    settings = Settings(locate(model) if model else None, face, known, confidence, fps)
    with (
        open_cluster(engine, address, gpus_per_task, jobs) as on,
        Progress("analyze") as watch,
    ):
        outcomes = analyze_all(videos, out, settings, jobs, watch, on)
    _print_outcomes(outcomes, as_json)
    if exit_code(outcomes):
        raise typer.Exit(exit_code(outcomes))


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
    with Progress("demo") as watch:
        truth = sample_film(film, demo_script(), watch)
        outcome = do_job(Job(film, analysis, Settings()), watch)
    if outcome.report is None:
        raise UserError(outcome.error)
    Console().print(film_table(truth, outcome.report))
    print(f"film: {film}   page: {analysis / 'report.html'}\n")
    with Progress("demo") as watch:
        run_experiment(demo_experiment(), None, kfold, workers, watch)
    print_report(kfold)


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
