"""A trained model for other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from microexpr.cli.options import MODEL_HELP, Json


def export(
    checkpoint: Annotated[str, typer.Argument(help=f"The model: {MODEL_HELP}.")],
    out: Annotated[Path, typer.Option(help="File to write (.onnx).")],
    as_json: Json = False,
) -> None:
    """Write a trained model as an ONNX file, and check that it gives the same results."""
    from dataclasses import asdict

    from microexpr.export import export as write

    done = write(checkpoint, out)
    if as_json:
        print(json.dumps(asdict(done) | {"path": str(done.path)}, indent=2))
        return
    print(
        f"wrote {done.path}: {done.model} of {len(done.classes)} classes, {done.nodes} nodes "
        f"({done.scans} loops); differs from PyTorch by {done.difference:.1e}"
    )
