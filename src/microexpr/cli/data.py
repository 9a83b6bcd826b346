"""A data set on disk, turned into flow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from microexpr.cli.options import DataSettings, Jobs, Json
from microexpr.cli.terminal import Progress


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
    as_json: Json = False,
) -> None:
    """Turn a data set's frames into flow, once; killed and started again, it goes on."""
    from microexpr.preparation import prepare_dataset, summary

    with Progress(f"prepare {dataset}") as watch:
        done = prepare_dataset(dataset, root, out, wants or [], setting or [], sheet, jobs, watch)
    print(json.dumps(done, indent=2) if as_json else summary(done))
    if done["failed"]:
        raise typer.Exit(1)
