"""The page in the browser and the REST interface."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from microexpr.cli.options import MODEL_HELP


def app(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0: one that is free.")] = 7860,
    auth: Annotated[
        str | None,
        typer.Option(metavar="USER:PASSWORD-FILE", help="Ask for a name and a password."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Videos that are analysed at once.")] = 2,
    megabytes: Annotated[float, typer.Option(help="Largest video that is taken.")] = 500,
    minutes: Annotated[float, typer.Option(help="Longest video that is taken.")] = 10,
    model: Annotated[
        str | None,
        typer.Option(help=f"{MODEL_HELP.capitalize()}; default: one trained on synthetic faces."),
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(help="Folder of runs (from `microexpr run`) to compare.")
    ] = None,
) -> None:
    """Serve the page and the REST interface to this computer alone, until Ctrl-C."""
    from microexpr.app.serving.gate import read_login
    from microexpr.app.serving.server import Plan, check_plan, serve
    from microexpr.app.serving.uploads import Limits

    checkpoint = None
    if model is not None:
        from microexpr.training.pretrained import locate  # torch comes with it

        checkpoint = locate(model)
    plan = Plan(
        port=port,
        workers=workers,
        limits=Limits(megabytes=megabytes, seconds=60 * minutes),
        login=read_login(auth) if auth else None,
        model=checkpoint,
        runs=runs,
    )
    check_plan(plan)
    serve(plan, lambda line: print(line, flush=True))
