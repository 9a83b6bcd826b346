"""What the scripts beside this file share: their timing is the package's own."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from microexpr.speed.timing import interleaved, machine, single_thread

__all__ = ["interleaved", "machine", "show", "single_thread"]


def show(title: str, rows: list[dict[str, Any]], as_json: bool) -> None:
    """Prints rows of figures as a table, or with the machine as JSON."""
    if as_json:
        found = {"benchmark": title, "machine": machine(), "rows": rows}
        print(json.dumps(found, indent=1, allow_nan=False))
        return
    table = Table(title=f"{title} ({machine()['instruction_set']})")
    for name in rows[0]:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    Console(width=140).print(table)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
