"""The queue: turns, ends of every kind, and that one analysis never harms another."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from microexpr.app.serving.queue import SHARES, Queue, Status
from microexpr.app.serving.uploads import Limits
from microexpr.app.serving.worker import STEPS
from microexpr.errors import UserError

FINAL = ("done", "failed", "cancelled")
Submit = Callable[..., str]


@pytest.fixture
def start(obey: Any) -> Iterator[Callable[..., Queue]]:
    """Makes queues that are closed in the end."""
    queues: list[Queue] = []

    def make(workers: int = 1, model: Path | None = None, **limits: Any) -> Queue:
        queues.append(Queue(workers, Limits(**limits), model, obey))
        return queues[-1]

    yield make
    for queue in queues:
        queue.close()


@pytest.fixture
def submit(tmp_path: Path, obey: Any) -> Submit:
    """Puts a task into a queue: a file of orders, in a session of its own."""
    count, settings_class = iter(range(1000)), sys.modules[obey.__module__].Settings

    def put(queue: Queue, orders: str, **settings: Any) -> str:
        session = tmp_path / f"session{next(count)}"
        session.mkdir()
        (session / "v.mp4").write_text(orders)
        return queue.submit(session / "v.mp4", session / "out", settings_class(**settings))

    return put


def until(queue: Queue, ticket: str, *states: str) -> Status:
    """Waits for a state: a minute at most."""
    for _ in range(3000):
        status = queue.status(ticket)
        if status.state in states:
            return status
        time.sleep(0.02)
    raise AssertionError(f"still {status.state}")


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_each_gets_its_own_and_the_third_waits_its_turn(
    start: Callable[..., Queue], submit: Submit
) -> None:
    queue = start(workers=2, model=Path("m.safetensors"))
    held = [submit(queue, f"wait 60\n{name}") for name in ("a", "b")]
    for ticket in held:
        assert until(queue, ticket, "running").error == ""
    third, fourth = submit(queue, "c", face=1), submit(queue, "d")
    assert [queue.status(t).ahead for t in (third, fourth)] == [0, 1]
    assert queue.status(third).state == "waiting"
    assert len(queue.busy()) == 4
    queue.cancel(held[0])
    done = [until(queue, t, *FINAL) for t in (third, fourth)]
    assert [(d.state, d.report["text"]) for d in done if d.report] == [("done", "c"), ("done", "d")]
    assert done[0].report is not None
    assert done[0].report["face"] == 1
    assert done[0].report["model"] == str(Path("m.safetensors").resolve())
    assert (done[0].out / "report.json").read_text() == "report.json of c"
    assert until(queue, held[1], "running").out.name == "out"
    assert queue.busy() == [queue.status(held[1]).out]


def test_a_process_is_used_again(start: Callable[..., Queue], submit: Submit) -> None:
    queue = start()
    reports = [until(queue, submit(queue, str(i)), "done").report for i in range(3)]
    assert len({report["process"] for report in reports if report}) == 1


@pytest.mark.parametrize(
    ("orders", "says", "blame"),
    [
        ("half\nrefuse no face", "v.mp4: no face", "video"),
        ("half\nbreak secret /path", "the server's log says why", "server"),
        ("half\nfull", "disk of the server is full", "server"),
        ("half\ndie", "the analysis broke off", "video"),
        ("half\nwait 60", "stopped: it took longer than", "time"),
    ],
)
def test_whatever_goes_wrong_is_said_and_the_next_goes_on(
    orders: str, says: str, blame: str, start: Callable[..., Queue], submit: Submit
) -> None:
    queue = start(timeout=1.5 if blame == "time" else 60)
    ticket = submit(queue, orders)
    status = until(queue, ticket, *FINAL)
    assert status.state == "failed"
    assert says in status.error
    assert "secret" not in status.error
    assert status.blame == blame
    assert not status.out.exists()
    if blame != "time":  # starting a process may take longer than it was given
        assert until(queue, submit(queue, "fine"), *FINAL).state == "done"


def test_what_is_cancelled_stops_at_once(start: Callable[..., Queue], submit: Submit) -> None:
    queue = start()
    running, waiting = submit(queue, "half\nwait 60"), submit(queue, "never")
    (process,) = [w.pid for w in _processes(queue)]
    while not queue.status(running).out.exists():
        time.sleep(0.02)
    queue.cancel(waiting)
    assert queue.status(waiting).state == "cancelled"
    queue.cancel(running)
    status = queue.status(running)
    assert (status.state, status.error, status.blame) == ("cancelled", "cancelled", "")
    assert not status.out.exists()
    assert not alive(process)
    queue.cancel(running)
    assert until(queue, submit(queue, "next"), *FINAL).state == "done"


def test_a_full_queue_says_so(start: Callable[..., Queue], submit: Submit) -> None:
    queue = start(waiting=1)
    until(queue, submit(queue, "wait 60"), "running")
    assert queue.room() == 1
    submit(queue, "a")
    assert queue.room() == 0
    with pytest.raises(UserError, match="1 videos wait already; try again later"):
        submit(queue, "b")


def test_tickets_cannot_be_guessed_and_are_forgotten(
    start: Callable[..., Queue], submit: Submit
) -> None:
    queue = start()
    tickets = [submit(queue, "a") for _ in range(3)]
    assert len(set(tickets)) == 3
    assert min(map(len, tickets)) >= 32
    for ticket in tickets:
        until(queue, ticket, "done")
    queue.forget(time.monotonic() - 3600)
    assert queue.status(tickets[0]).state == "done"
    queue.forget(time.monotonic())
    for ask in (queue.status, queue.cancel):
        with pytest.raises(UserError, match="no such ticket"):
            ask(tickets[0])


def test_a_session_that_ends_takes_its_own_with_it(
    start: Callable[..., Queue], submit: Submit
) -> None:
    queue = start()
    mine, other = submit(queue, "wait 60"), submit(queue, "b")
    until(queue, mine, "running")
    queue.drop(queue.status(mine).out.parent)
    with pytest.raises(UserError, match="no such ticket"):
        queue.status(mine)
    assert until(queue, other, *FINAL).state == "done"


def test_steps_are_told_and_the_time_left_is_guessed(
    start: Callable[..., Queue], submit: Submit
) -> None:
    queue = start()
    ticket = submit(queue, "one\nwait 0.3\nwait 60")
    assert queue.status(ticket).seconds_left is None
    while queue.status(ticket).done < 2:
        time.sleep(0.02)
    status = queue.status(ticket)
    assert (status.step, status.of) == ("wait 60", 6)
    assert status.seconds_left is not None
    assert 0 < status.seconds_left < 30
    assert len(SHARES) == len(STEPS)
    assert sum(SHARES) == pytest.approx(1)


def test_closing_ends_every_process(start: Callable[..., Queue], submit: Submit) -> None:
    queue = start(workers=2)
    tickets = [submit(queue, "wait 60") for _ in range(3)]
    until(queue, tickets[1], "running")
    processes = [process.pid for process in _processes(queue)]
    queue.close()
    assert {queue.status(ticket).state for ticket in tickets} == {"cancelled"}
    assert not any(alive(process) for process in processes)
    with pytest.raises(UserError, match="being stopped"):
        submit(queue, "late")


def test_an_idle_process_that_died_is_replaced(start: Callable[..., Queue], submit: Submit) -> None:
    queue = start()
    report = until(queue, submit(queue, "a"), "done").report
    assert report is not None
    os.kill(report["process"], 9)
    while report["process"] in [process.pid for process in multiprocessing.active_children()]:
        time.sleep(0.02)
    assert until(queue, submit(queue, "b"), *FINAL).state == "done"


def test_no_workers_is_an_error() -> None:
    with pytest.raises(UserError, match="--workers must be at least 1, got 0"):
        Queue(0, Limits(), None)


def _processes(queue: Queue) -> list[Any]:
    """The processes of a queue that are there; waits for as many as it has desks."""
    while len(multiprocessing.active_children()) < len(queue._desks):
        time.sleep(0.02)
    return multiprocessing.active_children()
