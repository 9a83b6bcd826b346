"""The commands as a user types them, in this process; and a small experiment."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from microexpr import cli

SMALL = Path(__file__).parents[1] / "small.toml"


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Ended]


@pytest.fixture
def microexpr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command in this process: a new one would spend its time on importing torch."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(*words: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["microexpr", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    """An experiment of seconds, in a file."""
    path = tmp_path / "small.toml"
    path.write_text(SMALL.read_text())
    return path
