"""The server as a whole: in this process without a page, and as a real one with it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from microexpr.app.serving import server
from microexpr.app.serving.queue import Queue
from microexpr.app.serving.server import Plan, check_plan, make_app
from microexpr.app.serving.uploads import Limits, Uploads
from microexpr.errors import UserError
from microexpr.film import drawn_portrait, film, write_script


def test_old_sessions_go_while_it_runs_and_used_ones_stay(
    tmp_path: Path, obey: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "TIDY", 0.02)
    plan = Plan(workers=1)
    uploads = Uploads(tmp_path, plan.limits)
    queue = Queue(1, plan.limits, None, obey)
    old, busy = uploads.session(), uploads.session()
    (busy / "v.mp4").write_text("wait 60")
    ticket = queue.submit(busy / "v.mp4", busy / "out", sys.modules[obey.__module__].Settings())
    for session in (old, busy):
        os.utime(session, (0, 0))
    app = make_app(queue, uploads, plan, None)

    async def run() -> None:
        messages: asyncio.Queue[Any] = asyncio.Queue()
        await messages.put({"type": "lifespan.startup"})
        task = asyncio.create_task(app({"type": "lifespan"}, messages.get, _ignore))
        while old.exists():
            await asyncio.sleep(0.01)
        await messages.put({"type": "lifespan.shutdown"})
        await task

    asyncio.run(asyncio.wait_for(run(), 60))
    assert busy.is_dir()
    assert queue.status(ticket).state in ("waiting", "running")
    queue.close()
    uploads.clear()


async def _ignore(message: Any) -> None:
    pass


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"cannot listen on port {port}.*another --port"):
            server._listen(port)
    with server._listen(0) as free:
        assert free.getsockname()[0] == "127.0.0.1"
    with pytest.raises(UserError, match="cannot listen on port 99999"):
        server._listen(99999)


def test_a_plan_that_cannot_be_is_said(tmp_path: Path) -> None:
    check_plan(Plan())
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    for plan, says in (
        (Plan(limits=Limits(megabytes=0)), "must be more than 0"),
        (Plan(limits=Limits(seconds=-60)), "must be more than 0"),
        (Plan(limits=Limits(seconds=float("nan"))), "must be more than 0"),
        (Plan(runs=tmp_path / "none"), "there is no folder"),
        (Plan(model=tmp_path / "model.safetensors"), "model.safetensors"),
    ):
        with pytest.raises(UserError, match=says):
            check_plan(plan)


def test_without_gradio_the_command_that_mends_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    for module in [name for name in sys.modules if name.startswith("microexpr.app.studio")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(UserError, match=r"pip install 'microexpr\[app\]'"):
        server._studio()


def test_a_signal_ends_it_and_cleans() -> None:
    done: list[str] = []
    before = signal.getsignal(signal.SIGTERM)
    with server._until_stopped() as cleaning:
        cleaning.callback(done.append, "first")
        cleaning.callback(lambda: signal.raise_signal(signal.SIGTERM))  # does not stop the cleaning
        signal.raise_signal(signal.SIGTERM)
        done.append("never")
    assert done == ["first"]
    assert signal.getsignal(signal.SIGTERM) is before


# --- a real one ----------------------------------------------------------------------------------


@dataclass
class Real:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    port: int
    folder: Path
    greeting: str

    def ask(
        self, method: str, path: str, body: Any = None, timeout: float = 300, **headers: str
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        given = {name.replace("_", "-"): text for name, text in headers.items()}
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        read = answer.read()
        connection.close()
        return answer.status, read

    def children(self) -> list[int]:
        """Its processes, by /proc."""
        at = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        tasks = at.parent.parent.glob("*/children")
        return [int(pid) for task in tasks for pid in task.read_text().split()]


def launch(folder: Path, *words: str) -> Real:
    folder.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "microexpr", "app", "--port", "0", *words],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(folder)},
    )
    assert process.stdout is not None
    greeting = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:(\d+) \(ready in ([\d.]+) s", greeting)
    assert found is not None, greeting
    return Real(process, int(found[1]), folder, greeting)


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until(true: Any, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    started = launch(tmp_path_factory.mktemp("real") / "tmp", "--megabytes", "20")
    yield started
    started.process.terminate()
    started.process.wait(60)


@pytest.fixture(scope="module")
def smile(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A film of a second and a half."""
    path = tmp_path_factory.mktemp("film") / "smile.mp4"
    script = write_script(5, fps=50, seconds=1.5, events=1, peak=(1.8, 2.0), drift=1.0)
    film(drawn_portrait(), script, path)
    return path.read_bytes()


VIDEO = {"Content_Type": "video/mp4"}


@pytest.mark.slow
def test_a_film_is_analysed(real: Real, smile: bytes) -> None:
    print(real.greeting)
    began = time.perf_counter()
    status, body = real.ask("POST", "/api/analyze?name=smile.mp4", smile, **VIDEO)
    print(f"first result after {time.perf_counter() - began:.1f} s")
    report = json.loads(body)
    assert status == 200
    assert report["video"]["path"] == report["settings"]["video"] == "smile.mp4"
    assert report["events"]
    assert str(real.folder).encode() not in body
    status, page = real.ask("GET", "/")
    assert status == 200
    assert b"gradio" in page
    outside = rb"<(?:script|link)[^>]*(?:src|href)=[\"'](?:https?:)?//"
    assert not re.search(outside, page)


@pytest.mark.slow
def test_fifty_at_once_and_each_its_own(real: Real, smile: bytes) -> None:
    """Bad videos, good ones, and questions, all at the same time."""

    def one(number: int) -> tuple[int, int, bytes]:
        if number % 5 == 0 and number < 20:
            return number, *real.ask("POST", f"/api/analyze?name=f{number}.mp4", smile, **VIDEO)
        if number % 2:
            return number, *real.ask("POST", f"/api/analyze?name=f{number}.mp4", b"no", **VIDEO)
        return number, *real.ask("GET", "/api")

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(one, range(50)))
    for number, status, body in answers:
        if status == 200 and body.startswith(b"{"):
            assert json.loads(body)["video"]["path"] == f"f{number}.mp4"
        elif status == 422:
            assert json.loads(body)["error"].startswith(f"f{number}.mp4 is damaged")
        else:
            assert status in (200, 503)
    assert sum(status in (200, 422) for _, status, _ in answers) >= 35
    assert real.process.poll() is None
    wait_until(lambda: not list(real.folder.glob("*/server-*/sessions/*")))


@pytest.mark.slow
def test_a_body_too_large_is_told_to_a_client_that_sends_it_all(real: Real) -> None:
    before = _memory(real.process.pid)
    size = 100_000_000
    for headers in ({"Content_Length": str(size)}, {"Transfer_Encoding": "chunked"}):

        def pieces(chunked: bool = "Transfer_Encoding" in headers) -> Iterator[bytes]:
            for _ in range(size // 1_000_000):
                yield b"f4240\r\n" + b"x" * 1_000_000 + b"\r\n" if chunked else b"x" * 1_000_000
            if chunked:
                yield b"0\r\n\r\n"

        status, body = real.ask("POST", "/api/analyze", pieces(), **VIDEO, **headers)
        assert status == 413
        assert "larger than 20 MB" in json.loads(body)["error"]
    assert _memory(real.process.pid) < before + 100_000_000


def _memory(pid: int) -> int:
    """Bytes that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_who_hangs_up_or_falls_silent_leaves_nothing(real: Real, smile: bytes) -> None:
    """One breaks off while sending, one while waiting; one never says what it wants."""
    sessions = lambda: list(real.folder.glob("*/server-*/sessions/*"))  # noqa: E731
    head = f"POST /api/analyze HTTP/1.1\r\nHost: 127.0.0.1:{real.port}\r\n"
    head += f"Content-Type: video/mp4\r\nContent-Length: {len(smile)}\r\n\r\n"
    for sent in (smile[:1000], smile):
        with socket.create_connection(("127.0.0.1", real.port)) as client:
            client.sendall(head.encode() + sent)
            wait_until(sessions)
        wait_until(lambda: not sessions())
    with socket.create_connection(("127.0.0.1", real.port)) as silent:
        silent.sendall(b"POST /api/ana")
        silent.settimeout(60)
        assert silent.recv(100) == b""


@pytest.mark.slow
def test_other_sites_and_outside_addresses_are_refused(real: Real) -> None:
    assert real.ask("GET", "/", Host="evil.example")[0] == 403
    assert real.ask("POST", "/api/jobs", b"x", Origin="http://evil.example", **VIDEO)[0] == 403
    join = "/gradio_api/queue/join"
    assert real.ask("POST", join, b"{}", Origin="http://evil.example")[0] == 403
    assert real.ask("GET", "/gradio_api/file=http://192.0.2.1/")[0] == 404
    for path in ("/etc/passwd", f"{real.folder}", f"/proc/{real.process.pid}/environ"):
        assert real.ask("GET", f"/gradio_api/file={path}")[0] in (403, 404)
    assert real.ask("GET", "/gradio_api/proxy=http://192.0.2.1/")[0] == 404


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_remains_when_it_is_stopped(
    number: signal.Signals, tmp_path: Path, smile: bytes
) -> None:
    """With a login, in the middle of an analysis; what a kill leaves, the next start removes."""
    (tmp_path / "password").write_text("secret\n")
    started = launch(tmp_path / "tmp", "--auth", f"anna:{tmp_path / 'password'}", "--workers", "1")
    assert started.ask("GET", "/api")[0] == 401
    login = {"Authorization": "Basic YW5uYTpzZWNyZXQ="}
    assert started.ask("POST", "/api/jobs", smile, **VIDEO, **login)[0] == 202
    children = started.children()
    assert children
    started.process.send_signal(number)
    code = started.process.wait(60)
    wait_until(lambda: all(map(gone, children)))
    left = list((tmp_path / "tmp").glob("*/server-*"))
    if number != signal.SIGKILL:
        assert code == 0
        assert left == []
        return
    assert len(left) == 1
    again = launch(tmp_path / "tmp")
    assert not left[0].exists()
    again.process.terminate()
    again.process.wait(60)
