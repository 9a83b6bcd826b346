"""From frames to a table, as a user types it: data sets as their owners ship them, prepared,
trained on, tested."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from microexpr import cli
from microexpr.evaluation.predictions import read_predictions
from microexpr.film import Blink, Movement, Script, drawn_portrait, film
from microexpr.preprocess.store import Store

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SMALL = {
    'size = "base"': 'size = "nano"\nwidths = [8, 16, 16]\ndepths = [1, 1, 1]',
    "epochs = 70": "epochs = 2",
    "warmup = 5": "warmup = 0",
    "cooldown = 10": "cooldown = 0",
}


PICTURES = ("--input", "channels=u,v,onset_r,onset_g,onset_b")
LAX = ("--set", "complete=false", "--sheet", "0", "--jobs", "1")
Command = Callable[..., str]


@pytest.fixture
def microexpr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """A command in this process, which must end well; gives what it printed."""

    def run(*words: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", ["microexpr", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        assert not ended.value.code, captured.err
        return captured.out

    return run


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
    microexpr: Command, trees: ModuleType, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    for name, clips in (("casme2", 12), ("smic", 9), ("samm", 12)):
        root = getattr(trees, name)(tmp_path / name, trees.face)
        said = microexpr("prepare", name, root, "--out", store, *LAX)
        assert f"{clips} clips prepared, 0 were there, 0 failed" in said
    assert set(Store(store).sets) == {"casme2", "smic", "samm"}
    toml, out = lax("merba_3db.toml", tmp_path, **SMALL), tmp_path / "out"
    said = microexpr("run", toml, "--data", store, "--out", out, "--jobs", "1")
    assert "27 clips" in said
    rows = read_predictions(out / "predictions.csv")
    assert len(set(rows.person)) == len(set(rows.fold)) == 9
    assert len(set(rows.clip)) == 27
    assert set(rows.selection) == {"last", "inner"}
    assert rows.labels == ("negative", "positive", "surprise")


@pytest.mark.slow
def test_ammsm_with_both_streams_goes_through_its_three_phases(
    microexpr: Command, trees: ModuleType, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    root = trees.casme2(tmp_path / "casme2", trees.face)
    microexpr("prepare", "casme2", root, "--out", store, *PICTURES, *LAX)
    small = {
        'size = "base"': 'size = "nano"\nimage = 56\nstem_stride = 2\nspatial = true',
        "epochs = 70": "epochs = 3",
        "epochs = 10\npopulation = 50": "epochs = 2\npopulation = 3",
        "epochs = 30": "epochs = 2",
        "hold_out = 0.2": "hold_out = 0.4",
    }
    toml, out = lax("ammsm_casme2_3.toml", tmp_path, **small), tmp_path / "out"
    microexpr("run", toml, "--data", store, "--out", out, "--jobs", "1")
    rows = read_predictions(out / "predictions.csv")
    assert len(set(rows.person)) == len(set(rows.fold)) == 3
    chosen = (out / "search.csv").read_text().splitlines()
    assert len(chosen) == 1 + 3
    assert chosen[0].endswith("ratio_4_1,ratio_4_2,alpha")


THREE = "negative 9, positive 9, surprise 9"
SEVEN = "anger 6, contempt 6, disgust 6, fear 6, happiness 6, sadness 6, surprise 6"
ONE = ("negative 3, positive 3, surprise 3", "loso: 3 folds, 3 trainings")
SEARCHED = (
    "adapt on train: 70 epochs, 70 steps",
    "search on train: search, 10 generations of 50, 500 batches",
    "finetune on train: 30 epochs, 30 steps",
)
PLANS = {  # classes, folds, steps of each published row on the miniature trees
    "merba_3db": (THREE, "loso: 9 folds, 18 trainings", "train on train: 70 epochs, 70 steps"),
    "mambavision_3db": (THREE, "loso: 9 folds, 18 trainings", "70 epochs, 70 steps"),
    "merba_dfme": (SEVEN, "fixed: 2 folds, 4 trainings", "200 epochs, 200 steps"),
    "merba_base_dfme": (SEVEN, "fixed: 2 folds, 4 trainings", "200 epochs, 200 steps"),
    "mambavision_dfme": (SEVEN, "fixed: 2 folds, 4 trainings", "200 epochs, 200 steps"),
    "htnet_dfme": (SEVEN, "fixed: 2 folds, 4 trainings", "800 epochs, 800 steps"),
    "ammsm_casme2_3": (*ONE, *SEARCHED),
    "ammsm_casme2_5": ("repression 0, others 3", "loso: 3 folds, 3 trainings", *SEARCHED),
    "ammsm_samm_3": (*ONE, *SEARCHED),
}


@pytest.mark.slow
def test_a_dry_run_of_every_published_row(
    microexpr: Command, trees: ModuleType, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    for name in ("casme2", "smic", "samm", "dfme"):
        root = getattr(trees, name)(tmp_path / name, trees.face)
        microexpr("prepare", name, root, "--out", store, *PICTURES, *LAX)
    for name, words in PLANS.items():
        said = microexpr("run", lax(f"{name}.toml", tmp_path), "--data", store, "--dry-run")
        assert not [word for word in words if word not in said], said
        assert re.search(r"about \d+\.\d\d core-hours at most", said), said
    assert not (tmp_path / "results").exists()


RUN = "from microexpr.cli import main; main()"


def files(store: Path) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_killed_ten_times_or_made_by_two_the_store_ends_the_same(
    trees: ModuleType, tmp_path: Path
) -> None:
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
    whole = files(tmp_path / "whole")
    both = [start(tmp_path / "both") for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert files(tmp_path / "both") == whole
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
    assert files(store) == whole


BLINKS = (Blink(1.4, 1.48, 1.65), Blink(2.8, 2.88, 3.05))
ACTS = {  # class of the default model: emotion, action units, apex in seconds
    "positive": ("happiness", ("6", "12"), 0.8),
    "surprise": ("surprise", ("1", "2", "5"), 2.2),
    "negative": ("anger", ("4", "7"), 3.6),
}


@pytest.mark.slow
@pytest.mark.parametrize("person", [0, 1])
def test_a_smile_a_surprise_and_a_frown_are_named(
    microexpr: Command, tmp_path: Path, person: int
) -> None:
    events = tuple(
        Movement(emotion, units, apex - 0.2, apex, apex + 0.2, peak=2.0)
        for emotion, units, apex in ACTS.values()
    )
    path = tmp_path / "acts.mp4"
    script = Script(200.0, 4.3, events, BLINKS, drift=2.0, seed=person)
    film(drawn_portrait(person), script, path)
    report = json.loads(microexpr("analyze", path, "--out", tmp_path / "out", "--json"))
    found = report["events"]
    assert [event["emotion"] for event in found] == list(ACTS)
    for event, (_, _, apex) in zip(found, ACTS.values(), strict=True):
        assert event["kind"] == "micro"
        assert abs(event["apex"]["time"] - apex) < 0.05
    assert "an emotion for 3" in report["summary"]


@pytest.mark.slow
@pytest.mark.parametrize("person", [100, 101])
def test_blinks_and_a_moving_head_are_no_emotion(
    microexpr: Command, tmp_path: Path, person: int
) -> None:
    path = tmp_path / "none.mp4"
    script = Script(200.0, 4.3, (), (Blink(0.3, 0.38, 0.55), *BLINKS), drift=3.0, seed=person)
    film(drawn_portrait(person), script, path)
    report = json.loads(microexpr("analyze", path, "--out", tmp_path / "out", "--json"))
    assert [event["emotion"] for event in report["events"]] == [None] * len(report["events"])
    assert report["face"]["seen"]
    assert len(report["blinks"]) >= 2
