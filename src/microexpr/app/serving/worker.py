"""What the process of a worker does: one analysis after the other, and tells how far it is."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from microexpr.app.serving.offline import stay_offline
from microexpr.app.serving.uploads import Limits, check_video
from microexpr.errors import UserError
from microexpr.jobs import die_with

if TYPE_CHECKING:  # the server, which imports this too, needs neither torch nor OpenCV
    from microexpr.app.outputs import Settings

Watch = Callable[[str, int, int], None]
STEPS = (
    "checking the video",
    "looking for the face",
    "measuring its motion",
    "spotting movements",
    "reading them",
    "writing the results",
)


@dataclass(frozen=True, slots=True)
class Task:
    """One analysis as its process gets it."""

    video: Path
    out: Path
    settings: Settings
    limits: Limits


Work = Callable[[Task, Watch], dict[str, Any]]
Blame = Literal["", "video", "server", "time"]
Ending = tuple[Literal["done", "failed"], dict[str, Any] | None, str, Blame]


def analyse(task: Task, watch: Watch) -> dict[str, Any]:
    """Analyses one video and writes its files.

    What is written and told names the video as its uploader did: paths of the server are nobody's
    business. So the process goes to the video's folder.

    Raises:
        UserError: The video is not taken, or cannot be analysed.
    """
    from microexpr.analysis import analyze
    from microexpr.app.outputs import Job, told, write_analysis

    os.chdir(task.video.parent)
    video, settings = Path(task.video.name), task.settings
    watch(STEPS[0], 0, len(STEPS))
    check_video(video, task.limits)
    analysis = analyze(
        video,
        model=settings.model,
        face=settings.face,
        key_frames=settings.key_frames,
        confidence=settings.confidence,
        fps=settings.fps,
        watch=lambda what, done, of: watch(STEPS[1 + done], 1 + done, len(STEPS)),
    )
    about = told(Job(video, task.out, settings))
    if settings.model:
        about["model"] = settings.model.name
    return write_analysis(analysis, task.out, about, keep=True)


def serve(pipe: Connection, work: Work, model: Path | None, threads: int, parent: int) -> None:
    """Life of a worker: gets ready, then does what comes through the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's: it ends this process
    die_with(parent)
    stay_offline()
    if work is analyse:
        _get_ready(model, threads)
    while True:
        try:
            task: Task = pipe.recv()
        except EOFError:
            return
        pipe.send(_outcome(work, task, lambda *what: pipe.send(("step", *what))))


def _outcome(work: Work, task: Task, watch: Watch) -> Ending:
    """What became of a task: state, report, error, and whose fault that is."""
    try:
        return "done", work(task, watch), "", ""
    except UserError as error:
        return "failed", None, str(error), "video"
    except Exception as error:
        traceback.print_exc()  # for whoever runs the server
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return "failed", None, "the disk of the server is full", "server"
        return "failed", None, "the analysis failed; the server's log says why", "server"


def _get_ready(model: Path | None, threads: int) -> None:
    """Imports what an analysis needs and reads the models once, so that the first one is quick."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is imported
    import cv2

    from microexpr.preprocess.face import load_face_models
    from microexpr.training.pretrained import load_pretrained

    importlib.import_module("microexpr.app.outputs")
    cv2.setNumThreads(threads)
    load_face_models()
    load_pretrained(model)
