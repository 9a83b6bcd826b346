"""What commands show in the terminal: tables, the report of a run, progress."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Prints rows of equal keys as JSON or as a table."""
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in rows[0]:
        table.add_column(name, overflow="fold")  # an address that is cut off is of no use
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)


def print_report(folder: Path) -> None:
    """Scores a run, writes its report and prints it."""
    from rich.console import Console

    from microexpr.evaluation.report import render, write_report

    Console().print(render(write_report(folder, folder)))
    print(f"report: {folder / 'report.md'}   confusion matrix: {folder / 'confusion.png'}")


class Progress:
    """A progress bar with time left on stderr; gives ``watch(what, done, of)``."""

    def __init__(self, title: str) -> None:
        from rich import progress
        from rich.console import Console

        self.title = title
        self.bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left"),
            progress.TimeRemainingColumn(elapsed_when_finished=False),
            console=Console(stderr=True),
        )
        self.tasks: dict[str, Any] = {}

    def __enter__(self) -> Any:
        return self.watch

    def __exit__(self, *_: object) -> None:
        if self.tasks:
            self.bar.stop()

    def watch(self, what: str, done: int, of: int) -> None:
        """Shows that `done` of `of` pieces of `what` are done."""
        self.bar.start()  # not before there is something to show: an error comes alone
        if what not in self.tasks:
            self.tasks[what] = self.bar.add_task(f"{self.title}: {what}", total=of)
        self.bar.update(self.tasks[what], completed=done, total=of)
