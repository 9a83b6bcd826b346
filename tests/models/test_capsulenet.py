from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from microexpr.errors import UserError
from microexpr.models.capsulenet import CapsuleNet, route, squash
from microexpr.nn.resnet import ResNet18


def test_parameters_and_shapes() -> None:
    with torch.device("meta"):
        model = CapsuleNet(3)
    assert sum(p.numel() for p in model.parameters()) == 13_842_496
    assert model.weight.shape == (3, 1152, 16, 8)


def squash_twin(v: list[float]) -> list[float]:
    n = math.sqrt(sum(a * a for a in v))
    return [a * n / (1 + n * n) for a in v]


def route_twin(guesses: list[list[list[float]]], rounds: int) -> list[list[float]]:
    """One clip: ``guesses[class][capsule][d]``."""
    classes, capsules, width = len(guesses), len(guesses[0]), len(guesses[0][0])
    b = [[0.0] * capsules for _ in range(classes)]
    for turn in range(rounds):
        out = []
        for j in range(classes):
            total = [0.0] * width
            for i in range(capsules):
                c = math.exp(b[j][i]) / sum(math.exp(b[k][i]) for k in range(classes))
                total = [t + c * g for t, g in zip(total, guesses[j][i], strict=True)]
            out.append(squash_twin(total))
        if turn < rounds - 1:
            for j in range(classes):
                for i in range(capsules):
                    b[j][i] += sum(p * q for p, q in zip(out[j], guesses[j][i], strict=True))
    return out


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_routing_equals_its_twin(rounds: int) -> None:
    guesses = torch.randn(2, 3, 7, 4, generator=torch.Generator().manual_seed(rounds)).double()
    got = route(guesses, rounds)
    for one, clip in zip(got, guesses, strict=True):
        wanted = torch.tensor(route_twin(clip.tolist(), rounds), dtype=torch.float64)
        torch.testing.assert_close(one, wanted)


def test_squash_of_nothing_has_a_gradient() -> None:
    x = torch.zeros(2, 4, requires_grad=True)
    torch.autograd.backward(squash(x).sum())
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


@torch.no_grad()
def test_capsules_are_eight_neighbouring_channels_of_a_place() -> None:
    torch.manual_seed(0)
    model = CapsuleNet(3, image=152, width=2, types=2).double().eval()
    seen: list[Tensor] = []
    model.primary.register_forward_hook(lambda _, __, out: seen.append(out))
    x = torch.rand(1, 3, 152, 152, dtype=torch.float64) * 255
    lengths = model(x)[0]
    maps = seen[0][0]
    capsules = [
        squash(maps[8 * kind : 8 * kind + 8, r, c])
        for r in range(maps.shape[1])
        for c in range(maps.shape[2])
        for kind in range(2)
    ]
    assert len(capsules) == model.weight.shape[1] == 8
    guesses = [
        [(model.weight[j, i] @ u).tolist() for i, u in enumerate(capsules)] for j in range(3)
    ]
    wanted = [math.sqrt(sum(a * a for a in v)) for v in route_twin(guesses, 3)]
    assert lengths.tolist() == pytest.approx(wanted)


def test_margin_loss_by_hand() -> None:
    torch.manual_seed(0)
    model = CapsuleNet(3, **CapsuleNet.smallest).eval()
    x = torch.rand(2, 3, 136, 136) * 255
    mass = torch.tensor([[0.5, 0.25, 0.0], [0.0, 0.0, 2.0]])
    total = 0.0
    for lengths, row in zip(model(x).tolist(), mass.tolist(), strict=True):
        for v, share in zip(lengths, row, strict=True):
            total += share * max(0.99 - v, 0) ** 2
            total += 0.5 * (sum(row) - share) * max(v - 0.01, 0) ** 2
    assert model.loss(x, mass, 0.0).item() == pytest.approx(total / 2, rel=1e-5)
    y = torch.tensor([1, 2])
    assert torch.equal(model.loss(x, y, 0.0), model.loss(x, torch.eye(3)[y], 0.0))


def test_imagenet_weights_and_bad_settings() -> None:
    model = CapsuleNet(3, **CapsuleNet.smallest)
    whole = ResNet18(width=2)
    assert model.load_backbone({**whole.state_dict(), "fc.bias": torch.zeros(1)}) is model
    assert torch.equal(model.backbone.conv1.weight, whole.conv1.weight)
    with pytest.raises(UserError, match="at least 136 pixels"):
        CapsuleNet(3, image=128)
