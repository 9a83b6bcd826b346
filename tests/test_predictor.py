from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import microexpr
from microexpr import predictor as module
from microexpr.encoding import encode
from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.models import create_model
from microexpr.predictor import Predictor
from microexpr.training.checkpoint import Checkpoint
from microexpr.training.default import ModelCard
from microexpr.training.pretrained import Pretrained

LABELS = ("negative", "positive", "surprise")


def made(name: str, **settings: Any) -> Predictor:
    torch.manual_seed(0)
    model = create_model(name, 3, **settings).eval()
    return Predictor(Pretrained(Checkpoint(model, name, LABELS), ModelCard("mine")))


def test_import_and_load_are_apart() -> None:
    """`import microexpr` brings no torch; `microexpr.load` needs no more than its name."""
    code = (
        "import sys, microexpr; light = 'torch' not in sys.modules;"
        "found = microexpr.load(); print(light, found.labels, found.eats.size)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "('negative',", "'positive',", "'surprise')", "28"]


def test_it_predicts_what_its_model_predicts(monkeypatch: pytest.MonkeyPatch) -> None:
    found = microexpr.load()
    flow = np.random.default_rng(0).normal(size=(7, 2, 56, 56)).astype(np.float32)
    x = encode(flow, Input(("u", "v"), 56, "tvl1", "none"), found.eats)
    labels, probabilities = found.predict(x)
    indices, exact = found.model.predict(torch.from_numpy(x))
    assert labels == [found.labels[i] for i in indices.tolist()]
    assert np.array_equal(probabilities, exact.numpy())
    monkeypatch.setattr(module, "BATCH", 3)
    for same in (x.astype(np.float64), torch.from_numpy(x), x[..., ::-1][..., ::-1], x.tolist()):
        again, close = found.predict(same)
        assert again == labels
        assert np.allclose(close, exact.numpy(), atol=1e-6)
    nothing = found.predict(x[:0])
    assert nothing[0] == []
    assert nothing[1].shape == (0, 3)


def test_action_units_are_told_where_a_model_has_them() -> None:
    found, x = made("smallcnn", units=["4", "12"]), np.zeros((2, 3, 28, 28))
    assert found.units == ("4", "12")
    assert found.predict_units(x).shape == (2, 2)
    assert found.predict_units(x[:0]).shape == (0, 2)
    assert found.predict(x)[1].shape == (2, 3)
    assert made("smallcnn").predict_units(x).shape == (2, 0)


def test_bad_clips_are_told_in_one_line() -> None:
    found, x = microexpr.load(), np.zeros((2, 3, 28, 28), np.float32)
    wrong: list[tuple[Any, str]] = [
        (x[:, :2], "expected a batch of 3x28x28"),
        (x[0], "expected a batch of 3x28x28"),
        (x[..., :27], "expected a batch of 3x28x28"),
        (np.full_like(x, np.nan), "finite numbers"),
        (np.full_like(x, np.inf), "finite numbers"),
        (x + 3.0, "runs from -1 to 1 in this model's input, got 3 to 3"),
        (x + 1j, "real numbers"),
        (np.array([["a", "b"]]), "array of numbers"),
        ("flow.npy", "array of numbers"),
        (None, "array of numbers"),
    ]
    for clips, told in wrong:
        with pytest.raises(UserError, match=told) as caught:
            found.predict(clips)
        assert "\n" not in str(caught.value)


def test_the_range_of_each_kind_of_plane_is_checked() -> None:
    stretched = made("svm", image=8, channels=["u", "v", "m"])
    stretched.predict(np.full((1, 3, 8, 8), 255))
    with pytest.raises(UserError, match="the flow runs from 0 to 255"):
        stretched.predict(np.full((1, 3, 8, 8), -9.0))
    pixels = made("capsulenet")
    with pytest.raises(UserError, match="a picture runs from 0 to 255"):
        pixels.predict(np.full((1, 3, 224, 224), 999.0))
    free = made("smallcnn", image=8, normalisation="robust")
    free.predict(np.full((1, 3, 8, 8), 40.0))


def test_it_analyses_with_its_own_model(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(module, "analyze", lambda video, **all: given.update(all, video=video))
    found = made("smallcnn")
    found.analyze("film.mp4", fps=100.0)
    assert given["model"].checkpoint.model is found.model
    assert given["model"].card is found.card
    assert (given["video"], given["fps"]) == ("film.mp4", 100.0)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    found, x = made("smallcnn", dropout=0.1), torch.rand(2, 3, 28, 28)
    found.save_pretrained(tmp_path / "mine", license="cc-by-4.0")
    again = Predictor.from_pretrained(tmp_path / "mine")
    assert np.array_equal(again.predict(x)[1], found.predict(x)[1])
    assert again.card == found.card
    readme = (tmp_path / "mine" / "README.md").read_text()
    assert 'license: "cc-by-4.0"' in readme
    assert "microexpr.load('mine')" in readme
    assert "It has not been measured." in readme
    again.save_pretrained(tmp_path / "copy")
    assert (tmp_path / "copy" / "README.md").read_text() == readme
    assert json.loads((tmp_path / "copy" / "config.json").read_text())["license"] == "cc-by-4.0"


def test_a_deployed_copy_reads_and_is_not_saved(tmp_path: Path) -> None:
    found, x = microexpr.load(), torch.rand(2, 3, 28, 28)
    fast = found.deploy()
    assert np.allclose(fast.predict(x)[1], found.predict(x)[1], atol=1e-5)
    with pytest.raises(UserError, match="a deployed model is not saved"):
        fast.save_pretrained(tmp_path / "fast")
    assert not found.model.deployed


def test_it_reads_on_the_device_of_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    found = microexpr.load()
    seen: list[torch.device] = []
    fake = SimpleNamespace(device=torch.device("meta"))
    monkeypatch.setattr(found.model, "parameters", lambda: iter([fake]))

    def predict(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(x.device)
        return torch.zeros(len(x), dtype=torch.int64), torch.zeros(len(x), 3)

    monkeypatch.setattr(found.model, "predict", predict)
    found.predict(torch.zeros(1, 3, 28, 28))
    assert seen == [torch.device("meta")]
