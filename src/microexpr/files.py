"""Whole files or none: a file is written beside its place and renamed into it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary name in the same folder; on success it becomes `path`, else it goes.

    A reader sees the old file or the whole new one, also when this process is killed, or another
    one, perhaps of another machine, writes the same file. Folders above are made. The suffix is
    kept, for writers that look at it.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "results" / "table.md"
    >>> with replacing(target) as temporary:
    ...     _ = temporary.write_text("whole")
    >>> target.read_text(), [file.name for file in target.parent.iterdir()]
    ('whole', ['table.md'])
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    who = f"{socket.gethostname()}.{os.getpid()}"
    temporary = path.with_name(f".{path.stem}.{who}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(text: str, path: Path) -> None:
    """Writes UTF-8 text with plain newlines, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
