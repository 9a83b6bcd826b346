"""What every member of every registry must keep; a new one is tested the day its file appears."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from microexpr.datasets import dataset_class, dataset_names
from microexpr.errors import UserError
from microexpr.inputs import PICTURES, Input
from microexpr.models import create_model, model_class, model_names
from microexpr.models.base import Classifier, ClosedForm, input_shape
from microexpr.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


@pytest.fixture(params=model_names())
def model(request: pytest.FixtureRequest) -> Classifier:
    torch.manual_seed(0)
    name: str = request.param
    return create_model(name, 3, **model_class(name).smallest)


def batch(model: Classifier, n: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    eats = model.eats
    x = torch.rand(n, *input_shape(eats))
    pictures = eats.normalisation == "minmax8" or set(eats.channels) & set(PICTURES)
    return x * 255 if pictures else x, torch.arange(n) % 3


def test_a_model_says_what_it_is(model: Classifier) -> None:
    assert model.paper
    assert model.standing in ("faithful", "reconstruction", "ours")
    assert (model.standing != "reconstruction") or model.uncertain
    assert "\n" not in model.uncertain
    assert isinstance(type(model).eats, Input)
    json.dumps(model.settings)
    assert type(model).__doc__


def test_a_model_learns(model: Classifier) -> None:
    x, y = batch(model)
    if isinstance(model, ClosedForm):
        model.solve(x, y, torch.arange(len(y)) // 3, 0)
        assert bool(model(x).any())
        return
    for target in (y, torch.eye(3)[y] * 0.5):
        model.zero_grad()
        loss = model.loss(x, target, 0.3)
        assert loss.ndim == 0
        torch.autograd.backward(loss)
        grads = [p.grad for p in model.parameters() if p.requires_grad]
        assert all(g is not None and bool(g.isfinite().all()) for g in grads)
        assert any(bool(g.any()) for g in grads if g is not None)


def test_a_model_predicts_probabilities(model: Classifier) -> None:
    x, _ = batch(model)
    labels, probabilities = model.eval().predict(x)
    assert labels.shape == (6,)
    assert labels.dtype == torch.int64
    assert probabilities.shape == (6, 3)
    assert torch.allclose(probabilities.sum(1), torch.ones(6), atol=1e-5)
    alone = torch.cat([model.predict(row[None])[1] for row in x])
    assert torch.allclose(alone, probabilities, atol=1e-4)


def test_a_model_is_saved_and_loaded(model: Classifier, tmp_path: Path) -> None:
    x, _ = batch(model)
    name = type(model).__module__.rsplit(".", 1)[-1]
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, Checkpoint(model.eval(), name, ("a", "b", "c")))
    assert torch.equal(load_checkpoint(path).model(x), model(x))


@torch.no_grad()
def test_a_deployed_model_says_the_same(model: Classifier, tmp_path: Path) -> None:
    """No batch norm is left behind a convolution, and the model it was made of is untouched."""
    x, _ = batch(model)
    if not isinstance(model, ClosedForm):
        model.train()(x)  # statistics other than 0 and 1
        with pytest.raises(UserError, match="call eval"):
            model.deploy()
    expected = model.eval()(x)
    deployed = model.deploy()
    found = deployed(x)
    assert (found - expected).abs().max() <= 1e-5 * max(1.0, expected.abs().max())
    assert torch.equal(model(x), expected)
    assert isinstance(deployed, type(model))
    assert not any(p.requires_grad for p in deployed.parameters())
    name = type(model).__module__.rsplit(".", 1)[-1]
    with pytest.raises(UserError, match="save the model it was made of"):
        save_checkpoint(tmp_path / "m.safetensors", Checkpoint(deployed, name, ("a", "b", "c")))


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "left"),
    [("merba", 1), ("mambavision", 1), ("vssd", 0), ("ammsm", 0), ("smallcnn", 0), ("meplan", 0)],
)
def test_deploying_leaves_the_last_norm_alone(name: str, left: int) -> None:
    deployed = create_model(name, 3, **model_class(name).smallest).eval().deploy()
    assert sum("BatchNorm" in type(m).__name__ for m in deployed.modules()) == left


def test_a_model_refuses_another_size(model: Classifier) -> None:
    x, _ = batch(model)
    for wrong in (x[..., :-1], x[:, :1], x[0]):
        with pytest.raises(UserError, match="expected a batch of"):
            model(wrong)


def test_a_model_refuses_unknown_settings() -> None:
    for name in model_names():
        with pytest.raises(UserError, match=f"model '{name}' has no setting 'colour'"):
            create_model(name, 3, colour="red")
        with pytest.raises(UserError, match="at least 2 classes"):
            create_model(name, 1)


@pytest.mark.parametrize("name", dataset_names())
def test_a_data_set_says_what_it_is(name: str) -> None:
    cls = dataset_class(name)
    for text in (cls.title, cls.paper, cls.access):
        assert text
        assert "\n" not in text


@pytest.mark.parametrize("name", [name for name in dataset_names() if name != "synthetic"])
def test_a_data_set_refuses_an_empty_folder_in_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        dataset_class(name)(tmp_path).clips()
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError):
        dataset_class(name)(tmp_path / "missing").clips()
