from __future__ import annotations

import math
from pathlib import Path

import pytest
from rich.console import Console

from microexpr.errors import UserError
from microexpr.speed.figures import (
    Figure,
    Measured,
    by_table,
    margin,
    markdown,
    missed,
    read_measured,
    render,
    write_measured,
)

FAST = Figure("scan", "quick", 33.0, least=30.0, times={"slow": 33.0, "fast": 1.0})
SLOW = Figure("net", "heavy", 1.32, most=1.1)
PLAIN = Figure("net", "size", 12.345, "MiB")
RUN = Measured({"processor": "one"}, {"rounds": 3}, (FAST, SLOW, PLAIN))


def test_margins_are_shares_of_the_target() -> None:
    assert margin(FAST) == pytest.approx(0.1)
    assert margin(SLOW) == pytest.approx(-0.2)
    assert margin(PLAIN) is None


def test_what_is_missed() -> None:
    unknown = Figure("net", "no number", math.nan, most=1.0)
    just = Figure("net", "just", 30.0, least=30.0)
    assert missed([FAST, SLOW, PLAIN, unknown, just]) == [SLOW, unknown]


def test_a_run_is_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "speed" / "run.json"
    write_measured(RUN, path)
    assert read_measured(path) == RUN
    assert '"margin": 0.1' in path.read_text()


@pytest.mark.parametrize("text", ["", "{}", '{"machine": {}, "settings": {}, "figures": [{}]}'])
def test_another_file_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(UserError, match="holds no figures"):
        read_measured(path)
    with pytest.raises(UserError, match="holds no figures"):
        read_measured(tmp_path / "none.json")


def test_tables_for_a_document() -> None:
    assert by_table([SLOW, FAST, PLAIN]) == {"net": [SLOW, PLAIN], "scan": [FAST]}
    text = markdown(RUN)
    assert "| quick | 33.0 | >= 30 | +10% | slow 33 ms, fast 1 ms |" in text
    assert "| heavy | 1.32 | <= 1.1 | -20% MISSED |  |" in text
    assert "| size | 12.3 MiB |  |  |  |" in text
    assert text.endswith("Machine: processor one. Run: rounds 3.\n")


def test_tables_for_the_terminal() -> None:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(render(RUN))
    text = console.export_text()
    assert "1 targets missed" in text
    assert "MISSED" in text
