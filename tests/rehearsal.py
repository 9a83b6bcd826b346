"""The folder in which tests run what the documents show: the things that pages name, in small."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from microexpr.film import Movement, Script, drawn_portrait, film
from microexpr.models import create_model
from microexpr.training.checkpoint import Checkpoint, save_checkpoint

ROOT = Path(__file__).resolve().parents[1]
WRAPPER = """#!{python}
import sys
import microexpr.datasets, microexpr.models
for package in (microexpr.datasets, microexpr.models):  # a file of the page is a member
    package.__path__.append("{folder}/src/microexpr/" + package.__name__.split(".")[-1])
if __name__ == "__main__":
    if "{folder}/data/" in " ".join(sys.argv) and sys.argv[1] in ("prepare", "doctor"):
        sys.argv += ["--set", "complete=false"]  # data sets are miniatures here
    from microexpr.cli import main
    main()
"""
SMALL = Path(__file__).parent / "small.toml"


def write_files(files: Mapping[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes the files that a page shows by their names; members of a registry are known."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    for kind in ("datasets", "models"):
        package = importlib.import_module(f"microexpr.{kind}")
        path = [*package.__path__, str(folder / "src" / "microexpr" / kind)]
        monkeypatch.setattr(package, "__path__", path)


@lru_cache
def film_bytes() -> bytes:
    """A film of one second and a half, with one movement."""
    act = Movement("happiness", ("12",), 0.5, 0.7, 0.9, 2.0)
    script = Script(fps=50.0, seconds=1.5, events=(act,))
    with tempfile.TemporaryDirectory() as folder:
        film(drawn_portrait(), script, Path(folder) / "film.mp4")
        return (Path(folder) / "film.mp4").read_bytes()


@lru_cache
def checkpoint_bytes() -> bytes:
    """A checkpoint with random weights."""
    torch.manual_seed(0)
    model = create_model("smallcnn", 3).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_checkpoint(path, Checkpoint(model, "smallcnn", ("negative", "positive", "surprise")))
        return path.read_bytes()


def mine(folder: Path, trees: ModuleType) -> None:
    """The data set of docs/extend.md."""
    head = ["Person", "Clip", "Onset", "Apex", "Offset", "Emotion", "AU"]
    rows = [["p1", "a", 3, 6, 9, "happiness", "6+12"], ["p2", "a", 3, "", 9, "disgust", "9"]]
    trees.write_lines(folder / "labels.csv", [head, *rows])
    for person, clip, *_, emotion, _ in rows:
        names = [f"{number}.png" for number in range(3, 10)]
        trees.write_frames(folder / "frames" / person / clip, names, person, emotion, trees.face)


def furnish(folder: Path, said: str, trees: ModuleType) -> None:
    """Puts the things that a page names where it looks for them."""
    for path in ("VIDEO", "interview.mp4", "videos/one.mp4", "videos/two.mp4"):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(film_bytes())
    for path in ("model.safetensors", "my.safetensors"):
        (folder / path).write_bytes(checkpoint_bytes())
    (folder / "EXPERIMENT.toml").write_text(SMALL.read_text())
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "activate").touch()
    shutil.copytree(ROOT / "benchmarks" / "results" / "svm_flow442", folder / "RUN")
    results = shutil.ignore_patterns("folds", "cache", "speed", "spotting")
    shutil.copytree(ROOT / "benchmarks", folder / "benchmarks", ignore=results)
    for path in (folder / "benchmarks").glob("*.toml"):  # miniatures are not complete
        text = path.read_text()
        if not re.search(r'dataset = "(flow442|synthetic)"', text):
            path.write_text(text.replace("[protocol]", "settings.complete = false\n[protocol]", 1))
    for place in set(re.findall(r"~/data/([A-Z0-9]+)\b", said)):
        getattr(trees, place.lower())(folder / "data" / place, trees.face)
    if "portrait.jpg" in said:
        cv2.imwrite(str(folder / "portrait.jpg"), trees.face("p", "happiness", 0.0))
    if "~/mine" in said:
        mine(folder / "mine", trees)
    command = folder / "bin" / "microexpr"
    command.parent.mkdir()
    command.write_text(WRAPPER.format(python=sys.executable, folder=folder))
    command.chmod(0o755)


def given(page: Path) -> dict[str, Any]:
    """What a reader has at hand where a page begins to talk of it."""
    rng = np.random.default_rng(0)
    onset, apex = (rng.integers(0, 256, (224, 224)).astype(np.uint8) for _ in range(2))
    return {
        "README.md": {"flow": torch.rand(1, 3, 224, 224)},
        "export.md": {"onset": onset, "apex": apex},
        "ammsm.md": {"flow": torch.randn(1, 2, 28, 28), "frame": torch.rand(1, 3, 28, 28)},
    }.get(page.name, {})
