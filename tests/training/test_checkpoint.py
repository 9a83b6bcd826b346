from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from microexpr.errors import UserError
from microexpr.models import create_model
from microexpr.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

LABELS = ("negative", "positive", "surprise")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = create_model("smallcnn", 3, dropout=0.2).eval()
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, Checkpoint(model, "smallcnn", LABELS))
    return path


def test_what_is_saved_comes_back(saved: Path) -> None:
    torch.manual_seed(0)
    model = create_model("smallcnn", 3, dropout=0.2).eval()
    found = load_checkpoint(saved)
    x = torch.randn(2, 3, 28, 28)
    assert torch.equal(found.model(x), model(x))
    assert found.labels == LABELS
    assert found.model.settings == {"dropout": 0.2}
    assert found.model.eats == model.eats
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]


def test_models_without_gradients_are_saved_too(tmp_path: Path) -> None:
    model = create_model("svm", 3, image=8, C=0.1)
    x, y = torch.randn(12, 3, 8, 8), torch.arange(12) % 3
    model.solve(x, y, torch.arange(12) // 3, 0)  # type: ignore[operator]
    save_checkpoint(tmp_path / "svm.safetensors", Checkpoint(model, "svm", LABELS))
    found = load_checkpoint(tmp_path / "svm.safetensors").model
    assert torch.equal(found(x), model(x))
    assert bool(found(x).any())


def test_damaged_files_are_told(saved: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(UserError, match="damaged or no safetensors"):
        load_checkpoint(cut)
    with pytest.raises(UserError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "none.safetensors")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(1)}, foreign)
    with pytest.raises(UserError, match="is no checkpoint of microexpr"):
        load_checkpoint(foreign)


def test_weights_that_do_not_fit_are_told(tmp_path: Path) -> None:
    model = create_model("smallcnn", 3)
    path = tmp_path / "odd.safetensors"
    save_checkpoint(path, Checkpoint(model, "smallcnn", (*LABELS, "others")))
    with pytest.raises(UserError, match="does not fit the model smallcnn"):
        load_checkpoint(path)
