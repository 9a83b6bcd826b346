"""Work for the queue that does what the "video" says; a module, so that a new process finds it."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from microexpr.app.serving.worker import Task, Watch
from microexpr.errors import UserError


@dataclass(frozen=True)
class Settings:
    """Stands in for the real ones, with which torch would come into every process."""

    model: Path | None = None
    face: int = 0


def obey(task: Task, watch: Watch) -> dict[str, Any]:
    """Does what the lines of the file say, and tells what it was."""
    text = task.video.read_text()
    for number, line in enumerate(text.splitlines()):
        watch(line, number, 6)
        word, _, value = line.partition(" ")
        if word == "wait":
            time.sleep(float(value))
        elif word == "refuse":
            raise UserError(f"{task.video.name}: {value}")
        elif word == "break":
            raise RuntimeError(value)
        elif word == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        elif word == "die":
            os._exit(1)
        elif word == "half":
            task.out.mkdir()
            (task.out / "half").touch()
    task.out.mkdir(exist_ok=True)
    for name in ("events.csv", "report.html", "report.json", "annotated.mp4"):
        (task.out / name).write_text(f"{name} of {text}")
    return {
        "text": text,
        "name": task.video.name,
        "process": os.getpid(),
        "face": task.settings.face,
        "model": str(task.settings.model),
    }
