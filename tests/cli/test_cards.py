"""`card`, and commands that take a model by any of its names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from microexpr.training.pretrained import load_pretrained, save_folder

Command = Callable[..., Any]


def test_the_card_of_the_default_model(microexpr: Command) -> None:
    done = microexpr("card")
    assert done.returncode == 0, done.stderr
    card = load_pretrained().card
    assert card.name in done.stdout
    assert "microexpr.load()" in done.stdout
    assert f"UF1 {card.uf1:.3f}" in done.stdout
    assert json.loads(microexpr("card", "--json").stdout)["uf1"] == card.uf1


def test_the_card_of_a_run_and_its_checkpoint(
    microexpr: Command, toml: Path, tmp_path: Path
) -> None:
    run, weights = tmp_path / "results" / "small", tmp_path / "m.safetensors"
    assert microexpr("run", toml, "--jobs", "1").returncode == 0
    assert microexpr("train", toml, "--out", weights).returncode == 0
    out = tmp_path / "README.md"
    done = microexpr("card", run, "--checkpoint", weights, "--out", out, "--license", "mit")
    assert done.stdout == f"wrote {out}\n"
    assert "17,307 parameters" in out.read_text()
    assert "Protocol `kfold`" in out.read_text()
    assert "microexpr.load('FOLDER')" in microexpr("card", run).stdout
    other = microexpr("card", run, "--checkpoint", tmp_path / "none")
    assert other.returncode == 2
    assert "no checkpoint at" in other.stderr


def test_commands_take_a_folder_for_a_model(microexpr: Command, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    save_folder(folder, load_pretrained())
    assert microexpr("card", "--checkpoint", folder).returncode == 0
    done = microexpr("export", folder, "--out", tmp_path / "m.pth")
    assert "ends in .onnx" in done.stderr
    (folder / "model.safetensors").rename(folder / "model.pt")
    for words in (
        ("export", folder, "--out", tmp_path / "m.onnx"),
        ("card", "--checkpoint", folder),
    ):
        told = microexpr(*words)
        assert told.returncode == 2
        assert "unpickling runs whatever code" in told.stderr
        assert told.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["none.safetensors", "a/b/c", "./a/b"])
def test_analyze_names_a_model_that_is_not_there(
    microexpr: Command, tmp_path: Path, name: str
) -> None:
    done = microexpr("analyze", tmp_path, "--out", tmp_path / "out", "--model", name)
    assert done.returncode == 2
    assert "no checkpoint at" in done.stderr
