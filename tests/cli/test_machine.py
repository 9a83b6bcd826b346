"""`bench`; `doctor` has its tests beside its module's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from microexpr.preprocess.tvl1 import native_available
from microexpr.speed import flow, timing


@pytest.mark.skipif(not native_available(), reason="the library was not built")
def test_bench_prints_writes_and_judges(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, microexpr: Callable[..., Any]
) -> None:
    monkeypatch.setattr(timing, "SHORTEST", 0.0)
    monkeypatch.setattr(flow, "QUICK", ((24, 0.3),))
    file = tmp_path / "speed.json"
    for target, code in ((1e-9, 0), (1e9, 1)):
        monkeypatch.setattr(flow, "FASTER", target)
        done = microexpr("bench", "flow", "--quick", "--rounds", "1", "--json", file)
        assert done.returncode == code, done.stderr
        assert done.stdout.startswith("TV-L1")
        rows = json.loads(file.read_text())["figures"]
        assert [row["least"] for row in rows] == [target, None, None]


def test_bench_names_its_parts(microexpr: Callable[..., Any]) -> None:
    done = microexpr("bench", "flaw")
    assert done.returncode == 2
    assert "did you mean 'flow'" in done.stderr
