from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from microexpr.errors import UserError
from microexpr.models.meplan import MePlan, episodic_loss, squared_distances


def twin(z: Tensor, mass: Tensor) -> float:
    """Every clip once the query, class means by hand."""
    n, classes = mass.shape
    total = 0.0
    for i in range(n):
        scores = {}
        for k in range(classes):
            others = [j for j in range(n) if j != i and mass[j, k] > 0]
            if others:
                weight = sum(float(mass[j, k]) for j in others)
                mean = sum(float(mass[j, k]) * z[j] for j in others) / weight
                scores[k] = -float(((z[i] - mean) ** 2).sum())
        norm = sum(math.exp(s) for s in scores.values())
        for k, score in scores.items():
            total -= float(mass[i, k]) * math.log(math.exp(score) / norm)
    return total / n


@pytest.mark.parametrize("soft", [False, True])
def test_episodes_equal_their_twin(soft: bool) -> None:
    g = torch.Generator().manual_seed(int(soft))
    z = torch.randn(7, 3, generator=g).double()
    mass = torch.eye(4)[torch.tensor([0, 0, 1, 1, 1, 2, 0])].double()  # 2 once, 3 never
    if soft:
        mass = 0.7 * mass + 0.3 * mass.flip(0)
    assert float(episodic_loss(z, mass)) == pytest.approx(twin(z, mass))


def test_a_batch_without_neighbours_has_no_episodes() -> None:
    z = torch.randn(3, 2, requires_grad=True)
    loss = episodic_loss(z, torch.eye(3))
    torch.autograd.backward(loss)
    assert float(loss.detach()) == 0.0
    assert z.grad is not None
    assert bool(z.grad.isfinite().all())


def test_logits_are_distances_to_the_prototypes() -> None:
    torch.manual_seed(0)
    model = MePlan(3, **MePlan.smallest).eval()
    x, y = torch.randn(4, 2, 3, 16, 16), torch.tensor([0, 1, 2, 0])
    z = model._embedded(x)
    for i in range(4):
        for k in range(3):
            wanted = -((z[i] - model.prototypes[k]) ** 2).sum()
            torch.testing.assert_close(model(x)[i, k], wanted)
    wanted = F.cross_entropy(model(x), y) + episodic_loss(z, torch.eye(3)[y])
    torch.testing.assert_close(model.loss(x, y, 0.0), wanted)
    assert squared_distances(z, model.prototypes).shape == (4, 3)


def test_attention_can_stress_but_not_lose() -> None:
    torch.manual_seed(0)
    model = MePlan(3, **MePlan.smallest).eval()
    x = torch.randn(2, 2, 3, 16, 16)
    maps = model.blocks(model.stem(x.transpose(1, 2)))
    assert maps.shape == (2, 16, 1, 1, 1)
    factor = 1 + torch.sigmoid(model.attention(maps))
    assert bool(((factor > 1) & (factor < 2)).all())
    torch.testing.assert_close(model._embedded(x), model.embed((maps * factor).mean(dim=(2, 3, 4))))


def test_order_of_the_moments_matters_and_bad_settings() -> None:
    torch.manual_seed(0)
    model = MePlan(3, **MePlan.smallest).eval()
    x = torch.randn(2, 2, 3, 16, 16)
    assert not torch.allclose(model(x), model(x.flip(1)))
    with pytest.raises(UserError, match="2 frames and 16 pixels"):
        MePlan(3, frames=1)
