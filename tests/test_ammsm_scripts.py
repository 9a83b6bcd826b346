"""The scripts about AMMSM do what their heads say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(script: str, *arguments: str, folder: Path) -> str:
    command = [sys.executable, str(ROOT / script), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def tables(text: str) -> list[dict[str, Any]]:
    """Several JSON values, one after the other."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text.rstrip()):
        value, end = decoder.raw_decode(text, at)
        found.append(value)
        at = end + len(text[end:]) - len(text[end:].lstrip())
    return found


@pytest.mark.slow
def test_the_speed_script_measures_all_it_promises(tmp_path: Path) -> None:
    small = ("--size", "nano", "--image", "32", "--batch", "2", "--rounds", "1", "--json")
    latency, parts, ratio, masking = (
        table["rows"] for table in tables(run("benchmarks/speed/ammsm.py", *small, folder=tmp_path))
    )
    assert [row["net"] for row in latency] == ["trunk", "whole"]
    assert [round(row["paper"], 3) for row in latency] == [0.554, 0.724]
    assert all(row["share"] == row["mamba ms"] / row["transformer ms"] for row in latency)
    shares = {row["part"]: row["of the whole net"] for row in parts}
    assert 0 < shares["magnifier's floor"] < shares["floor"] < 1
    assert [float(row["ratio"]) for row in ratio] == [i / 10 for i in range(9)]
    assert ratio[0]["blocks"] == ratio[0]["whole net"] == 1
    assert all(row["distance"] > 0 for row in masking)


@pytest.mark.slow
def test_the_example_draws_figure_one(tmp_path: Path) -> None:
    small = ("--size", "28", "--persons", "3", "--epochs", "1", "--out", "figure.png")
    assert "wrote figure.png" in run("examples/magnify.py", *small, folder=tmp_path)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
