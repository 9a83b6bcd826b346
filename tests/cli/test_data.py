"""`film`, then `prepare`: from nothing to flow that experiments read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from microexpr.inputs import Input
from microexpr.preprocess.store import Store

RELATIVE = Input(("u", "v", "m"), 28, "tvl1", "relative")


def test_films_are_made_and_prepared(tmp_path: Path, microexpr: Callable[..., Any]) -> None:
    films, store = tmp_path / "films", tmp_path / "store"
    words = ("film", films, "--persons", "2", "--clips", "1", "--mixes", "counted")
    done = microexpr(*words, "--jobs", "1", "--json")
    assert json.loads(done.stdout) == {"made": 2, "kept": 0, "archive": str(films)}
    done = microexpr(*words, "--jobs", "1")
    assert "0 films made, 2 were there" in done.stdout
    assert f"microexpr prepare films {films} --out STORE" in done.stdout
    done = microexpr("prepare", "films", films, "--out", store, "--jobs", "1", "--sheet", "0")
    assert "2 clips prepared" in done.stdout
    opened = Store(store)
    planes = opened.read_many(opened.clips("films"), RELATIVE)
    assert planes.shape == (2, 3, 28, 28)
    assert abs(planes).max() > 0.5
    done = microexpr("film", films, "--seed", "7", "--jobs", "1")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith(f"error: {films} holds films with")
