"""`benchmarks/spotting.py`: films as hard as promised, scores, resuming, the committed figures."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "spotting"


@pytest.fixture(scope="module")
def bench(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("spotting.py")


@pytest.mark.parametrize("which", ["first", "second"])
def test_the_films_are_as_promised(bench: ModuleType, which: str) -> None:
    made = bench.plans(bench.SEEDS[which])
    kinds = [(plan.fps, plan.events) for plan in made]
    assert kinds.count((200.0, 3)) == kinds.count((30.0, 3)) == 10
    assert len([events for _, events in kinds if events == 0]) == 5
    for plan in made:
        script = bench.script(plan)
        assert 10 <= script.seconds <= 20
        assert len(script.blinks) * 60 / script.seconds >= 12
        assert all(0.5 <= event.peak <= 2 for event in script.events)
        assert script.drift >= 2
        assert script.noise >= 2
        assert script.crf == 23


def test_no_film_is_in_both_sets(bench: ModuleType) -> None:
    first, second = ({p.seed for p in bench.plans(seed)} for seed in bench.SEEDS.values())
    assert len(first | second) == 50


def test_peaks_of_a_curve_and_their_intervals(bench: ModuleType) -> None:
    curve = np.array([1, 1, 1, 2, 4, 3, 2, 1, 1, 1, 1, 9, 1, 1, 1], np.float32)
    found = [row for row in bench.curve_peaks(curve, 2, 4) if row["height"] > 1]
    assert found == [
        {"onset": 16, "apex": 16, "offset": 20, "height": 4.0},
        {"onset": 44, "apex": 44, "offset": 44, "height": 9.0},
    ]


def test_plain_flow_follows_what_moves(bench: ModuleType) -> None:
    random = np.random.default_rng(0)
    picture = np.kron(random.integers(0, 255, (40, 40)), np.ones((4, 4))).astype(np.uint8)
    where = [0, 0, 0, 0, 2, 0, 0, 0, 0]
    faces = [picture[: bench.SIZE, at : at + bench.SIZE] for at in where]
    speeds = bench._speeds(faces, 2)
    assert speeds.argmax() == 4
    two_pixels = 100 * 2 / (bench.SIZE / (bench.FACE.right - bench.FACE.left))
    assert speeds[4] == pytest.approx(two_pixels, rel=0.15)


def row(seed: int, fps: float, true: list[Any], spotted: list[Any], plain: list[Any]) -> Any:
    def told(spans: list[Any]) -> list[dict[str, Any]]:
        return [dict(zip(("onset", "apex", "offset", "height"), s, strict=False)) for s in spans]

    plan = {"seed": seed, "fps": fps, "seconds": 10.0}
    cpu = {"making": 1.0, "looking": 5.0}
    told_all = {"truth": told(true), "spotted": told(spotted), "plain": told(plain)}
    return {"plan": plan, **told_all, "cpu": cpu}


def test_figures_of_hand_made_films(bench: ModuleType) -> None:
    rows = [
        row(1, 200.0, [(10, 20, 30), (50, 60, 70)], [(12, 24, 30)], [(10, 20, 30, 0.9)]),
        row(2, 30.0, [(5, 7, 9)], [(5, 8, 9), (20, 22, 24)], [(50, 51, 52, 0.5)]),
        row(3, 100.0, [], [(1, 2, 3)], [(1, 2, 3, 0.8)]),
    ]
    figures = bench.summary(rows)
    assert figures["all"] == {
        "true": 3,
        "spotted": 4,
        "matched": 2,
        "precision": 0.5,
        "recall": 0.667,
        "f1": 0.571,
    }
    assert figures["fps"]["200"]["apex_error_ms"] == 20.0
    assert figures["fps"]["200"]["apex_error_frames"] == 4.0
    assert figures["fps"]["200"]["apex_late_ms"] == 20.0
    assert figures["fps"]["30"]["apex_error_ms"] == 33.3
    assert figures["fps"]["30"]["cpu_seconds_per_second"] == 0.5
    assert figures["without_events"] == [{"fps": 100.0, "false_alarms": 1}]
    assert figures["plain"]["f1"] == 0.5  # only the highest peak: one of three, and none wrong
    assert figures["plain"]["spotted"] == 1
    page = bench.markdown(figures)
    assert "| 200 fps, films with events | 2 | 1 | 1 | 1.000 | 0.500 | 0.667 | 20.0 ms" in page


def test_a_run_goes_on_where_it_was_stopped(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "films"))
    (tmp_path / "films").mkdir()
    plan = bench.Plan(seed=7, fps=25.0, seconds=0.6, events=0, blinks=1.0, drift=2.0, noise=2.0)
    (first,) = bench.gather([plan], tmp_path / "kept.jsonl", 1)
    assert list((tmp_path / "films").iterdir()) == []  # the film is gone
    assert first["plan"] == asdict(plan)
    assert first["truth"] == []
    monkeypatch.setattr(bench, "measure", None)
    assert bench.gather([plan], tmp_path / "kept.jsonl", 1) == [first]


def committed(which: str) -> Any:
    return json.loads((RESULTS / f"{which}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("which", "name"), [("first", "figures"), ("second", "second")])
def test_the_committed_figures_are_those_of_their_films(
    bench: ModuleType, which: str, name: str
) -> None:
    told = committed(name)
    rows = told.pop("by_film")
    wanted = bench.plans(bench.SEEDS[which], told["seconds"][0])
    assert sorted(row["plan"]["seed"] for row in rows) == sorted(plan.seed for plan in wanted)
    assert all(row["plan"] in [asdict(plan) for plan in wanted] for row in rows)
    assert bench.summary(rows) == told
    assert (RESULTS / f"{name}.md").read_text(encoding="utf-8") == bench.markdown(told)


@pytest.mark.parametrize("name", ["figures", "second"])
def test_the_promise_is_kept_on_hard_films(name: str) -> None:
    told = committed(name)
    assert told["plain"]["f1"] < 0.5
    assert told["all"]["f1"] >= 0.8
    assert told["fps"]["200"]["f1"] >= 0.8
    assert told["fps"]["200"]["apex_error_ms"] <= 20
    assert [film["false_alarms"] for film in told["without_events"]] == [0] * 5


@pytest.mark.parametrize("name", ["figures", "second"])
def test_the_documented_figures_are_the_committed_ones(name: str) -> None:
    told = committed(name)
    page = (ROOT / "docs" / "video.md").read_text(encoding="utf-8")
    for row in (told["all"], told["plain"], *told["fps"].values()):
        counts = [str(row[key]) for key in ("true", "spotted", "matched")]
        rates = [f"{row[key]:.3f}".removeprefix("0") for key in ("precision", "recall", "f1")]
        assert f"| {' | '.join(counts + rates)} |" in page
    for row in told["fps"].values():
        error = f"{row['apex_error_ms']} ms ({row['apex_error_frames']:.1f} frames)"
        assert f"| {error} | {row['apex_late_ms']:+} ms |" in page
