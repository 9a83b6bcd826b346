"""`app`: what is wrong is said before anything is started."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from microexpr.app.serving import server
from microexpr.app.serving.gate import Login
from microexpr.app.serving.server import Plan
from microexpr.app.serving.uploads import Limits


def test_the_options_make_the_plan(
    tmp_path: Path, microexpr: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[Plan] = []
    monkeypatch.setattr(server, "serve", lambda plan, tell: plans.append(plan))
    (tmp_path / "password").write_text("secret\n")
    assert microexpr("app").returncode == 0
    words = ["--port", "0", "--auth", f"anna:{tmp_path / 'password'}", "--workers", "3"]
    words += ["--megabytes", "5", "--minutes", "0.5", "--runs", str(tmp_path)]
    assert microexpr("app", *words).returncode == 0
    limits = Limits(megabytes=5, seconds=30)
    assert plans == [Plan(), Plan(0, 3, limits, Login("anna", "secret"), None, tmp_path)]


def test_errors_are_one_line_and_code_2(
    tmp_path: Path, microexpr: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "stay_offline", lambda: None)  # this process goes on afterwards
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for words, says in (
            (("--auth", "anna"), "USER:PASSWORD-FILE"),
            (("--auth", f"anna:{tmp_path / 'none'}"), "No such file"),
            (("--minutes", "0"), "must be more than 0"),
            (("--runs", tmp_path / "none"), "there is no folder"),
            (("--model", tmp_path / "none"), "none"),
            (("--port", taken.getsockname()[1]), "another --port"),
        ):
            done = microexpr("app", *words)
            assert done.returncode == 2
            (line,) = done.stderr.strip().splitlines()
            assert line.startswith("error: ")
            assert says in line


def test_there_is_no_way_out_of_this_computer() -> None:
    from microexpr.cli.app import app

    assert not {"host", "share", "server_name"} & set(inspect.signature(app).parameters)
    assert server.HOST == "127.0.0.1"
