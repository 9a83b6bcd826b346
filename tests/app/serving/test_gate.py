"""The gate: who may come in, and how much."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from microexpr.app.serving import gate
from microexpr.app.serving.gate import Gate, Login, read_login
from microexpr.app.serving.uploads import Limits
from microexpr.errors import UserError

Ask = Callable[..., Any]


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Reads all, and says how much it was."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client has gone")
        size, more = size + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


@pytest.fixture
def ask(asgi: ModuleType) -> Ask:
    """A request through a gate."""

    def send(*request: Any, app: Any = echo, login: Login | None = None, **limits: float) -> Any:
        return asyncio.run(asgi.call(Gate(app, Limits(**limits), login), *request))

    return send


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:7860", "localhost:1", "LOCALHOST"])
def test_this_computer_is_let_in_under_its_own_names(ask: Ask, host: str) -> None:
    assert ask("GET", "/", {"host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:7860",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "0.0.0.0:7860",
        "192.168.1.5:7860",
        "[::1",
        "localhost.",
        "127.0.0.1:x@y",
        "a@localhost",
    ],
)
def test_under_another_name_nothing_is_served(ask: Ask, host: str) -> None:
    answer = ask("GET", "/api/jobs/x", {"host": host})
    assert answer.status == 403
    assert "127.0.0.1" in answer.error


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {}, 200),
        ("POST", {"origin": "http://127.0.0.1:7860"}, 200),
        ("POST", {"origin": "http://127.0.0.1:7860", "sec-fetch-site": "same-origin"}, 200),
        ("POST", {"origin": "http://evil.example"}, 403),
        ("POST", {"origin": "http://127.0.0.1:8888"}, 403),
        ("POST", {"origin": "http://localhost:7860"}, 403),
        ("POST", {"origin": "https://127.0.0.1:7860"}, 403),
        ("POST", {"origin": "null"}, 403),
        ("DELETE", {"origin": "http://evil.example"}, 403),
        ("GET", {"origin": "http://evil.example"}, 403),
        ("POST", {"sec-fetch-site": "cross-site"}, 403),
        ("POST", {"sec-fetch-site": "same-site", "sec-fetch-mode": "navigate"}, 403),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
        ("GET", {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, 200),
    ],
)
def test_other_sites_get_nothing(
    ask: Ask, method: str, headers: dict[str, str], status: int
) -> None:
    assert ask(method, "/api/jobs", headers).status == status


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/api", 200),
        ("/gradio_api/queue/join", 200),
        ("/gradio_api/file=/tmp/film.mp4", 200),
        ("/gradio_api/file=http://192.0.2.1/", 404),
        ("/gradio_api/file=HTTPS://192.0.2.1/", 404),
        ("/gradio_api/file=https:/192.0.2.1/", 404),
        ("/gradio_api/proxy=http://192.0.2.1/", 404),
        ("/gradio_api/run-history/connect", 404),
        ("/gradio_api/vibe-edit", 404),
        ("/gradio_api/mcp/", 404),
        ("/monitoring", 404),
        ("/login", 404),
        ("/file=/etc/passwd", 404),
        ("/apix", 404),
    ],
)
def test_doors_that_the_page_does_not_need_are_shut(ask: Ask, path: str, status: int) -> None:
    assert ask("GET", path).status == status


def test_every_answer_keeps_the_page_at_home(ask: Ask) -> None:
    for path in ("/", "/nowhere"):
        headers = ask("GET", path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "://" not in policy
        assert "*" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
    assert "cache-control" not in ask("GET", "/assets/index.js").headers


def basic(text: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def test_name_and_password(ask: Ask) -> None:
    login = Login("anna", "p:ä w")
    for path in ("/", "/api/jobs/x", "/assets/index.js"):
        assert ask("GET", path, basic("anna:p:ä w"), login=login).status == 200
        for wrong in (
            {},
            basic("anna:p:ä"),
            basic("anna:"),
            basic("bert:p:ä w"),
            {"authorization": "Basic !!"},
            {"authorization": "Bearer " + basic("anna:p:ä w")["authorization"][6:]},
            {"authorization": "Basic"},
        ):
            answer = ask("GET", path, wrong, login=login)
            assert answer.status == 401
            assert answer.headers["www-authenticate"].startswith("Basic ")
            assert "needed" in answer.error


def test_the_login_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("pass word\nsecond line\n")
    assert read_login(f"anna:{file}") == Login("anna", "pass word")
    file.write_text("\n")
    for text, says in (
        (f"anna:{file}", "is empty"),
        (f"anna:{tmp_path / 'none'}", "No such file"),
        ("anna", "takes USER:PASSWORD-FILE"),
        (f":{file}", "takes USER:PASSWORD-FILE"),
    ):
        with pytest.raises(UserError, match=says):
            read_login(text)


def test_a_body_within_the_limit_passes(ask: Ask) -> None:
    assert ask("POST", "/api/jobs", {}, [b"x" * 600_000] * 2, megabytes=0.5).body == b"1200000"


@pytest.mark.parametrize("path", ["/api/analyze", "/api/jobs", "/gradio_api/upload"])
def test_a_body_too_large_is_refused_before_it_is_read(ask: Ask, path: str) -> None:
    headers = {"content-length": "1500001"}
    answer = ask("POST", path, headers, [b"x" * 100] * 3, app=None, megabytes=0.5)
    assert answer.status == 413
    assert "larger than 0.5 MB" in answer.error
    assert answer.headers["connection"] == "close"
    assert answer.read == 300  # thrown away, so that the client comes to read


@pytest.mark.parametrize("length", [None, "7", "-1", "x", "²"])
def test_a_body_too_large_is_refused_while_it_is_read(ask: Ask, length: str | None) -> None:
    """Chunked, or with a length that is not true."""
    headers = {} if length is None else {"content-length": length}
    pieces = [b"x" * 100_000] * 40
    answer = ask("POST", "/api/analyze", headers, pieces, megabytes=0.5)
    assert answer.status == 413
    assert "larger than 0.5 MB" in answer.error
    assert ask("POST", "/gradio_api/queue/join", headers, pieces * 2).status == 413


def test_what_an_endless_sender_sends_is_thrown_away_for_a_while_only(
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "PATIENCE", 0.2)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.001)
            yield b"x" * 100_000

    answer = ask("POST", "/api/analyze", {}, endless, megabytes=0.5)
    assert answer.status == 413
    assert answer.read > 1_500_000


@pytest.mark.parametrize(
    ("pause", "limits"),
    [(60.0, {"stall": 0.1}), (0.02, {"receive": 0.2, "stall": 60.0})],
)
def test_a_slow_sender_is_given_up(
    ask: Ask, pause: float, limits: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that falls silent, and one that sends a byte now and then."""
    monkeypatch.setattr(gate, "PATIENCE", 0.1)

    async def slow() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(pause)

    answer = ask("POST", "/api/analyze", {}, slow, **limits)
    assert answer.status == 408
    assert "too slowly" in answer.error


def test_an_app_that_fails_still_fails(ask: Ask) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        ask("GET", "/", app=broken)


def test_web_sockets_are_not_served() -> None:
    sent: list[Any] = []

    async def connect() -> None:
        async def send(message: Any) -> None:
            sent.append(message)

        await Gate(echo, Limits())({"type": "websocket", "path": "/"}, None, send)  # type: ignore[arg-type]

    asyncio.run(connect())
    assert sent == [{"type": "websocket.close", "code": 1008}]
