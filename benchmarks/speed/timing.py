"""Times rivals in one interleaved run, so that a busy or slow machine slows all of them alike."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import torch
from rich.console import Console
from rich.table import Table

from microexpr.native import instruction_set

SHORTEST = 0.02  # seconds a turn lasts at least: fast rivals are called several times


def interleaved(rivals: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median milliseconds of a call: every rival in turn, `rounds` times, after one to warm up.

    It is the processor time of this thread, which other programs do not add to: run with one
    thread (`single_thread`).
    """
    turns: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(rounds + 1):
        for name, call in rivals.items():
            seconds = _per_call(call)
            if turn:
                turns[name].append(1e3 * seconds)
    return {name: statistics.median(times) for name, times in turns.items()}


def _per_call(call: Callable[[], object]) -> float:
    start, calls = time.thread_time(), 0
    while (spent := time.thread_time() - start) < SHORTEST or not calls:
        call()
        calls += 1
    return spent / calls if calls else 0.0


def single_thread() -> None:
    """One thread for torch and OpenCV."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "processors": os.cpu_count(),
        "instruction_set": instruction_set(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "opencv": cv2.__version__,
    }


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
