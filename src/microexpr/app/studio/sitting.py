"""Who sits before the page: a browser tab, its video, the analysis of it, what was corrected."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from microexpr.app.serving.queue import Queue, Status
from microexpr.app.serving.uploads import Uploads, safe_name
from microexpr.errors import UserError

if TYPE_CHECKING:  # OpenCV and torch come when there is a result to show
    from microexpr.app.exports import Exports
    from microexpr.app.record import Record

SAMPLE = "sample.mp4"
GONE = "This video is not here any more: choose it again. Files are kept for a while only."


@dataclass(slots=True, eq=False)
class Sitting:
    """One tab and the video that it handed in last.

    Attributes:
        session: Private folder; all below lies in it.
        video: The recording.
        ticket: Of its analysis.
        at: Index of the movement that is looked at.
        busy: Held while the results are read or changed.
    """

    session: Path
    video: Path
    ticket: str
    at: int = 0
    busy: threading.Lock = field(default_factory=threading.Lock)

    @property
    def results(self) -> Path:
        """Folder of the analysis."""
        return self.session / "results"

    @property
    def exports(self) -> Path:
        """Folder of the files to take along."""
        return self.session / "exports"


class Sittings:
    """All tabs by gradio's name for them; what one holds goes when it is closed."""

    def __init__(self, queue: Queue, uploads: Uploads) -> None:
        self._queue = queue
        self._uploads = uploads
        self._tabs: dict[str, Sitting] = {}
        self._received: dict[str, dict[Path, tuple[int, int]]] = {}

    def hold(self, tab: str, uploaded: Path) -> Path:
        """Notes that a tab has received a file: it goes with the last tab that did.

        gradio keeps files under a name made from their content: two people who hand in the same
        one share it, and one who comes back may have put it there anew.

        Raises:
            UserError: Not a file that this server received.
        """
        source = uploaded.resolve()
        if self._uploads.gradio.resolve() not in source.parents or not source.is_file():
            raise UserError(GONE)
        self._received.setdefault(tab, {})[source] = _which(source)
        return source

    def bring(self, tab: str, uploaded: Path) -> None:
        """Takes an uploaded video, instead of the tab's last one, and has it analysed.

        Raises:
            UserError: Not a file that this server received, or too many videos wait already.
        """
        source = self.hold(tab, uploaded)
        self._begin(tab, safe_name(source.name), lambda video: os.link(source, video))

    def bring_sample(self, tab: str) -> None:
        """Makes a film whose two movements are known, and has it analysed.

        Raises:
            UserError: Too many videos wait already.
        """
        from microexpr.film import drawn_portrait, film, write_script

        script = write_script(
            6, fps=100.0, seconds=3.0, events=2, peak=(1.5, 2.5), emotions=("happiness", "surprise")
        )
        self._begin(tab, SAMPLE, lambda video: film(drawn_portrait(), script, video))

    def _begin(self, tab: str, name: str, fill: Callable[[Path], object]) -> None:
        from microexpr.app.outputs import Settings

        if not self._queue.room():
            raise UserError("too many videos wait already; try again in a few minutes")
        self._leave(tab)
        session = self._uploads.session()
        try:
            video = session / "video" / name
            video.parent.mkdir()
            fill(video)
            ticket = self._queue.submit(video, session / "results", Settings())
        except UserError:
            self._uploads.close(session)
            raise
        self._tabs[tab] = Sitting(session, video, ticket)

    def status(self, tab: str) -> Status:
        """Where the analysis of a tab stands.

        Raises:
            UserError: It has none.
        """
        return self._queue.status(self._of(tab).ticket)

    def stop(self, tab: str) -> None:
        """Ends the analysis of a tab, if there is one."""
        if tab in self._tabs:
            self._queue.cancel(self._tabs[tab].ticket)

    def end(self, tab: str) -> None:
        """Removes all that a tab holds and has received."""
        self._leave(tab)
        for source, which in self._received.pop(tab, {}).items():
            others = any(source in received for received in list(self._received.values()))
            if not others and source.exists() and _which(source) == which:
                source.unlink()

    def _leave(self, tab: str) -> None:
        """Removes the last video of a tab and its results."""
        sitting = self._tabs.pop(tab, None)
        if sitting is not None:
            self._queue.drop(sitting.session)
            self._uploads.close(sitting.session)

    @contextmanager
    def opened(self, tab: str) -> Iterator[tuple[Sitting, Record]]:
        """The results of a tab, for one at a time.

        Raises:
            UserError: There are none, or they were removed.
        """
        from microexpr.app.record import read_record

        sitting = self._of(tab)
        with sitting.busy:
            try:
                record = read_record(sitting.results, sitting.video)
            except OSError:
                raise UserError(GONE) from None
            sitting.at = min(max(sitting.at, 0), max(len(record.drawn) - 1, 0))
            yield sitting, record

    def model(self) -> Path | None:
        """The checkpoint that reads; None: the default one."""
        return self._queue.model

    def _of(self, tab: str) -> Sitting:
        sitting = self._tabs.get(tab)
        if sitting is None or not sitting.session.is_dir():
            raise UserError(GONE)
        self._uploads.touch(sitting.video)
        return sitting


def _which(file: Path) -> tuple[int, int]:
    """Tells a file from another one that took its place."""
    seen = file.stat()
    return seen.st_ino, seen.st_mtime_ns


def save(sitting: Sitting, record: Record) -> Exports:
    """Writes the movements and the files to take along; what was found at first is kept apart."""
    from microexpr.app.exports import write_exports
    from microexpr.app.record import MOVEMENTS, write_movements

    found = sitting.results / f"found_{MOVEMENTS}"
    if not found.exists():
        shutil.copyfile(sitting.results / MOVEMENTS, found)
    write_movements(record, sitting.results)
    report = json.loads((sitting.results / "report.json").read_text(encoding="utf-8"))
    return write_exports(record, sitting.exports, report["settings"])


def restore(sitting: Sitting) -> None:
    """Undoes all corrections."""
    from microexpr.app.record import MOVEMENTS

    found = sitting.results / f"found_{MOVEMENTS}"
    if found.exists():
        shutil.copyfile(found, sitting.results / MOVEMENTS)
