"""What is known about a model, to be read before it is used or shared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from microexpr.cli.options import MODEL_HELP, Json


def card(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders with predictions.csv of one model; the first is the headline."
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(help=f"{MODEL_HELP.capitalize()}; default: the runs', or the default model."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write (README.md); default: print it.")
    ] = None,
    license: Annotated[
        str | None, typer.Option(help="Of the weights, as the hub spells it: mit, cc-by-nc-4.0 ...")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a model card from runs: data, protocol, honest scores, settings, limits."""
    from dataclasses import asdict

    from microexpr.evaluation.modelcard import card_of, document, read_reports
    from microexpr.files import write_text
    from microexpr.training.pretrained import load_pretrained

    found = load_pretrained(checkpoint) if checkpoint or not runs else None
    reports = read_reports(runs or [], found.checkpoint if found else None)
    known = found.card if found and not reports else card_of(reports)
    terms = license or (found.license if found else "")
    model = found.checkpoint if found else None
    text = document(
        known, model, reports, license=terms, source=checkpoint or ("FOLDER" if runs else "")
    )
    if out is not None:
        write_text(text, out)
    if as_json:
        print(json.dumps(asdict(known), indent=2))
    elif out is None:
        print(text, end="")
    else:
        print(f"wrote {out}")
