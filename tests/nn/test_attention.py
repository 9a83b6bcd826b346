from __future__ import annotations

import pytest
import torch
from torch import Tensor

from microexpr.errors import UserError
from microexpr.nn.attention import Attention
from microexpr.nn.windows import cut, window_order


def loop_attention(module: Attention, x: Tensor) -> Tensor:
    """The obvious twin: one head and one token at a time."""
    b, t, d = x.shape
    head = d // module.heads
    q, k, v = (x @ module.qkv.weight.T + module.qkv.bias).split(d, dim=2)
    out = torch.zeros_like(x)
    for i in range(b):
        for h in range(module.heads):
            s = slice(h * head, (h + 1) * head)
            for token in range(t):
                scores = (k[i, :, s] @ q[i, token, s]) / head**0.5
                weights = scores.exp() / scores.exp().sum()
                out[i, token, s] = weights @ v[i, :, s]
    return out @ module.proj.weight.T + module.proj.bias


@torch.no_grad()
def test_equals_the_loop() -> None:
    module = Attention(12, 3).double()
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    torch.testing.assert_close(module(x), loop_attention(module, x))


@torch.no_grad()
def test_in_windows_equals_each_window_alone() -> None:
    everywhere = Attention(4, 2).double()
    local = Attention(4, 2, regions=cut(5, 8, 3)).double()
    local.load_state_dict(everywhere.state_dict())
    grid = torch.randn(2, 5, 8, 4, dtype=torch.float64)
    order = window_order(5, 8, 3)
    found = torch.empty(2, 40, 4, dtype=torch.float64)
    found[:, order] = local(grid.reshape(2, 40, 4)[:, order])
    found = found.view(2, 5, 8, 4)
    for r in range(0, 5, 3):
        for c in range(0, 8, 3):
            piece = grid[:, r : r + 3, c : c + 3]
            alone = loop_attention(everywhere, piece.reshape(2, -1, 4)).view(piece.shape)
            torch.testing.assert_close(found[:, r : r + 3, c : c + 3], alone)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(UserError, match="3 attention heads do not divide the width 8"):
        Attention(8, 3)
