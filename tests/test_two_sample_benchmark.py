"""`benchmarks/two_sample.py`: blind where nothing differs, not where something does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from microexpr.datasets.synthetic import Synthetic

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "two_sample"


@pytest.fixture(scope="module")
def bench(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("two_sample.py")


@pytest.mark.parametrize("encoding", ["flow442", "relative"])
def test_it_tells_apart_what_differs_only(bench: ModuleType, encoding: str) -> None:
    wants = bench.ENCODINGS[encoding]

    def seen(seed: int, realism: str = "smooth") -> tuple[list[str], np.ndarray, list[str]]:
        made = Synthetic(None, 20, 6, seed=seed, prior="megc3", realism=realism)
        names, x = bench.table(made.read_many(made.clips(), wants), wants)
        return names, x, [clip.person for clip in made.clips()]

    names, here, who = seen(0)
    others = {"same": seen(1), "rough": seen(1, "rough")}
    found = {
        key: bench.compared({"a": here}, x, names, {"a": who, "": them})
        for key, (_, x, them) in others.items()
    }
    same, rough = (found[key]["sets"]["all"]["logistic"] for key in ("same", "rough"))
    assert same["low"] < 0.6
    assert rough["auc"] > 0.9 > same["auc"]
    assert rough["low"] <= rough["auc"] <= rough["high"]
    assert np.median(list(found["same"]["inside"].values())) > 0.93
    assert set(found["rough"]["giveaways"]) <= set(names) == set(found["rough"]["inside"])


def test_statistics_of_planes_that_are_known(bench: ModuleType) -> None:
    y, x = np.mgrid[:28, :28]
    waves = np.stack([np.sin(2 * np.pi * x / 28), np.sin(2 * np.pi * 4 * y / 28)])
    planes = np.repeat(waves[:, None].astype(np.float32), 2, axis=1)
    found = bench.statistics(planes, ("u", "v"))
    assert found["u deviation"] == pytest.approx([0.5**0.5] * 2, abs=1e-5)
    assert found["u gradient direction"][0] > 5 > -5 > found["u gradient direction"][1]
    assert found["u power 0.5-1.5"][0] > np.log(0.5)
    assert found["u power 3-6"][1] > np.log(0.8)
    assert found["u/v energy"] == pytest.approx([0, 0])
    assert found["u v correlation"] == pytest.approx([1, 1])
    flat = bench.table(np.zeros((2, 3, 28, 28), np.float32), bench.ENCODINGS["flow442"])[1]
    assert np.isfinite(flat).all()


def test_the_committed_figures_are_of_all_arms(bench: ModuleType) -> None:
    for name in (*bench.ARMS, bench.FILMS):
        told = json.loads((RESULTS / f"{name}.json").read_text())
        assert told["arm"] == name
        assert told["settings"] == bench.ARMS.get(name, {})
        for found in told["encodings"].values():
            assert set(found["sets"]) == {"all", "casme2", "smic", "samm"}
            areas = [by["auc"] for part in found["sets"].values() for by in part.values()]
            assert all(0.4 < area <= 1 for area in areas)
