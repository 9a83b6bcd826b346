"""`benchmarks/generators.py`: who counts as elsewhere, the table, a training, going on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def bench(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("generators.py")


def test_elsewhere_is_another_look(bench: ModuleType) -> None:
    scores = {kind: float(i) for i, kind in enumerate(bench.KINDS)}
    away = bench.elsewhere("smooth, both", scores)
    assert away == [s for k, s in scores.items() if k not in ("smooth, textbook", "smooth, both")]
    assert len(away) == len(bench.KINDS) - 2


def test_the_table_has_a_row_for_each_trained_kind(bench: ModuleType) -> None:
    first, second = list(bench.KINDS)[:2]
    scores = dict.fromkeys(bench.KINDS, 0.5) | {list(bench.KINDS)[-1]: 0.25}
    lines = bench.table({second: scores}).splitlines()
    assert len(lines) == 3
    assert lines[2].startswith(f"| {second} |")
    assert lines[2].endswith("| 0.469 | 0.250 |")  # (7 x 0.5 + 0.25) / 8
    assert first not in lines[2]


def test_a_training_and_what_is_done_stays_done(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = "smooth, textbook", "rough, both"
    monkeypatch.setattr(bench, "KINDS", {kind: bench.KINDS[kind] for kind in (one, other)})
    out = tmp_path / "generators.json"
    known = dict.fromkeys((one, other), 0.5)
    out.write_text(json.dumps({one: known}), encoding="utf-8")
    asked = ["generators.py", "--jobs", "1", "--persons", "8", "--epochs", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", asked)
    bench.main()
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found[one] == known
    assert set(found[other]) == {one, other}
    assert all(0 <= score <= 1 for score in found[other].values())
