"""A client at the level of ASGI: it can be slow, endless, or gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

GONE = b"\0gone"  # as a piece of the body: the client hangs up
END = b"\0end"  # the body ends, but not what the client does


@dataclass
class Answer:
    """What came back; `status` 0: nothing."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    read: int = 0
    failure: Exception | None = None

    @property
    def error(self) -> str:
        """The line that says why."""
        told = json.loads(self.body)
        assert list(told) == ["error"], told
        assert "\n" not in told["error"]
        return str(told["error"])


async def call(
    app: Any,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: Sequence[bytes] | Callable[[], AsyncIterator[bytes]] = (),
) -> Answer:
    """One request; `body` are its pieces, all but the last followed by more."""
    answer, over, whole = Answer(), asyncio.Event(), asyncio.Event()
    given = {"host": "127.0.0.1:7860"} | (headers or {})
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(k.encode(), v.encode()) for k, v in given.items()],
        "server": ("127.0.0.1", 7860),
        "client": ("127.0.0.1", 50000),
        "state": {},
    }
    pieces = _listed(body) if not callable(body) else body()

    async def receive() -> dict[str, Any]:
        piece = await anext(pieces, None)
        if piece == END:
            whole.set()
            return {"type": "http.request", "body": b"", "more_body": False}
        if piece == GONE:
            return {"type": "http.disconnect"}
        if piece is not None:
            answer.read += len(piece)
            return {"type": "http.request", "body": piece, "more_body": True}
        if not whole.is_set():
            whole.set()
            return {"type": "http.request", "body": b"", "more_body": False}
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            assert answer.status == 0
            answer.status = message["status"]
            answer.headers |= {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            answer.body += message.get("body", b"")
            if not message.get("more_body"):
                over.set()

    try:
        await app(scope, receive, send)
    except Exception as failure:
        if not answer.status:
            raise
        answer.failure = failure
    return answer


async def _listed(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def form(content: bytes, name: str = "v.mp4", kind: str = "video/mp4", **fields: str) -> bytes:
    """A multipart body with a boundary of ``XX``."""
    parts = b"".join(
        f'--XX\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode()
        for k, v in fields.items()
    )
    head = f'--XX\r\nContent-Disposition: form-data; name="video"; filename="{name}"\r\n'
    head += f"Content-Type: {kind}\r\n\r\n"
    return parts + head.encode() + content + b"\r\n--XX--\r\n"
