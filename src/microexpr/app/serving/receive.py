"""A video out of the body of a request, straight onto the disk, and the words that come with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from microexpr.app.serving.gate import Refused
from microexpr.app.serving.uploads import Limits, safe_name, too_large

PIECE = 1 << 20  # bytes that are held before they are written
LONGEST_WORD = 1000  # bytes of the value of a field
MOST_FIELDS = 20


@dataclass(frozen=True, slots=True)
class Received:
    """What a request brought.

    Attributes:
        video: On the disk, under the name that its sender gave it.
        fields: Of the address and of the form.
    """

    video: Path
    fields: dict[str, str]


async def receive(request: Request, folder: Path, limits: Limits) -> Received:
    """Takes a video as the whole body, or as the file of a form.

    Args:
        request: Its body may be a video, its name then in the query as ``name``; or
            ``multipart/form-data`` with one file and fields.
        folder: Where the video is put; empty.
        limits: On its size.

    Raises:
        Refused: 400 for what is no such body, 413 for one too large, 415 for another type.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    body: _Form | _Raw
    if kind == b"multipart/form-data":
        body = _Form(folder, options.get(b"boundary", b""), limits)
    elif _is_video(kind.decode("latin-1")):
        body = _Raw(folder, request.query_params.get("name", ""), limits)
    else:
        told = kind.decode("latin-1") or "nothing"
        raise Refused(415, f"send video/* or multipart/form-data as Content-Type, not {told}")
    try:
        async for piece in _pieces(request):
            await asyncio.to_thread(body.write, piece)
        video = body.finish()
    finally:
        body.close()
    fields = dict(request.query_params)
    fields.pop("name", None)
    if len(request.query_params.keys()) < len(request.query_params.multi_items()):
        raise Refused(400, "an option of the address is given twice")
    double = fields.keys() & body.fields.keys()
    if double:
        raise Refused(400, f"{min(double)} is given twice, in the address and in the form")
    return Received(video, fields | body.fields)


def _is_video(kind: str) -> bool:
    return kind.startswith("video/") or kind == "image/gif"


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """The body in pieces of about a megabyte."""
    held = bytearray()
    try:
        async for chunk in request.stream():
            held += chunk
            if len(held) >= PIECE:
                yield bytes(held)
                held.clear()
    except ClientDisconnect:
        raise Refused(400, "the request broke off") from None
    if held:
        yield bytes(held)


class _File:
    """The video as it grows."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path, self._limits, self._left = path, limits, limits.size
        self._file: IO[bytes] = path.open("xb")

    def write(self, piece: bytes) -> None:
        self._left -= len(piece)
        if self._left < 0:
            raise Refused(413, too_large(self.path.name, self._limits))
        with _room_on_disk():
            self._file.write(piece)

    def close(self) -> None:
        with _room_on_disk():
            self._file.close()


@contextmanager
def _room_on_disk() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise Refused(503, "the disk of the server is full; try again later") from None


class _Raw:
    """A body that is a video."""

    def __init__(self, folder: Path, name: str, limits: Limits) -> None:
        self._file = _File(folder / safe_name(name), limits)
        self.fields: dict[str, str] = {}
        self.write = self._file.write
        self.close = self._file.close

    def finish(self) -> Path:
        """The video."""
        self.close()
        return self._file.path


class _Form:
    """A multipart body: its file, and its fields."""

    def __init__(self, folder: Path, boundary: bytes, limits: Limits) -> None:
        if not boundary:
            raise Refused(400, "multipart/form-data without a boundary")
        self._folder, self._limits = folder, limits
        self._file: _File | None = None
        self._whole = False
        self._header, self._text = b"", b""
        self._headers: dict[bytes, bytes] = {}
        self._field: str | None = None
        self._value = b""
        self.fields: dict[str, str] = {}
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._add_header,
                    "on_header_value": self._add_text,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._open,
                    "on_part_data": self._add,
                    "on_part_end": self._end,
                    "on_end": self._end_all,
                },
            )
        except FormParserError as error:
            raise Refused(400, f"not a form: {error}") from None

    def write(self, piece: bytes) -> None:
        """Reads the next piece of the body."""
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise Refused(400, f"not a form: {error}") from None

    def finish(self) -> Path:
        """The video."""
        self.close()
        if not self._whole:
            raise Refused(400, "the form is cut off before its end")
        if self._file is None:
            raise Refused(400, "the form holds no file; send the video as a file named video")
        return self._file.path

    def close(self) -> None:
        """Closes the file; nothing more is written."""
        if self._file is not None:
            self._file.close()

    def _begin(self) -> None:
        self._headers, self._field, self._value = {}, None, b""

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_text(self, data: bytes, start: int, end: int) -> None:
        self._text += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header.lower()] = self._text
        self._header, self._text = b"", b""

    def _open(self) -> None:
        """The headers of a part are there: it is a field, or the file."""
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if not name:
            raise Refused(400, "a part of the form has no name")
        if b"filename" not in options:
            if name in self.fields or len(self.fields) >= MOST_FIELDS:
                raise Refused(400, f"{name[:50]} is given twice, or there are too many fields")
            self._field = name
            return
        if self._file is not None:
            raise Refused(400, "one video at a time")
        kind, _ = parse_options_header(self._headers.get(b"content-type"))
        told = kind.decode("latin-1")
        if not _is_video(told) and told not in ("application/octet-stream", ""):
            raise Refused(415, f"the file must be of type video/*, not {told}")
        given = options[b"filename"].decode("utf-8", "replace")
        self._file = _File(self._folder / safe_name(given), self._limits)

    def _add(self, data: bytes, start: int, end: int) -> None:
        if self._field is not None:
            self._value += data[start:end]
            if len(self._value) > LONGEST_WORD:
                raise Refused(400, f"{self._field[:50]} is longer than {LONGEST_WORD} bytes")
        elif self._file is not None:
            self._file.write(data[start:end])

    def _end(self) -> None:
        if self._field is not None:
            self.fields[self._field] = self._value.decode("utf-8", "replace")

    def _end_all(self) -> None:
        self._whole = True
