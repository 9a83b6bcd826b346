"""A data set on disk: made of drawn people, or turned into flow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from microexpr.cli.options import (
    Address,
    DataSettings,
    Engine,
    GpusPerTask,
    Jobs,
    Json,
    open_cluster,
)
from microexpr.cli.terminal import Progress


def film(
    out: Annotated[Path, typer.Argument(help="Folder of the archive; made if need be.")],
    persons: Annotated[int, typer.Option(help="Number of persons.")] = 20,
    clips: Annotated[int, typer.Option(help="Films of each.")] = 21,
    seed: Annotated[int, typer.Option(help="Another seed, other persons.")] = 0,
    prior: Annotated[
        str, typer.Option(help="Emotions: balanced, or megc3 (negative .4, positive .3).")
    ] = "balanced",
    mixes: Annotated[
        str, typer.Option(help="Action units of an emotion: textbook, counted or both.")
    ] = "textbook",
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Make films of drawn people, a micro-expression each; started again, it goes on."""
    from microexpr.film.archive import Archive, make_archive

    with Progress("film") as watch:
        done = make_archive(out, Archive(persons, clips, seed, prior, mixes), jobs, watch)
    if as_json:
        print(json.dumps({"made": done.made, "kept": done.kept, "archive": str(out)}, indent=2))
    else:
        print(f"{done.made} films made, {done.kept} were there: {out}")
        print(f"next: microexpr prepare films {out} --out STORE")


def prepare(
    dataset: Annotated[str, typer.Argument(help="Name of the data set: `microexpr datasets`.")],
    root: Annotated[Path, typer.Argument(help="Its folder.")],
    out: Annotated[Path, typer.Option(help="Folder of the store; data sets may share one.")],
    wants: Annotated[
        list[str] | None,
        typer.Option("--input", help="KEY=VALUE of what is stored; default: flow of 224 pixels."),
    ] = None,
    setting: DataSettings = None,
    sheet: Annotated[int, typer.Option(help="Clips on the contact sheet; 0: no sheet.")] = 8,
    jobs: Jobs = None,
    engine: Engine = "processes",
    address: Address = None,
    gpus_per_task: GpusPerTask = 0.0,
    as_json: Json = False,
) -> None:
    """Turn a data set's frames into flow, once; killed and started again, it goes on."""
    from microexpr.preparation import prepare_dataset, summary

    words = (wants or [], setting or [])
    with (
        open_cluster(engine, address, gpus_per_task, jobs) as on,
        Progress(f"prepare {dataset}") as watch,
    ):
        done = prepare_dataset(dataset, root, out, *words, sheet, jobs, watch, on)
    print(json.dumps(done, indent=2) if as_json else summary(done))
    if done["failed"]:
        raise typer.Exit(1)
