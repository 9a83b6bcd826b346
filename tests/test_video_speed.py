"""`benchmarks/speed/video.py` measures what its head says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_real_time_and_its_parts(tmp_path: Path) -> None:
    script = str(ROOT / "benchmarks" / "speed" / "video.py")
    command = [sys.executable, script, "--json", "--rounds", "1", "--seconds", "1"]
    text = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    decoder = json.JSONDecoder()
    first, at = decoder.raw_decode(text)
    second, _ = decoder.raw_decode(text[at:].lstrip())
    slow, fast = first["rows"]
    assert (slow["frames a second"], fast["frames a second"]) == ("30", "200")
    parts = {row["part"]: row for row in second["rows"]}
    assert {"decoding", "detection", "landmarks", "alignment", "flow", "spotting"} < set(parts)
    for rate, row in (("30 fps", slow), ("200 fps", fast)):
        spent = sum(part[rate] for part in parts.values()) / 1000
        assert spent == pytest.approx(row["s for a second, one processor"])
        assert spent * row["x real time, one processor"] == pytest.approx(1)
    assert parts["flow"]["200 fps"] > 3 * parts["flow"]["30 fps"]
    assert slow["x real time, one processor"] > 1  # the promise, on half of what it allows
    assert not list(tmp_path.iterdir())
