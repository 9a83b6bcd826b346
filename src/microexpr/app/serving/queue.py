"""Analyses waiting for their turn, each in a process that can be ended: for the page and for REST.

A process keeps its imports and the model from one analysis to the next, so that the first result
does not wait for them; one that was cancelled, ran out of time or died is replaced.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import shutil
import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from microexpr.app.serving.uploads import Limits
from microexpr.app.serving.worker import STEPS, Blame, Task, Work, analyse, serve
from microexpr.errors import UserError
from microexpr.jobs import check_jobs

if TYPE_CHECKING:  # the server itself needs neither torch nor OpenCV
    from microexpr.app.outputs import Settings

State = Literal["waiting", "running", "done", "failed", "cancelled"]
SHARES = (0.02, 0.25, 0.4, 0.02, 0.11, 0.2)
"""What part of the time each step takes, roughly: for the time left."""


@dataclass(frozen=True, slots=True)
class Status:
    """Where an analysis stands.

    Attributes:
        state: Of these, the last three are final.
        ahead: Analyses that wait before this one.
        step: What is being done, in words.
        done: Steps that are done.
        of: Steps in all.
        seconds_left: A rough guess; None where nothing tells.
        error: One line, without a path of the server; empty unless failed or cancelled.
        blame: What is at fault where it failed: the video, the server, or the time that it took.
        report: The content of report.json, once done.
        out: Folder of the results; it is there once done.
    """

    state: State
    ahead: int
    step: str
    done: int
    of: int
    seconds_left: float | None
    error: str
    blame: Blame
    report: dict[str, Any] | None
    out: Path


@dataclass(slots=True, eq=False)
class _Entry:
    """An analysis, from its coming until it is forgotten."""

    task: Task
    state: State = "waiting"
    step: str = ""
    done: int = 0
    of: int = len(STEPS)
    error: str = ""
    blame: Blame = ""
    report: dict[str, Any] | None = None
    began: float = 0.0
    stepped: float = 0.0
    ended: float = 0.0
    process: BaseProcess | None = None
    stopped: bool = False
    over: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection


class Queue:
    """Analyses in the order of their coming, `workers` at once.

    Attributes:
        model: Checkpoint for those whose settings name none; None: the default one.
    """

    def __init__(
        self, workers: int, limits: Limits, model: Path | None, work: Work | None = None
    ) -> None:
        """Starts the processes; they get ready while the server starts.

        Args:
            workers: Analyses at once.
            limits: On time and on how many wait.
            model: Checkpoint for all whose settings name none; None: the default one.
            work: Function at the top level of a module; None: `analyse`.

        Raises:
            UserError: No workers.
        """
        if workers < 1:
            raise UserError(f"--workers must be at least 1, got {workers}")
        self._limits, self._work = limits, work or analyse
        self.model = model.resolve() if model else None  # processes change their folder
        self._threads_each = max(1, check_jobs(None) // workers)
        self._entries: dict[str, _Entry] = {}
        self._line: deque[_Entry] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._desks = [threading.Thread(target=self._attend, daemon=True) for _ in range(workers)]
        for desk in self._desks:
            desk.start()

    def submit(self, video: Path, out: Path, settings: Settings) -> str:
        """Puts an analysis at the end of the queue.

        Args:
            video: The video, in a folder of the session.
            out: Folder for its results, of this analysis alone: removed unless it ends well.
            settings: How to analyse.

        Returns:
            The ticket: whoever has it may ask and cancel; nobody can guess it.

        Raises:
            UserError: Too many wait already.
        """
        chosen = replace(settings, model=settings.model or self.model)
        task = Task(video, out, chosen, self._limits)
        with self._changed:
            if self._closed:
                raise UserError("the server is being stopped")
            if len(self._line) >= self._limits.waiting:
                raise UserError(f"{len(self._line)} videos wait already; try again later")
            ticket = secrets.token_urlsafe(24)
            entry = self._entries[ticket] = _Entry(task)
            self._line.append(entry)
            self._changed.notify()
        return ticket

    def status(self, ticket: str) -> Status:
        """Where an analysis stands.

        Raises:
            UserError: No such ticket, or it was forgotten.
        """
        with self._changed:
            entry = self._find(ticket)
            return Status(
                state=entry.state,
                ahead=self._line.index(entry) if entry in self._line else 0,
                step=entry.step,
                done=entry.done,
                of=entry.of,
                seconds_left=_seconds_left(entry, time.monotonic()),
                error=entry.error,
                blame=entry.blame,
                report=entry.report,
                out=entry.task.out,
            )

    def cancel(self, ticket: str) -> None:
        """Takes an analysis out of the queue, or ends its process; when over, nothing happens.

        Raises:
            UserError: No such ticket.
        """
        with self._changed:
            entry = self._find(ticket)
        self._stop(entry)

    def drop(self, folder: Path) -> None:
        """Cancels and forgets whatever writes below `folder`: that of a session that ends."""
        with self._changed:
            mine = {t: e for t, e in self._entries.items() if folder in e.task.out.parents}
        for entry in mine.values():
            self._stop(entry)
        with self._changed:
            for ticket in mine:
                self._entries.pop(ticket, None)

    def busy(self) -> list[Path]:
        """Folders of the analyses that wait or run: their files are in use."""
        with self._changed:
            return [e.task.out for e in self._entries.values() if not e.over.is_set()]

    def room(self) -> int:
        """How many more may be submitted now."""
        with self._changed:
            return max(0, self._limits.waiting - len(self._line))

    def forget(self, before: float) -> None:
        """Forgets what was over by then (`time.monotonic`)."""
        with self._changed:
            old = [t for t, e in self._entries.items() if e.over.is_set() and e.ended < before]
            for ticket in old:
                del self._entries[ticket]

    def close(self) -> None:
        """Ends all processes; what waits or runs is cancelled."""
        with self._changed:
            self._closed = True
            entries = list(self._entries.values())
            self._changed.notify_all()
        for entry in entries:
            self._stop(entry)
        for desk in self._desks:
            desk.join()

    def _find(self, ticket: str) -> _Entry:
        entry = self._entries.get(ticket)
        if entry is None:
            raise UserError("no such ticket; results are kept for a while only")
        return entry

    def _stop(self, entry: _Entry) -> None:
        with self._changed:
            if entry in self._line:
                self._line.remove(entry)
                _end(entry, "cancelled", None, "", "")
                return
            entry.stopped = True
            if entry.process is not None:
                entry.process.kill()
        entry.over.wait()

    def _attend(self) -> None:
        """Serves one process: hands it the analyses, and replaces it when it is gone."""
        worker = self._hire()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._line or self._closed)
                if self._closed:
                    break
                if worker.process.is_alive():
                    entry = self._line.popleft()
                    entry.state, entry.step, entry.process = "running", STEPS[0], worker.process
                    entry.began = entry.stepped = time.monotonic()
                else:
                    entry = None
            if entry is None or not self._follow(entry, worker):
                _dismiss(worker)
                worker = self._hire()
        _dismiss(worker)

    def _follow(self, entry: _Entry, worker: _Worker) -> bool:
        """Sees one analysis to its end; tells whether its process can go on with another."""
        try:
            worker.pipe.send(entry.task)
            until = entry.began + self._limits.timeout
            while worker.pipe.poll(max(0.0, until - time.monotonic())):
                kind, *what = worker.pipe.recv()
                if kind == "failed":
                    shutil.rmtree(entry.task.out, ignore_errors=True)
                with self._changed:
                    if kind == "step":
                        entry.step, entry.done, entry.of = what
                        entry.stepped = time.monotonic()
                        continue
                    _end(entry, kind, *what)
                    return not entry.stopped
            blame: Blame = "time"
            error = f"stopped: it took longer than {self._limits.timeout / 60:g} minutes"
        except (EOFError, OSError):
            blame = "video"
            error = "the analysis broke off; the video may be damaged, or too large for the memory"
        _dismiss(worker)
        shutil.rmtree(entry.task.out, ignore_errors=True)
        with self._changed:
            _end(entry, "cancelled" if entry.stopped else "failed", None, error, blame)
        return False

    def _hire(self) -> _Worker:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        about = (theirs, self._work, self.model, self._threads_each, os.getpid())
        process = spawn.Process(target=serve, args=about, daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)


def _dismiss(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.pipe.close()


def _end(
    entry: _Entry, state: State, report: dict[str, Any] | None, error: str, blame: Blame
) -> None:
    """An analysis is over, and lets go of its process."""
    entry.state, entry.report, entry.process = state, report, None
    entry.error, entry.blame = error, blame
    if state == "cancelled":
        entry.error, entry.blame = "cancelled", ""
    entry.done = entry.of if state == "done" else entry.done
    entry.ended = time.monotonic()
    entry.over.set()


def _seconds_left(entry: _Entry, now: float) -> float | None:
    """From the time that the steps took that are done: the first alone says too little."""
    if entry.state != "running" or entry.done < 2:
        return None
    usual = SHARES if entry.of == len(SHARES) else (1 / entry.of,) * entry.of
    part = sum(usual[: entry.done])
    whole = (entry.stepped - entry.began) / part
    return max(0.0, whole * (1 - part) - (now - entry.stepped))
