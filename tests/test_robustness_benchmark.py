"""`benchmarks/robustness.py`: what is disturbed, resuming, curves; one film in earnest."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from microexpr.clip import Clip

ROOT = Path(__file__).resolve().parents[1]
LABELS = ("negative", "positive", "surprise")


@pytest.fixture(scope="module")
def bench(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("robustness.py")


def row(bench: ModuleType, seed: int) -> dict[str, Any]:
    """Right where undisturbed, wrong in the slowest film, unseen in the worst compressed one."""
    label = LABELS[seed % 3]
    wrong = LABELS[(seed + 1) % 3]
    said: dict[str, list[str | None]] = {f"{w} {p}": [label, wrong] for w, p in bench.cases()}
    said["fps 25"] = [wrong, wrong]
    said["crf 43"] = [None, wrong]
    return {"seed": seed, "models": ["good 1", "bad 2"], "label": label, "said": said}


def test_films_are_of_the_three_classes_in_turn(bench: ModuleType) -> None:
    tasks = [bench.Task(seed, ()) for seed in range(6)]
    assert [task.label for task in tasks] == [*LABELS, *LABELS]
    for task in tasks:
        (event,) = bench.script(task).events
        assert bench.SCHEME(Clip("synthetic", "anyone", "clip", event.emotion)) == task.label
    cases = bench.cases()
    assert len(set(cases)) == len(cases) == 1 + 8 + 8 + 5 + 6


def test_frames_are_shifted_but_stay_in_order_and_in_the_film(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(bench, "_said", lambda clip, *_: seen.append((clip.onset, clip.apex)))
    task = bench.Task(0, (Path("a"),))
    plan = bench.script(task)

    def ends(what: str, place: int) -> tuple[int, int]:
        bench._read(task, plan, Path(), what, place)
        return seen.pop()

    (event,) = bench.what_happens(plan).events
    onset, apex = event.onset + 1, event.apex + 1  # numbers of a video's frames begin with 1
    assert ends("base", 0) == (onset, apex)
    assert ends("onset", -4) == (onset - 4, apex)
    assert ends("apex", 8) == (onset, apex + 8)
    assert ends("onset", 1000) == (apex - 1, apex)
    assert ends("onset", -1000) == (1, apex)
    assert ends("apex", -1000) == (onset, onset + 1)
    assert ends("apex", 1000) == (onset, 200)
    slow = ends("fps", 25)
    assert slow == (round(event.onset / 8) + 1, round(event.apex / 8) + 1)
    assert ends("crf", 43) == (onset, apex)


def test_a_run_goes_on_where_it_was(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "m.safetensors"
    model.write_bytes(b"weights")
    calls: Counter[int] = Counter()

    def measured(task: Any) -> dict[str, Any]:
        calls[task.seed] += 1
        if task.seed == 2 and calls[2] == 1:
            raise KeyboardInterrupt
        return {**row(bench, task.seed), "models": bench._names(task.models)}

    monkeypatch.setattr(bench, "measure", measured)
    tasks = [bench.Task(seed, (model,)) for seed in range(4)]
    with pytest.raises(KeyboardInterrupt):
        bench.gather(tasks, tmp_path / "kept.jsonl", 1)
    rows = bench.gather(tasks, tmp_path / "kept.jsonl", 1)
    assert [r["seed"] for r in rows] == [0, 1, 2, 3]
    assert calls == {0: 1, 1: 1, 2: 2, 3: 1}
    model.write_bytes(b"others")  # another checkpoint of the same name
    bench.gather(tasks[:1], tmp_path / "kept.jsonl", 1)
    assert calls[0] == 2


def test_curves_are_scored_written_and_drawn(bench: ModuleType, tmp_path: Path) -> None:
    lines = bench.write([row(bench, seed) for seed in range(9)], tmp_path)
    by = {(line["model"], line["disturbance"], line["place"]): line for line in lines}
    assert len(by) == len(lines) == 2 * (9 + 9 + 6 + 7)
    for what, place in bench.BASE.items():
        assert by["good", what, place]["uf1"] == 1
        assert by["bad", what, place]["uf1"] == 0
    assert by["good", "fps", 25]["uf1"] == 0
    assert by["good", "crf", 43]["lost"] == 9
    assert by["good", "crf", 38]["films"] == 9
    with (tmp_path / "curves.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(lines)
    assert {path.stem for path in tmp_path.glob("*.png")} == set(bench.PLACES)


@pytest.mark.slow
def test_one_film_in_earnest(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"onset": (0, 8), "apex": (0,), "fps": (50, 200), "crf": (23, 43)}
    monkeypatch.setattr(bench, "PLACES", few)
    found = bench.measure(bench.Task(95000, (bench.DEFAULT,)))
    assert list(found["said"]) == ["base 0", "onset 8", "fps 50", "crf 43"]
    assert {guess for said in found["said"].values() for guess in said} <= {*LABELS, None}
    assert found["said"]["base 0"] == ["surprise"]
