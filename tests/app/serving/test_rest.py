"""The REST interface, with work that does what the "video" says."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from microexpr.app.serving import receive, rest
from microexpr.app.serving.gate import Gate
from microexpr.app.serving.queue import Queue
from microexpr.app.serving.rest import DOWNLOADS
from microexpr.app.serving.server import Plan, make_app
from microexpr.app.serving.uploads import Limits, Uploads

FORM = {"content-type": "multipart/form-data; boundary=XX"}
VIDEO = {"content-type": "video/mp4"}


@dataclass
class Site:
    """A server without a network, and its client."""

    app: Gate
    queue: Queue
    uploads: Uploads
    asgi: ModuleType

    def ask(self, *request: Any) -> Any:
        return asyncio.run(self.asgi.call(self.app, *request))

    def send(self, orders: str, path: str = "/api/analyze", **form: Any) -> Any:
        return self.ask("POST", path, FORM, [self.asgi.form(orders.encode(), **form)])

    def sessions(self) -> list[Path]:
        return list((self.uploads.root / "sessions").iterdir())


@pytest.fixture(scope="module")
def open_site(
    obey: Any, asgi: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def make(workers: int = 1, **limits: Any) -> Site:
        plan = Plan(workers=workers, limits=Limits(**limits))
        uploads = Uploads(tmp_path_factory.mktemp("base"), plan.limits)
        queue = Queue(workers, plan.limits, None, obey)
        sites.append(Site(make_app(queue, uploads, plan, None), queue, uploads, asgi))
        return sites[-1]

    yield make
    for site in sites:
        site.queue.close()
        site.uploads.clear()


@pytest.fixture
def light(obey: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that do not bring torch into every process."""
    settings = sys.modules[obey.__module__].Settings()
    monkeypatch.setattr(rest, "_settings", lambda received: settings)


@pytest.fixture(scope="module")
def site(open_site: Callable[..., Site]) -> Site:
    return open_site(workers=2, megabytes=70)


def test_a_form_and_a_plain_body_give_the_report(site: Site) -> None:
    answer = site.send("hello", name="my film.mp4", face="1")
    assert answer.status == 200
    told = json.loads(answer.body)
    assert (told["text"], told["name"], told["face"]) == ("hello", "my film.mp4", 1)
    answer = site.ask("POST", "/api/analyze?name=b.mp4&face=2", VIDEO, [b"good", b"bye"])
    told = json.loads(answer.body)
    assert (told["text"], told["name"], told["face"]) == ("goodbye", "b.mp4", 2)
    assert site.sessions() == []


@pytest.mark.parametrize(
    "name",
    ["../../../evil.mp4", "..\\\\evil.mp4", "/etc/evil.mp4", "C:\\\\evil.mp4", "a/../evil.mp4"],
)
def test_a_name_leads_nowhere(name: str, site: Site) -> None:
    before = set(site.uploads.root.rglob("*"))
    assert json.loads(site.send("hello", name=name).body)["name"] == "evil.mp4"
    raw = site.ask("POST", f"/api/analyze?name={name}", VIDEO, [b"hello"])
    assert json.loads(raw.body)["name"] == "evil.mp4"
    assert set(site.uploads.root.rglob("*")) == before


@pytest.mark.parametrize(
    ("headers", "change", "status", "says"),
    [
        ({}, None, 415, "Content-Type, not nothing"),
        ({"content-type": "application/json"}, None, 415, "not application/json"),
        ({"content-type": "application/x-www-form-urlencoded"}, None, 415, "send video/*"),
        ({"content-type": "multipart/form-data"}, None, 400, "without a boundary"),
        ({"content-type": f"multipart/form-data; boundary={'X' * 300}"}, None, 400, "not a form"),
        (FORM, lambda body: body[:-8], 400, "cut off"),
        (FORM, lambda body: b"nonsense" + body, 400, "not a form"),
        (FORM, lambda body: b"--XX--\r\n", 400, "holds no file"),
        (FORM, lambda body: body[:-6] + b"\r\n" + body, 400, "one video at a time"),
        (FORM, lambda body: body.replace(b"video/mp4", b"text/html"), 415, "not text/html"),
        (FORM, lambda body: body.replace(b'; name="video"', b""), 400, "has no name"),
        (
            FORM,
            lambda body: body.replace(b"video/mp4", b"video/mp4\r\nA: " + b"x" * 9999),
            400,
            "form",
        ),
    ],
)
def test_what_is_no_video_is_refused_in_a_line(
    headers: dict[str, str], change: Any, status: int, says: str, site: Site
) -> None:
    body = site.asgi.form(b"hello")
    answer = site.ask("POST", "/api/analyze", headers, [change(body) if change else body])
    assert answer.status == status
    assert says in answer.error
    assert site.sessions() == []


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"confidense": "1"}, "did you mean 'confidence'?"),
        ({"face": "-1"}, "face is not what it should be: '-1'"),
        ({"face": "1.5"}, "face is not"),
        ({"confidence": "nan"}, "confidence is not"),
        ({"confidence": "1.01"}, "confidence is not"),
        ({"fps": "0"}, "fps is not"),
        ({"fps": "inf"}, "fps is not"),
        ({"onset": "5"}, "onset with apex"),
        ({"onset": "5", "apex": "4"}, "need onset < apex"),
        ({"face": "x" * 1001}, "longer than 1000 bytes"),
        ({f"f{i}": "" for i in range(21)}, "too many fields"),
    ],
)
def test_options_are_checked(fields: dict[str, str], says: str, site: Site) -> None:
    answer = site.send("hello", **fields)
    assert answer.status == 400
    assert says in answer.error
    assert "--" not in answer.error


def test_an_option_is_given_once(site: Site) -> None:
    body = [site.asgi.form(b"hello", face="1")]
    assert "face is given twice" in site.ask("POST", "/api/analyze?face=1", FORM, body).error
    twice = site.ask("POST", "/api/analyze?face=1&face=2", FORM, body)
    assert (twice.status, "given twice" in twice.error) == (400, True)


@pytest.mark.parametrize(
    ("orders", "status", "says"),
    [
        ("refuse no face in it", 422, "v.mp4: no face in it"),
        ("die", 422, "broke off"),
        ("break secret", 503, "the server's log says why"),
        ("full", 503, "disk of the server is full"),
    ],
)
def test_what_goes_wrong_is_said(orders: str, status: int, says: str, site: Site) -> None:
    answer = site.send(orders)
    assert answer.status == status
    assert says in answer.error
    assert site.sessions() == []


@pytest.mark.usefixtures("light")
def test_an_analysis_that_takes_too_long_is_ended(open_site: Callable[..., Site]) -> None:
    answer = open_site(timeout=0.3).send("wait 60")
    assert answer.status == 504
    assert "it took longer than" in answer.error


@pytest.mark.usefixtures("light")
def test_a_file_larger_than_the_limit_is_refused_to_the_byte(
    open_site: Callable[..., Site],
) -> None:
    site = open_site(megabytes=0.001)
    for size, status in ((1000, 200), (1001, 413)):
        assert site.send("x" * size).status == status
        assert site.ask("POST", "/api/analyze?name=x", VIDEO, [b"x" * size]).status == status
    assert site.sessions() == []


def test_a_ticket_from_the_first_to_the_last(site: Site) -> None:
    answer = site.send("wait 0.2\nhello", "/api/jobs", face="1")
    assert answer.status == 202
    ticket = json.loads(answer.body)["ticket"]
    at = f"/api/jobs/{ticket}"
    assert answer.headers["location"] == at
    assert "not there: " in site.ask("GET", f"{at}/report.html").error
    while (job := json.loads(site.ask("GET", at).body))["state"] != "done":
        assert job["report"] is None
        time.sleep(0.05)
    assert job["report"]["text"] == "wait 0.2\nhello"
    for name, kind in DOWNLOADS.items():
        file = site.ask("GET", f"{at}/{name}")
        assert file.status == 200
        assert file.body.startswith(name.encode())
        assert file.headers["content-type"].startswith(kind)
        assert "attachment" in file.headers["content-disposition"]
    for other in ("half", "..", "../video/v.mp4", "report.jsn", "%2e%2e"):
        assert site.ask("GET", f"{at}/{other}").status == 404
    (session,) = site.sessions()
    assert site.ask("DELETE", at).status == 204
    assert not session.exists()
    for method, path in (("GET", at), ("DELETE", at), ("GET", f"{at}/events.csv")):
        answer = site.ask(method, path)
        assert answer.status == 404
        assert "no such ticket" in answer.error


def test_a_running_analysis_is_cancelled(site: Site) -> None:
    ticket = json.loads(site.send("wait 60", "/api/jobs").body)["ticket"]
    while site.queue.status(ticket).state != "running":
        time.sleep(0.05)
    began = time.monotonic()
    assert site.ask("DELETE", f"/api/jobs/{ticket}").status == 204
    assert time.monotonic() - began < 30
    assert site.sessions() == []


def test_results_that_were_swept_are_gone(site: Site) -> None:
    ticket = json.loads(site.send("hello", "/api/jobs").body)["ticket"]
    while site.queue.status(ticket).state != "done":
        time.sleep(0.05)
    site.uploads.sweep(time.time() + 3601)
    assert "gone" in site.ask("GET", f"/api/jobs/{ticket}/events.csv").error
    assert site.ask("DELETE", f"/api/jobs/{ticket}").status == 204


def test_who_hangs_up_cancels(site: Site) -> None:
    """While the video comes in, and while it is analysed."""
    gone = site.asgi.GONE
    answer = site.ask("POST", "/api/analyze", FORM, [site.asgi.form(b"wait 60")[:-9], gone])
    assert "broke off" in answer.error
    assert site.sessions() == []

    async def hang_up() -> None:
        request = asyncio.create_task(site.asgi.call(site.app, "POST", "/api/analyze", FORM, body))
        await asyncio.wait_for(request, 60)

    async def body() -> AsyncIterator[bytes]:
        yield site.asgi.form(b"wait 60")
        yield site.asgi.END
        while not site.queue.busy():
            await asyncio.sleep(0.05)
        yield gone

    asyncio.run(hang_up())
    assert site.queue.busy() == []
    assert site.sessions() == []


def test_a_ticket_of_the_page_is_not_served_here(site: Site, obey: Any) -> None:
    session = site.uploads.session()
    (session / "v.mp4").write_text("mine")
    settings = sys.modules[obey.__module__].Settings()
    ticket = site.queue.submit(session / "v.mp4", session / "out", settings)
    for method in ("GET", "DELETE"):
        assert site.ask(method, f"/api/jobs/{ticket}").status == 404
    assert session.is_dir()
    site.queue.drop(session)
    site.uploads.close(session)


@pytest.mark.usefixtures("light")
def test_when_too_many_wait_more_are_sent_away(open_site: Callable[..., Site]) -> None:
    site = open_site(waiting=1)
    first = json.loads(site.send("wait 60", "/api/jobs").body)["ticket"]
    while site.queue.status(first).state != "running":
        time.sleep(0.05)
    second = json.loads(site.send("b", "/api/jobs").body)
    assert (second["state"], second["ahead"]) == ("waiting", 0)
    answer = site.send("c", "/api/jobs")
    assert answer.status == 503
    assert answer.headers["retry-after"] == "30"
    assert "too many videos wait" in answer.error


def test_a_full_disk_is_said(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        answer = site.send("hello")
    assert (answer.status, answer.error) == (503, "the disk of the server is full; try again later")
    opened = receive._File.__init__

    def full(self: Any, *arguments: Any) -> None:
        opened(self, *arguments)
        self.close()
        self._file = Path("/dev/full").open("wb")  # noqa: SIM115

    if Path("/dev/full").exists():
        monkeypatch.setattr(receive._File, "__init__", full)
        assert site.send("hello").error == "the disk of the server is full; try again later"
    assert site.sessions() == []


@pytest.mark.usefixtures("light")
def test_fifty_at_once(open_site: Callable[..., Site]) -> None:
    """Each gets its own result or is sent away; nothing of anybody remains."""
    site = open_site(workers=2, waiting=20)

    async def all_at_once() -> list[Any]:
        bodies = [[site.asgi.form(f"wait 0.05\nfilm {i}".encode())] for i in range(50)]
        calls = [site.asgi.call(site.app, "POST", "/api/analyze", FORM, body) for body in bodies]
        return await asyncio.gather(*calls)

    answers = asyncio.run(all_at_once())
    served = [(i, answer) for i, answer in enumerate(answers) if answer.status == 200]
    assert len(served) >= 20
    for i, answer in served:
        assert json.loads(answer.body)["text"] == f"wait 0.05\nfilm {i}"
    assert {answer.status for answer in answers} <= {200, 503}
    assert site.sessions() == []
    assert site.send("after").status == 200


def test_a_video_is_not_held_in_memory(site: Site) -> None:
    piece = b" " * 65_536

    async def long() -> AsyncIterator[bytes]:
        head, tail = site.asgi.form(b"refuse seen\n|").split(b"|")
        yield head
        for _ in range(1000):
            yield piece
        yield tail

    tracemalloc.start()
    answer = site.ask("POST", "/api/analyze", FORM, long)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "seen" in answer.error
    assert peak < 10 * 2**20 < 1000 * len(piece)


def test_the_description_is_whole_and_offline(site: Site) -> None:
    told = json.loads(site.ask("GET", "/api/openapi.json").body)
    assert told["openapi"].startswith("3.1")
    assert set(told["paths"]) == {
        "/api/analyze",
        "/api/jobs",
        "/api/jobs/{ticket}",
        "/api/jobs/{ticket}/{file}",
    }
    known = told["components"]["schemas"]
    used = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(told)))
    assert used == set(known)
    form = told["paths"]["/api/analyze"]["post"]["requestBody"]["content"]
    assert set(form["multipart/form-data"]["schema"]["properties"]) >= {"video", "face", "fps"}

    page = site.ask("GET", "/api")
    assert page.headers["content-type"].startswith("text/html")
    text = page.body.decode()
    assert "<script" not in text
    assert all(link.startswith(("#", "/")) for link in re.findall(r'(?:src|href)="([^"]*)"', text))
    assert "url(" not in text
    anchors = set(re.findall(r'href="#(\w+)"', text))
    assert anchors <= set(re.findall(r'id="(\w+)"', text))
    assert {"Report", "Event", "Job", "Error"} <= anchors


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/nothing"), ("GET", "/api/analyze"), ("PUT", "/api/jobs"), ("GET", "/api/docs")],
)
def test_what_is_not_there_is_said(method: str, path: str, site: Site) -> None:
    answer = site.ask(method, path)
    assert answer.status == 404
    assert answer.error == f"there is no {method} {path}; see /api"


def test_a_mistake_of_ours_is_a_line_too(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.queue, "room", None)
    answer = site.send("hello")
    assert answer.status == 500
    assert answer.error == "the server failed; its log says why"
    assert isinstance(answer.failure, TypeError)  # for the log
    assert site.sessions() == []
