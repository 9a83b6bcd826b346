"""`benchmarks/failures.py`: what is covered, worn and turned; the figures; one film in earnest."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from microexpr.evaluation.trust import failures_to_markdown
from microexpr.film import drawn_portrait
from microexpr.film.script import head
from microexpr.film.warp import REST, Pose, sampled, stage
from microexpr.training.default import load_default

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def bench(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("failures.py")


def test_what_covers_a_face_covers_its_part(bench: ModuleType) -> None:
    rng = np.random.default_rng(0)
    flow = np.full((5, 2, bench.SIDE, bench.SIDE), 7.0, np.float32)
    x, y = bench.places()
    for change, at in ((bench.glasses_on, (0.5, 0.0)), (bench.beard_on, (0.0, 1.5))):
        found = change(flow, rng)
        inside = np.hypot(x - at[0], y - at[1]) < 0.1
        assert np.abs(found[..., inside]).max() < 1
        assert bool((found[..., np.hypot(x, y - 1.05) < 0.1] == 7).all())  # the lips
        assert bool((found[..., y < -0.3] == 7).all())
    touched = bench.hand_on(flow, rng)
    for one in touched:
        moved = one[:, one[0] != 7]
        assert 0.02 < moved.shape[1] / bench.SIDE**2 < 0.4
        assert bool((moved == moved[:, :1]).all())
    assert bench.as_it_is(flow, rng) is flow


def test_figures_by_hand(bench: ModuleType) -> None:
    sure, unsure = np.array([0.8, 0.1, 0.1]), np.array([0.3, 0.4, 0.3])
    said = [("a", 0, sure), ("b", 1, unsure), ("b", 2, sure), ("c", 2, None)]
    row = bench.figures("films", "x", said, 0.6)
    assert (row["clips"], row["lost"]) == (3, 1)
    assert row["uf1"] == pytest.approx((2 / 3 + 1 + 0) / 3, abs=1e-4)
    assert (row["named"], row["right"]) == (0.6667, 0.5)
    assert bench.figures("films", "x", said, 0.9)["right"] is None
    text = failures_to_markdown([row, bench.figures("films", "y", said[:3], 0.9)])
    assert "| films | x | 3, 1 without a face | .556 [" in text
    assert "| 67 % | 50 % |" in text
    assert "| 0 % | – |" in text


def test_a_face_that_is_not_turned_stays_and_a_turned_one_moves_its_middle(
    bench: ModuleType,
) -> None:
    scene = stage(drawn_portrait(1), bench.script(1))
    seen = sampled(scene, REST, np.zeros(len(scene.fields), np.float32))
    inside = np.abs(scene.x) < 1.2 * scene.script.eyes
    assert np.abs(bench.turned(seen, scene, 0.0) - seen)[inside].max() < 2
    ramp = np.repeat(scene.x[..., None], 3, axis=2)
    shown = bench.turned(ramp, scene, 30.0)[..., 0]
    middle = np.unravel_index(np.abs(scene.x).argmin(), scene.x.shape)
    wanted = -bench.CYLINDER * scene.script.eyes * np.sin(np.radians(30))
    assert shown[middle] == pytest.approx(wanted, abs=1.0)


def test_what_is_worn_follows_the_head(bench: ModuleType) -> None:
    """A place of the head, moved as films move it, is found where it was."""
    scene = stage(drawn_portrait(1), bench.script(1))
    way = head(scene.script, np.array([0.7]))
    pose = Pose(*(float(values[0]) for values in way))
    eyes = scene.script.eyes
    on_x, on_y = bench._on_head(scene, pose)
    point = np.array([0.4, 0.9])
    row, column = np.unravel_index(np.hypot(on_x - point[0], on_y - point[1]).argmin(), on_x.shape)
    cos, sin = np.cos(pose.turn), np.sin(pose.turn)
    moved = pose.zoom * np.array([[cos, -sin], [sin, cos]]) @ point + (pose.x, pose.y)
    found = np.array([scene.x[row, column], scene.y[row, column]]) / eyes
    np.testing.assert_allclose(found, moved, atol=0.02)
    plain = bench.picture(scene, bench.Case(), 1, 0.7).astype(float)
    for worn, covers in (("glasses", 0.005), ("beard", 0.02)):
        other = bench.picture(scene, bench.Case(worn=worn), 1, 0.7)
        assert covers < (np.abs(other - plain).max(axis=2) > 20).mean() < 0.3


def test_fields_and_one_film_in_earnest(bench: ModuleType, tmp_path: Path) -> None:
    found = load_default()
    said = bench.read_fields(found, "as they are", 10)
    right = np.mean([int(row.argmax()) == true for _, true, row in said])
    assert len(said) == 60
    assert right > 0.7
    for case in (bench.FILMS["as they are"], bench.Case(crf=23)):
        person, true, row = bench.read_film(found, case, 97002)
        assert (person, true) == ("film/97002", 97002 % 3)
        assert row is not None
        assert row.sum() == pytest.approx(1, abs=1e-5)


def test_the_table_of_the_command_is_made_from_its_file(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["failures.py", "--films", "0", "--persons", "3", "--out", str(tmp_path)]
    )
    bench.main()
    rows = json.loads((tmp_path / "failures.json").read_text())
    assert [row["case"] for row in rows] == list(bench.FIELDS)
    assert failures_to_markdown(rows).count("| fields |") == len(bench.FIELDS)
