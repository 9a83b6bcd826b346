from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.nn.dense import Dense, dense


def run(x: Tensor, layer: nn.Linear) -> list[Tensor]:
    x = x.clone().requires_grad_()
    layer.zero_grad()
    y = layer(x)
    y.backward(torch.linspace(-1, 1, y.numel()).view_as(y))
    assert x.grad is not None
    return [y.detach(), x.grad, *(p.grad.clone() for p in layer.parameters() if p.grad is not None)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(4, 49, 64), (2, 8, 8, 64), (3, 53, 64), (5, 64), (0, 7, 64)])
def test_equals_a_linear_layer_in_value_and_gradient(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    one, other = Dense(64, 96, bias=bias), nn.Linear(64, 96, bias=bias)
    other.load_state_dict(one.state_dict())
    x = torch.randn(shape)
    for a, b in zip(run(x, one), run(x, other), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_tokens_that_lie_apart_in_memory_are_taken_as_they_are() -> None:
    torch.manual_seed(0)
    layer = Dense(64, 64)
    whole = torch.randn(4, 32, 100)
    torch.testing.assert_close(
        layer(whole[..., 10:74]),
        F.linear(whole[..., 10:74], layer.weight, layer.bias),
        atol=1e-5,
        rtol=1e-5,
    )


@torch.no_grad()
def test_who_takes_the_detour() -> None:
    """Large weights, tokens that divide into pictures; not double, not small, not odd numbers."""
    with patch("microexpr.nn.dense.F.conv2d", wraps=F.conv2d) as conv:
        dense(torch.randn(64, 64), torch.randn(64, 64))
        assert conv.call_count == 1
        dense(torch.randn(53, 64), torch.randn(64, 64))
        dense(torch.randn(64, 8), torch.randn(8, 8))
        dense(torch.randn(64, 64).double(), torch.randn(64, 64).double())
        assert conv.call_count == 1
