"""Options that several commands take."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from microexpr.errors import UserError, suggest

if TYPE_CHECKING:
    from microexpr.cluster import Cluster

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
MODEL_HELP = "a checkpoint, a folder of `save_pretrained`, or owner/name on the hub"
DataFolder = Annotated[
    Path | None, typer.Option("--data", help="Folder of the data set, or of several below it.")
]
Jobs = Annotated[int | None, typer.Option("--jobs", help="Processes; default: one a core.")]
DataSettings = Annotated[
    list[str] | None, typer.Option("--set", help="KEY=VALUE, a setting of the data set.")
]
Engine = Annotated[
    str, typer.Option("--engine", help="processes: of this machine; ray: of a cluster.")
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="Of a running ray cluster, or auto; default: one started here."),
]
GpusPerTask = Annotated[
    float, typer.Option("--gpus-per-task", help="With ray: share of a GPU; 0: none.")
]
ENGINES = ("processes", "ray")


def open_cluster(
    engine: str, address: str | None, gpus: float, jobs: int | None
) -> AbstractContextManager[Cluster | None]:
    """The cluster that the options ask for; None where processes of this machine do the work.

    Raises:
        UserError: An unknown engine, an option that needs ray, or ray is not installed.
    """
    if engine not in ENGINES:
        raise UserError(f"unknown engine '{engine}': {suggest(engine, ENGINES)}")
    if engine == "ray":
        from microexpr.cluster import Cluster

        return Cluster(address, jobs, gpus)
    for name, given in (("--address", address is not None), ("--gpus-per-task", gpus != 0)):
        if given:
            raise UserError(f"{name} is for --engine ray")
    return nullcontext()
