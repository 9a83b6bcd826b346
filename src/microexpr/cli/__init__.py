"""The command `microexpr`: one thin command a verb, those that belong together in one file.

Whatever is heavy is imported inside the commands. A new command is a function in one of the files
beside this one and a word in `COMMANDS`.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

from microexpr.cli.app import app as serve_app
from microexpr.cli.cards import card
from microexpr.cli.data import film, prepare
from microexpr.cli.experiments import compare, report, run, search, train
from microexpr.cli.export import export
from microexpr.cli.lists import datasets, models, protocols
from microexpr.cli.machine import bench, doctor
from microexpr.cli.videos import analyze, demo
from microexpr.errors import UserError

COMMANDS = (
    models,
    datasets,
    protocols,
    run,
    report,
    compare,
    train,
    search,
    export,
    card,
    analyze,
    serve_app,
    film,
    prepare,
    doctor,
    bench,
    demo,
)
"""In the order in which `microexpr --help` names them."""

app = typer.Typer(
    help="Facial micro-expression recognition with an evaluation that cannot leak.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _command in COMMANDS:
    app.command()(_command)


@app.callback()
def _every_command(
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
    except SystemExit as ended:
        if ended.code == 130:  # what typer makes of Ctrl-C
            _leave("stopped; the same command goes on from here", 130)
        raise
    except (UserError, OSError) as error:
        if os.environ.get("MICROEXPR_DEBUG"):
            raise
        _leave(f"error: {error}", 2)


def _leave(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)
