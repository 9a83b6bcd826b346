"""Times rivals in one interleaved run, so that a busy or slow machine slows all of them alike."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import torch

from microexpr.native import instruction_set

SHORTEST = 0.02  # seconds a turn lasts at least: fast rivals are called several times
Clock = Callable[[], float]


def interleaved(
    rivals: Mapping[str, Callable[[], object]], rounds: int, clock: Clock = time.thread_time
) -> dict[str, float]:
    """Median milliseconds of a call: every rival in turn, `rounds` times, after one to warm up.

    Args:
        rivals: What is called, by name.
        rounds: At least 1.
        clock: The default is the processor time of this thread, which other programs do not add
            to: run with one thread then (`single_thread`).
    """
    turns: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(rounds + 1):
        for name, call in rivals.items():
            seconds = _per_call(call, clock)
            if turn:
                turns[name].append(1e3 * seconds)
    return {name: statistics.median(times) for name, times in turns.items()}


def _per_call(call: Callable[[], object], clock: Clock) -> float:
    start, calls = clock(), 0
    while (spent := clock() - start) < SHORTEST or not calls:
        call()
        calls += 1
    return spent / calls


def single_thread() -> None:
    """One thread for torch and OpenCV."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Within the block, so many threads for torch, OpenCV and the native library."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(count)
    cv2.setNumThreads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def machine() -> dict[str, Any]:
    """What the figures were measured on; nothing that names the machine."""
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "instruction_set": instruction_set(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "opencv": cv2.__version__,
        "compiler": _compiler(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


def _compiler() -> str:
    """The C++ compiler that builds the native library here, if there is one."""
    found = shutil.which(os.environ.get("CXX", "c++"))
    if found is None:
        return "none"
    done = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or ["unknown"])[0]
