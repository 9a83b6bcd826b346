"""Files that people hand to the server: in one private folder, for a while, and gone with it."""

from __future__ import annotations

import getpass
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from microexpr.errors import UserError

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,mpeg,mpegts,mpegvideo,asf,flv,ogg,h264,hevc"
)
"""Containers that are read, as FFmpeg names them: none of them, unlike a playlist, names a file."""

_NAME = re.compile(r"[A-Za-z0-9_-]{8,80}")
_STRANGE = re.compile(r"[^\w .()+-]")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server takes, and for how long.

    Attributes:
        megabytes: Of one video (1 MB = 1,000,000 bytes).
        seconds: Length of a video.
        keep: Seconds after their last use for which files are kept.
        timeout: Seconds that one analysis may take.
        waiting: Analyses that may wait for their turn.
        receive: Seconds in which a video must arrive.
        stall: Seconds without a byte after which a sender is given up.
    """

    megabytes: float = 500
    seconds: float = 600
    keep: float = 3600
    timeout: float = 1800
    waiting: int = 20
    receive: float = 900
    stall: float = 30

    @property
    def size(self) -> int:
        """Bytes of one video."""
        return int(self.megabytes * 1e6)


class Uploads:
    """The folder of one server: its sessions, each in a folder that none but its owner can name.

    Attributes:
        root: Mode 0700; `sessions`, `gradio` and `temporary` lie in it.
    """

    def __init__(self, root: Path | None, limits: Limits) -> None:
        """Makes the folder, and removes those of servers that are no more.

        Args:
            root: Where the folders of servers lie; None: below the system's temporary folder.
            limits: How long files are kept.

        Raises:
            UserError: `root` belongs to somebody else, or cannot be written.
        """
        self._limits = limits
        base = root or Path(tempfile.gettempdir()) / f"microexpr-{getpass.getuser()}"
        _claim(base)
        with (base / "lock").open("w") as starting:
            _lock(starting, wait=True)
            for old in base.glob("server-*"):
                _remove_if_abandoned(old)
            self.root = Path(tempfile.mkdtemp(prefix="server-", dir=base))
            self._alive = (self.root / "lock").open("w")
            _lock(self._alive)
        for name in ("sessions", "gradio", "temporary"):
            (self.root / name).mkdir(mode=0o700)

    @property
    def gradio(self) -> Path:
        """Where gradio is to put what the browser sends and what it shows."""
        return self.root / "gradio"

    @property
    def temporary(self) -> Path:
        """For what libraries write for a moment; a process that is ended leaves it."""
        return self.root / "temporary"

    def session(self, name: str | None = None) -> Path:
        """The private folder of a session, made where it is not there; counts as a use of it.

        Args:
            name: Letters, digits, "_" and "-"; None: a new one that nobody can guess.

        Raises:
            UserError: Another name.
        """
        name = name or secrets.token_hex(16)
        if not _NAME.fullmatch(name):
            raise UserError("this is not the name of a session")
        folder = self.root / "sessions" / name
        folder.mkdir(mode=0o700, exist_ok=True)
        os.utime(folder)
        return folder

    def touch(self, path: Path) -> None:
        """Counts as a use of the session in which `path` lies."""
        folder = self._session_of(path)
        if folder and folder.exists():
            os.utime(folder)

    def close(self, session: Path) -> None:
        """Removes a session with all that is in it; one that is gone stays so.

        Raises:
            UserError: The folder is not a session's.
        """
        if self._session_of(session) != session:
            raise UserError("this is not the folder of a session")
        shutil.rmtree(session, ignore_errors=True)

    def sweep(self, now: float | None = None) -> list[str]:
        """Removes what was not used for `Limits.keep` seconds.

        Args:
            now: Seconds since 1970; None: now.

        Returns:
            The names of the folders and files that were removed.
        """
        oldest = (time.time() if now is None else now) - self._limits.keep
        gone = []
        for folder in (self.root / "sessions", self.gradio, self.temporary):
            for old in [path for path in folder.iterdir() if path.stat().st_mtime < oldest]:
                shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink()
                gone.append(old.name)
        return gone

    def clear(self) -> None:
        """Removes everything; the server is at its end."""
        self._alive.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def _session_of(self, path: Path) -> Path | None:
        sessions = self.root / "sessions"
        if sessions not in path.parents or ".." in path.parts:
            return None
        return sessions / path.relative_to(sessions).parts[0]


def safe_name(name: str) -> str:
    r"""A file name as an uploader gave it, without what a folder or FFmpeg would take for an order.

    >>> safe_name("../../etc/passwd"), safe_name("C:\\film 1.MP4"), safe_name("concat:a|b.mp4")
    ('passwd', 'film 1.MP4', 'concat_a_b.mp4')
    >>> safe_name(".."), safe_name("Zoë %03d.avi")
    ('video', 'Zoë _03d.avi')
    """
    last = re.split(r"[/\\]", name)[-1]
    cleaned = Path(_STRANGE.sub("_", last).strip(" ."))
    return f"{cleaned.stem[:50]}{cleaned.suffix[:8]}" or "video"


def check_video(path: Path, limits: Limits) -> None:
    """Looks at a video before it is analysed.

    A file that only names other files (a playlist) is refused before it could have any of them
    read: `FORMATS` are tried and no others.

    Raises:
        UserError: Too large, too long, or not a video; the message names the file alone.
    """
    size = path.stat().st_size
    if size > limits.size:
        raise UserError(too_large(path.name, limits))
    from microexpr.video import open_video

    try:
        _check_format(path)
        duration = open_video(path).duration
    except UserError as error:
        raise UserError(str(error).replace(str(path), path.name)) from None
    if duration > limits.seconds:
        raise UserError(
            f"{path.name} is {duration / 60:.1f} minutes long; at most {limits.seconds / 60:g} are "
            "taken: cut it into pieces, or use `microexpr analyze`"
        )


def too_large(name: str, limits: Limits) -> str:
    """Says that a video is too large, and what to do.

    >>> too_large("a.mp4", Limits())
    'a.mp4 is larger than 500 MB; cut it into pieces, or use `microexpr analyze`'
    """
    return (
        f"{name} is larger than {limits.megabytes:g} MB; "
        "cut it into pieces, or use `microexpr analyze`"
    )


def _check_format(path: Path) -> None:
    import av

    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty (0 bytes)")
    try:
        only = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
        with av.open(str(path), options=only):
            pass
    except (av.FFmpegError, OSError):
        kinds = "MP4, MOV, MKV, WebM, AVI, GIF and MPEG are read"
        raise UserError(f"{path} is damaged, or not a video; {kinds}") from None


def _claim(base: Path) -> None:
    """Makes `base`, or sees that it is ours alone (the system's temporary folder is everybody's).

    Raises:
        UserError: It is not.
    """
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        seen = base.lstat()
        ours = stat.S_ISDIR(seen.st_mode) and (os.name != "posix" or seen.st_uid == os.getuid())
        if ours:
            base.chmod(0o700)
    except OSError as error:
        raise UserError(f"cannot use {base} for uploads: {error.strerror}; set TMPDIR") from error
    if not ours:
        raise UserError(f"{base} belongs to somebody else; set TMPDIR to a folder of yours")


def _remove_if_abandoned(folder: Path) -> None:
    """Removes the folder of a server that was killed; that of a living one is locked."""
    try:
        with (folder / "lock").open("w") as file:
            _lock(file)
    except FileNotFoundError:
        pass
    except OSError:
        return
    shutil.rmtree(folder, ignore_errors=True)


def _lock(file: IO[str], wait: bool = False) -> None:
    """Locks a file for as long as it is open.

    Raises:
        OSError: Another process holds it.
    """
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
