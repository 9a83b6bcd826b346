"""What all commands share: start, exit codes, one-line errors."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from microexpr import cli
from microexpr.errors import UserError


def test_help_is_quick() -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "microexpr", "--help"], check=True, stdout=subprocess.DEVNULL
        )
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1.0  # 0.15 s on a quiet machine; the bound is loose for a busy one


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("run", "TOML", "--jobs", "0"), "--jobs must be at least 1, got 0"),
        (("run", "none.toml"), "cannot read the experiment none.toml"),
        (("report", "nowhere"), "no predictions at nowhere"),
        (("compare", "nowhere", "elsewhere"), "no predictions at"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    microexpr: Callable[..., Any], toml: Path, words: tuple[str, ...], says: str
) -> None:
    done = microexpr(*(toml if word == "TOML" else word for word in words))
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROEXPR_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["microexpr", "run", str(toml), "--jobs", "0"])
    with pytest.raises(UserError):
        cli.main()
