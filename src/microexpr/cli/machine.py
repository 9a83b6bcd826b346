"""This machine: what is installed and works on it, and how fast."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from microexpr.cli.options import DataSettings, Json
from microexpr.cli.terminal import Progress


def doctor(
    dataset: Annotated[str | None, typer.Argument(help="Name of a data set.")] = None,
    root: Annotated[Path | None, typer.Argument(help="Its folder.")] = None,
    setting: DataSettings = None,
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


def bench(
    part: Annotated[
        list[str] | None,
        typer.Argument(help="scan, net, products, flow, scaling, memory; default: all of them."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small shapes and nets alone.")] = False,
    rounds: Annotated[int, typer.Option(help="Turns of every rival; medians are taken.")] = 5,
    keep_memory: Annotated[
        bool, typer.Option("--keep-memory", help="Keep freed memory, as training does.")
    ] = False,
    file: Annotated[Path | None, typer.Option("--json", help="Write the figures here too.")] = None,
) -> None:
    """Measure how fast everything is here, as ratios, beside the targets; some minutes.

    Ends with exit code 1 where a target is missed.
    """
    from rich.console import Console

    from microexpr.speed import measure
    from microexpr.speed.figures import missed, render, write_measured

    with Progress("bench") as watch:
        measured = measure(part or [], quick, rounds, keep_memory, watch)
    Console().print(render(measured))
    if file is not None:
        write_measured(measured, file)
    if missed(measured.figures):
        raise typer.Exit(1)
