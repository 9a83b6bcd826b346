"""From frames to a table: data sets as their owners ship them, prepared, trained on, tested."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from microexpr.datasets import every_setting, open_dataset
from microexpr.evaluation.experiment import read_experiment
from microexpr.evaluation.plan import plan
from microexpr.evaluation.predictions import read_predictions
from microexpr.evaluation.run import run_experiment
from microexpr.inputs import Input
from microexpr.preprocess.pipeline import DEFAULT, prepare
from microexpr.preprocess.store import Store

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
FRAMES = sorted(
    path.name
    for path in BENCHMARKS.glob("*.toml")
    if re.search(r'^dataset = "(casme2|samm|megc2019|dfme)"', path.read_text(), re.MULTILINE)
)
SMALL = {
    'size = "base"': 'size = "nano"\nwidths = [8, 16, 16]\ndepths = [1, 1, 1]',
    "epochs = 70": "epochs = 2",
    "warmup = 5": "warmup = 0",
    "cooldown = 10": "cooldown = 0",
}


def enter(trees: ModuleType, name: str, root: Path, store: Path, wants: Input = DEFAULT) -> None:
    """Makes a miniature tree and prepares it."""
    getattr(trees, name)(root / name, trees.face)
    settings = every_setting(name, {"complete": False})
    clips = open_dataset(name, root / name, **settings).clips()
    done = prepare(name, clips, root / name, store, wants, settings)
    assert not done.failed, done.failed


def lax(toml: str, folder: Path, **changes: str) -> Path:
    """A committed experiment that accepts miniature data sets."""
    text = (BENCHMARKS / toml).read_text()
    text = text.replace("[protocol]", "settings = { complete = false }\n\n[protocol]", 1)
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    path = folder / toml
    path.write_text(text)
    return path


@pytest.mark.slow
def test_three_data_sets_are_prepared_trained_on_and_tested(
    trees: ModuleType, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    for name in ("casme2", "smic", "samm"):
        enter(trees, name, tmp_path, store)
    assert set(Store(store).sets) == {"casme2", "smic", "samm"}
    experiment = read_experiment(lax("merba_3db.toml", tmp_path, **SMALL))[""]
    table = run_experiment(experiment, store, tmp_path / "out", 1, lambda *_: None)
    rows = read_predictions(table)
    assert len(set(rows.person)) == len(set(rows.fold)) == 9
    assert len(set(rows.clip)) == 27
    assert set(rows.selection) == {"last", "inner"}
    assert rows.labels == ("negative", "positive", "surprise")


@pytest.mark.slow
def test_ammsm_with_both_streams_goes_through_its_three_phases(
    trees: ModuleType, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    wants = Input(("u", "v", "onset_r", "onset_g", "onset_b"), 224, "tvl1", "none")
    enter(trees, "casme2", tmp_path, store, wants)
    small = {
        'size = "base"': 'size = "nano"\nimage = 56\nstem_stride = 2\nspatial = true',
        "epochs = 70": "epochs = 3",
        "epochs = 10\npopulation = 50": "epochs = 2\npopulation = 3",
        "epochs = 30": "epochs = 2",
        "hold_out = 0.2": "hold_out = 0.4",
    }
    experiment = read_experiment(lax("ammsm_casme2_3.toml", tmp_path, **small))[""]
    table = run_experiment(experiment, store, tmp_path / "out", 1, lambda *_: None)
    rows = read_predictions(table)
    assert len(set(rows.person)) == len(set(rows.fold)) == 3
    chosen = (tmp_path / "out" / "search.csv").read_text().splitlines()
    assert len(chosen) == 1 + 3
    assert chosen[0].endswith("ratio_4_1,ratio_4_2,alpha")


@pytest.mark.slow
def test_published_rows_can_be_run(trees: ModuleType, tmp_path: Path) -> None:
    assert len(FRAMES) >= 9
    store = tmp_path / "store"
    wants = Input((*DEFAULT.channels, "onset_r", "onset_g", "onset_b"), 224, "tvl1", "none")
    for name in ("casme2", "smic", "samm", "dfme"):
        enter(trees, name, tmp_path, store, wants)
    for toml in FRAMES:
        text = plan(read_experiment(lax(toml, tmp_path))[""], store)
        assert "folds" in text, toml
        assert "core-hours" in text, toml


RUN = "from microexpr.cli import main; main()"


def files(store: Path) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_killed_ten_times_the_store_ends_the_same(trees: ModuleType, tmp_path: Path) -> None:
    root = trees.casme2(tmp_path / "casme2", trees.face, 12)

    def start(store: Path) -> subprocess.Popen[bytes]:
        words = [
            "prepare",
            "casme2",
            root,
            "--out",
            store,
            "--set",
            "complete=false",
            "--jobs",
            "2",
        ]
        command = [sys.executable, "-c", RUN, *map(str, words), "--sheet", "2"]
        return subprocess.Popen(
            command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def clips(store: Path) -> int:
        return sum(1 for _ in store.glob("casme2/*/*.npy"))

    assert start(tmp_path / "whole").wait() == 0
    rng, store, killed = random.Random(0), tmp_path / "killed", 0
    for _ in range(10):
        process, goal = start(store), min(clips(store) + rng.randrange(3), 48)
        while process.poll() is None and clips(store) < goal:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.05))
        if process.poll() is not None:
            continue
        killed += 1
        if rng.random() < 0.5:
            process.kill()  # its workers notice by themselves
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert killed >= 8
    assert start(store).wait() == 0
    time.sleep(3)  # workers whose parent was killed are gone by now
    assert files(store) == files(tmp_path / "whole")
