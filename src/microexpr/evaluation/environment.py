"""What a run ran on, written beside its predictions."""

from __future__ import annotations

import json
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("microexpr", "torch", "numpy", "opencv-contrib-python-headless", "scikit-learn")


def environment(jobs: int, trainings: int, core_seconds: float, engine: str = "") -> str:
    """Versions, processor and cost of a run, as JSON.

    Args:
        jobs: Processes it used; on a cluster its cores.
        trainings: How many models it trained.
        core_seconds: Time of all of them together, on one thread each.
        engine: ``ray`` where a cluster did it; machine and processor are then those of the command.
    """
    about: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": _processor(),
        "packages": {name: version(name) for name in PACKAGES},
        "scan": _scan_backend(),
        "jobs": jobs,
        "trainings": trainings,
        "core_seconds": round(core_seconds, 1),
    }
    if engine:
        about["engine"] = engine
    return json.dumps(about, indent=2) + "\n"


def _scan_backend() -> str:
    import torch

    from microexpr.nn.scan import backends

    return backends("cuda" if torch.cuda.is_available() else "cpu")[-1]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text())
        if found:
            return found[1]
    return platform.processor()
