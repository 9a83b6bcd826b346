"""Who and what comes in: nobody but the browser of this computer's user, and no more than is taken.

The server listens on the loopback alone, but every page that the user visits can send requests to
it, under another name too (DNS rebinding), and so can every user of this computer.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from microexpr.app.serving.uploads import Limits, too_large
from microexpr.errors import UserError

HOST = re.compile(r"(127\.0\.0\.1|localhost)(:[0-9]{1,5})?", re.IGNORECASE)
SMALL = 4_000_000  # bytes of a request that carries no video
OVERHEAD = 1_000_000  # bytes of a request beside its video
PATIENCE = 5.0  # seconds for which what a refused sender still sends is thrown away
UPLOADS = frozenset({"/api/analyze", "/api/jobs", "/gradio_api/upload"})
PAGE = (
    "/assets/",
    "/config",
    "/favicon.ico",
    "/manifest.json",
    "/pwa_icon",
    "/static/",
    "/svelte/",
    "/theme.css",
    "/gradio_api/cancel",
    "/gradio_api/file=",
    "/gradio_api/heartbeat/",
    "/gradio_api/info",
    "/gradio_api/queue/",
    "/gradio_api/reset",
    "/gradio_api/run/predict",
    "/gradio_api/startup-events",
    "/gradio_api/stream/",
    "/gradio_api/upload",
    "/gradio_api/user",
)
"""What gradio's page asks for. The rest of its doors (proxies, hubs, monitors) stays shut."""

POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval' blob:",  # gradio's page needs all
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self' data: blob:",
    "worker-src": "'self' blob:",
    "frame-src": "'self' data: blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'self'",
}
HEADERS = {
    "content-security-policy": "; ".join(f"{what} {where}" for what, where in POLICY.items()),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Refused(Exception):
    """A request that is not served: its HTTP status and one line that says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(frozen=True, slots=True)
class Login:
    """The one name and password."""

    user: str
    password: str


def read_login(text: str) -> Login:
    """The login meant by ``USER:PASSWORD-FILE``; the password is the file's first line.

    Raises:
        UserError: Not of this form, or the file cannot be read or is empty.
    """
    user, colon, file = text.partition(":")
    if not (user and colon and file):
        raise UserError(f"--auth takes USER:PASSWORD-FILE, got {text!r}")
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"cannot read the password file {file}: {why}") from error
    if not lines or not lines[0]:
        raise UserError(f"the first line of the password file {file} is empty")
    return Login(user, lines[0])


class Gate:
    """ASGI middleware before everything else that the server does."""

    def __init__(self, app: App, limits: Limits, login: Login | None = None) -> None:
        self._app, self._limits, self._login = app, limits, login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request, or refuses it with a line of JSON."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})  # nothing here needs one

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = _Body(receive, self._limits, scope["path"])
        answer = _Answer(send, body, scope["path"])
        try:
            check_request(scope, self._login)
            body.check_length(_headers(scope).get("content-length"))
            await self._app(scope, body.receive, answer.send)
        except Refused as refusal:
            await answer.refuse(refusal)
        except Exception:
            if body.refusal is None:
                raise
        if body.refusal is not None:  # the app below was told that the client had gone
            await answer.refuse(body.refusal)


def error_line(refusal: Refused) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """A refusal as the body of an answer, and its headers."""
    body = json.dumps({"error": refusal.message}).encode() + b"\n"
    headers = [(b"content-type", b"application/json")]
    headers.append((b"content-length", str(len(body)).encode()))
    if refusal.status == 401:
        headers.append((b"www-authenticate", b'Basic realm="microexpr", charset="UTF-8"'))
    if refusal.status == 503:
        headers.append((b"retry-after", b"30"))
    return body, headers


def check_request(scope: Scope, login: Login | None) -> None:
    """Whether a request comes from where it may, and asks for what there is.

    Raises:
        Refused: Another site sent it, the login is wrong, or there is no such page.
    """
    headers = _headers(scope)
    host = headers.get("host", "")
    if not HOST.fullmatch(host):
        raise Refused(403, "this server is http://127.0.0.1 or http://localhost, nothing else")
    _check_origin(scope["method"], headers, host)
    if login is not None and not _knows(headers.get("authorization", ""), login):
        raise Refused(401, "name and password are needed")
    path = scope["path"]
    if path == "/" or path == "/api" or path.startswith("/api/"):
        return
    if not path.startswith(PAGE) or "://" in path or "/file=http" in path.lower():
        raise Refused(404, "there is no such page")


def _check_origin(method: str, headers: dict[str, str], host: str) -> None:
    """Refuses what another site has the user's browser send.

    A browser says with ``Origin`` who sends what changes something, and with ``Sec-Fetch-Site`` who
    asks for anything; programs send neither. A link from elsewhere may be followed.
    """
    origin = headers.get("origin")
    if origin is not None and origin.lower() != f"http://{host}".lower():
        raise Refused(403, "requests of other sites are not served")
    link = method in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate"
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not link:
        raise Refused(403, "requests of other sites are not served")


def _knows(authorization: str, login: Login) -> bool:
    """Whether HTTP basic credentials are right, in a time that does not tell how nearly."""
    scheme, _, code = authorization.partition(" ")
    try:
        given = base64.b64decode(code.strip(), validate=True)
    except (binascii.Error, ValueError):
        given = b""
    right = f"{login.user}:{login.password}".encode()
    return hmac.compare_digest(given, right) and scheme.lower() == "basic"


class _Body:
    """The body of a request as it comes in: counted, and not waited for without end."""

    def __init__(self, receive: Receive, limits: Limits, path: str) -> None:
        self._receive, self._limits = receive, limits
        self._video = path.rstrip("/") in UPLOADS
        self._most = limits.size + OVERHEAD if self._video else SMALL
        self._left = self._most
        self._until = time.monotonic() + limits.receive
        self.whole = False
        self.refusal: Refused | None = None

    def check_length(self, length: str | None) -> None:
        """Refuses what says itself that it is too large."""
        if length and length.isascii() and length.isdigit() and int(length) > self._most:
            raise self._large()

    async def receive(self) -> Message:
        """The next piece; once the body is refused, the app sees a client that has gone."""
        if self.refusal is not None:
            return {"type": "http.disconnect"}
        if self.whole:
            return await self._receive()
        left = max(0.0, min(self._limits.stall, self._until - time.monotonic()))
        try:
            message = await asyncio.wait_for(self._receive(), left)
        except TimeoutError:
            self.refusal = Refused(408, "the request came in too slowly and was given up")
            return {"type": "http.disconnect"}
        self._left -= len(message.get("body", b""))
        self.whole = not message.get("more_body", False)
        if self._left < 0:
            self.refusal = self._large()
            return {"type": "http.disconnect"}
        return message

    async def drain(self) -> None:
        """Throws away what is still being sent, for a while.

        Most clients read only when all is sent: before, they see but a broken connection.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                while not self.whole:
                    self.whole = not (await self._receive()).get("more_body", False)
        except TimeoutError:
            pass

    def _large(self) -> Refused:
        told = too_large("the video", self._limits) if self._video else "the request is too large"
        return Refused(413, told)


class _Answer:
    """What goes back: with the headers that keep the page at home, and after the request."""

    def __init__(self, send: Send, body: _Body, path: str) -> None:
        self._send, self._body = send, body
        kept = path.startswith(("/assets/", "/static/", "/svelte/"))
        self._wanted = {k: v for k, v in HEADERS.items() if not (kept and k == "cache-control")}
        self._begun = False

    async def send(self, message: Message) -> None:
        """Passes on what the app answers, unless its request was refused meanwhile."""
        if self._body.refusal is None or self._begun:
            await self._pass_on(message)

    async def refuse(self, refusal: Refused) -> None:
        """Says why in a line of JSON, unless an answer has begun."""
        if self._begun:
            return
        body, headers = error_line(refusal)
        start = {"type": "http.response.start", "status": refusal.status, "headers": headers}
        await self._pass_on(start)
        await self._pass_on({"type": "http.response.body", "body": body})

    async def _pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun = True
            headers = [h for h in message["headers"] if h[0].decode().lower() not in self._wanted]
            headers += [(name.encode(), text.encode()) for name, text in self._wanted.items()]
            if message["status"] >= 400 and not self._body.whole:
                headers.append((b"connection", b"close"))
            await self._send({**message, "headers": headers})
        elif message.get("more_body") or self._body.whole:
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})
            await self._body.drain()
            await self._send({**message, "body": b""})


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): text.decode("latin-1") for name, text in scope["headers"]}
