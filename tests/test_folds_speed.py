"""`benchmarks/speed/folds.py` measures what its head says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_a_step_alone_and_packed() -> None:
    script = str(ROOT / "benchmarks" / "speed" / "folds.py")
    words = ["--json", "--rounds", "1", "--packs", "2", "3", "--models", "offapexnet", "ststnet"]
    command = [sys.executable, script, *words]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = json.loads(text)["rows"]
    assert [(row["net"], row["batch"], row["folds"]) for row in rows] == [
        ("offapexnet", 32, 2),
        ("offapexnet", 32, 3),
        ("ststnet", 256, 2),
        ("ststnet", 256, 3),
    ]
    for row in rows:
        assert row["gain"] == pytest.approx(row["alone"] / row["packed"])
        assert row["at most"] >= 1
        assert row["given back"] > 0
