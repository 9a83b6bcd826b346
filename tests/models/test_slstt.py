from __future__ import annotations

import pytest
import torch

from microexpr.errors import UserError
from microexpr.models.slstt import Slstt
from microexpr.nn.pictures import flow_colours
from microexpr.nn.vit import VisionTransformer

SMALL = {**Slstt.smallest, "frozen": True}


def test_parameters() -> None:
    with torch.device("meta"):
        model = Slstt(3)
    assert sum(p.numel() for p in model.parameters()) == 93_050_627
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert learning == 93_050_627 - 86_090_496


@torch.no_grad()
def test_moments_go_through_the_lstm_one_after_another() -> None:
    torch.manual_seed(0)
    model = Slstt(3, **Slstt.smallest).eval()
    x = torch.randn(2, 3, 2, 32, 32)
    hidden = None
    for t in range(3):
        picture = flow_colours(x[:, t, 0], x[:, t, 1]) * 2 - 1
        token = model.vit(picture)[:, 0]
        out, hidden = model.lstm(token[:, None], hidden)
    wanted = model.fc2(model.fc1(out[:, 0]).relu())
    torch.testing.assert_close(model(x), wanted)


@torch.no_grad()
def test_mean_forgets_the_order() -> None:
    torch.manual_seed(0)
    mean, lstm = (Slstt(3, aggregation=a, **Slstt.smallest).eval() for a in ("mean", "lstm"))
    x = torch.randn(2, 3, 2, 32, 32)
    torch.testing.assert_close(mean(x), mean(x.flip(1)))
    assert not torch.allclose(lstm(x), lstm(x.flip(1)))


def test_a_frozen_vit_does_not_learn() -> None:
    torch.manual_seed(0)
    model = Slstt(3, **SMALL)
    torch.autograd.backward(model.loss(torch.randn(2, 3, 2, 32, 32), torch.tensor([0, 1]), 0.0))
    assert all(p.grad is None for p in model.vit.parameters())
    assert bool(model.lstm.weight_ih_l0.grad.any())


def test_imagenet_weights_and_bad_settings() -> None:
    model, source = Slstt(3, **SMALL), VisionTransformer(32, 16, 8, 1, 2)
    assert model.load_vit({**source.state_dict(), "head.bias": torch.zeros(1)}) is model
    assert torch.equal(model.vit.pos_embed, source.pos_embed)
    with pytest.raises(UserError, match="at least 2, got 1"):
        Slstt(3, frames=1)
    with pytest.raises(UserError, match="minmax8 lost"):
        Slstt(3, normalisation="minmax8")
    with pytest.raises(UserError, match="did you mean 'mean'"):
        Slstt(3, aggregation="men")
    with pytest.raises(UserError, match=r"3x2x32x32 \(u, v; 3 frames\)"):
        model(torch.zeros(1, 2, 2, 32, 32))
