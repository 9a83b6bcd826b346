"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DataFolder = Annotated[
    Path | None, typer.Option("--data", help="Folder of the data set, or of several below it.")
]
Jobs = Annotated[int | None, typer.Option("--jobs", help="Processes; default: one a core.")]
DataSettings = Annotated[
    list[str] | None, typer.Option("--set", help="KEY=VALUE, a setting of the data set.")
]
