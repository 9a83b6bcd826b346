"""What every model shares: the joint loss of classes and action units, and calibration."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from microexpr.errors import UserError
from microexpr.models import create_model, model_class
from microexpr.models.ammsm import Ammsm
from microexpr.models.base import Classifier, input_shape, joint_loss
from microexpr.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

UNITS = ["4", "12", "45"]
NAMES = ("smallcnn", "merba", "ammsm")


def built(name: str, **settings: Any) -> Classifier:
    torch.manual_seed(0)
    return create_model(name, 3, **model_class(name).smallest, **settings)


def planes(model: Classifier, n: int = 4) -> Tensor:
    return torch.randn(n, *input_shape(model.eats), generator=torch.Generator().manual_seed(1))


def slowly(logits: Tensor, y: Tensor, classes: int) -> float:
    """`joint_loss` by its definition, number by number."""
    b, units = len(logits), logits.shape[1] - classes
    total = 0.0
    for row, mass in zip(logits.double().tolist(), y.double().tolist(), strict=True):
        norm = math.log(sum(math.exp(z) for z in row[:classes]))
        total += sum(m * (norm - z) for m, z in zip(mass[:classes], row[:classes], strict=True)) / b
        for k, z in enumerate(row[classes:]):
            p = 1 / (1 + math.exp(-z))
            active, absent = mass[classes + k], mass[classes + units + k]
            total -= (active * math.log(p) + absent * math.log(1 - p)) / (b * units)
    return total


def test_the_joint_loss_is_what_it_says_and_so_is_its_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3 + 4, generator=generator, dtype=torch.float64) * 3
    y = torch.rand(5, 3 + 8, generator=generator, dtype=torch.float64)
    y[2, 3:] = 0  # not coded
    assert float(joint_loss(logits, y, 3)) == pytest.approx(slowly(logits, y, 3), rel=1e-12)
    logits.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda z: joint_loss(z, y, 3), (logits,))
    joint_loss(logits, y, 3).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert not logits.grad[2, 3:].any()
    assert bool(logits.grad[[0, 1, 3, 4], 3:].all())


@pytest.mark.parametrize("name", NAMES)
def test_a_model_with_units_is_one_without_and_more(name: str, tmp_path: Path) -> None:
    model, plain = built(name, units=UNITS).eval(), built(name).eval()
    x, y = planes(model), torch.arange(4) % 3
    logits = model(x)
    assert logits.shape == (4, 6)
    labels, probabilities = model.predict(x)
    torch.testing.assert_close(probabilities, logits[:, :3].softmax(1))
    assert torch.equal(labels, logits[:, :3].argmax(1))
    torch.testing.assert_close(model.unit_probabilities(x), logits[:, 3:].sigmoid())
    assert plain.unit_probabilities(x).shape == (4, 0)
    torch.testing.assert_close(
        model.loss(x, y, 0.5), torch.nn.functional.cross_entropy(logits[:, :3], y)
    )
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, Checkpoint(model, name, ("a", "b", "c")))
    found = load_checkpoint(path).model
    assert found.units == tuple(UNITS)
    assert torch.equal(found.unit_probabilities(x), model.unit_probabilities(x))
    assert sum(p.numel() for p in model.parameters()) > sum(p.numel() for p in plain.parameters())


def test_an_adapting_ammsm_learns_units_too() -> None:
    model = built("ammsm", units=UNITS)
    assert isinstance(model, Ammsm)
    model.adapting = True
    x = planes(model)
    unknown = torch.cat([torch.eye(3)[torch.arange(4) % 3], torch.zeros(4, 6)], dim=1)
    known = unknown.clone()
    known[:, 3:6] = 1
    torch.manual_seed(0)
    without = float(model.eval().loss(x, unknown, 0.5).detach())
    torch.manual_seed(0)
    assert float(model.loss(x, known, 0.5).detach()) > without + 0.1


def test_units_that_are_none() -> None:
    with pytest.raises(UserError, match="unknown action unit '99'"):
        built("smallcnn", units=["99"])
    with pytest.raises(UserError, match="the action unit 4 twice"):
        built("smallcnn", units=["4", "4"])
    with pytest.raises(UserError, match="units need head = 'linear'"):
        built("merba", units=["4"], head="dgcm", coarse=[0, 0, 1])


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("smallcnn", {}),
        ("smallcnn", {"units": UNITS}),
        ("merba", {"head": "dgcm", "coarse": [0, 0, 1]}),
        ("capsulenet", {}),
    ],
)
def test_a_temperature_sharpens_or_softens_and_is_saved(
    name: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    model = built(name, **settings).eval()
    x = planes(model)
    before, plain = model.predict(x)
    assert before.shape == (4,)
    model.temperature = 2.5
    after, soft = model.predict(x)
    wanted = plain.double() ** (1 / 2.5)
    torch.testing.assert_close(
        soft.double(), wanted / wanted.sum(1, keepdim=True), atol=1e-6, rtol=0
    )
    assert torch.equal(before, after)
    assert (soft.max(1).values <= plain.max(1).values + 1e-6).all()
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, Checkpoint(model, name, ("a", "b", "c")))
    assert load_checkpoint(path).model.temperature == 2.5
    assert torch.equal(load_checkpoint(path).model.predict(x)[1], soft)


def test_without_calibration_a_checkpoint_is_as_it_always_was(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, Checkpoint(built("smallcnn").eval(), "smallcnn", ("a", "b", "c")))
    assert b"temperature" not in path.read_bytes()
    assert load_checkpoint(path).model.temperature == 1


def test_a_temperature_of_no_sense_is_damage(tmp_path: Path) -> None:
    model = built("smallcnn").eval()
    model.temperature = -2.0
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, Checkpoint(model, "smallcnn", ("a", "b", "c")))
    with pytest.raises(UserError, match="a temperature must be above 0"):
        load_checkpoint(path)
