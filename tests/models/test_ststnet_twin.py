"""The fused streams against the three streams as the paper draws them."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from microexpr.models.ststnet import Ststnet


def three_streams(model: Ststnet, x: Tensor) -> Tensor:
    streams = ((model.conv1, model.bn1), (model.conv2, model.bn2), (model.conv3, model.bn3))
    maps = [F.max_pool2d(norm(F.relu(conv(x))), 3, 3, padding=1) for conv, norm in streams]
    out: Tensor = model.fc(F.avg_pool2d(torch.cat(maps, dim=1), 2).flatten(1))
    return out


def test_fused_streams_equal_three() -> None:
    """Outputs, gradients and running statistics, in float64, over steps of training and in eval."""
    torch.manual_seed(0)
    fused = Ststnet(3, dropout=0.0).double()
    plain = copy.deepcopy(fused)
    y = torch.tensor([0, 1, 2, 0])
    for step in range(3):
        x = torch.rand(4, 3, 28, 28, dtype=torch.float64) * 255
        if step == 2:
            fused.eval()
            plain.eval()
        ours, theirs = fused(x), three_streams(plain, x)
        assert torch.allclose(ours, theirs, rtol=1e-10)
        F.cross_entropy(ours, y).backward()
        F.cross_entropy(theirs, y).backward()
        for a, b in zip(fused.parameters(), plain.parameters(), strict=True):
            assert a.grad is not None
            assert b.grad is not None
            assert torch.allclose(a.grad, b.grad, rtol=1e-8, atol=1e-12)
    for key, value in plain.state_dict().items():
        assert torch.allclose(fused.state_dict()[key], value)
