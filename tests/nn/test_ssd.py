from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from microexpr.errors import UserError
from microexpr.nn.sparse import Whole
from microexpr.nn.ssd import SelfAttention, Ssd


def ssd_twin(ssd: Ssd, u: Tensor, height: int, width: int) -> Tensor:
    """One number at a time, as the facts about VSSD have it; weights read from the state dict."""
    state = ssd.state_dict()
    b, n, d = u.shape
    inner, heads = 2 * d, len(state["A_log"])
    states = (len(state["conv2d.weight"]) - inner) // 2
    projected = u @ state["in_proj.weight"].T
    z = projected[..., :inner]
    xbc = projected[..., inner : inner + inner + 2 * states]
    dt = projected[..., -heads:]
    out = torch.zeros(b, n, d, dtype=u.dtype)
    for k in range(b):
        mixed = torch.zeros_like(xbc[k])
        for t in range(n):
            row, column = divmod(t, width)
            for c in range(xbc.shape[2]):
                total = state["conv2d.bias"][c].clone()
                for i in (-1, 0, 1):
                    for j in (-1, 0, 1):
                        if 0 <= row + i < height and 0 <= column + j < width:
                            weight = state["conv2d.weight"][c, 0, i + 1, j + 1]
                            total += weight * xbc[k, (row + i) * width + column + j, c]
                mixed[t, c] = total * torch.sigmoid(total)
        memory = torch.zeros(states, inner, dtype=u.dtype)
        for t in range(n):
            for c in range(inner):
                head = c // (inner // heads)
                step = torch.log1p(torch.exp(dt[k, t, head] + state["dt_bias"][head]))
                value = mixed[t, c] * step * torch.exp(state["A_log"][head])
                memory[:, c] += mixed[t, inner : inner + states] * value
        for t in range(n):
            y = mixed[t, inner + states :] @ memory
            y += mixed[t, :inner] * state["D"].repeat_interleave(inner // heads)
            y = (y - y.mean()) / torch.sqrt(y.var(unbiased=False) + 1e-5)
            y = y * state["norm.weight"] + state["norm.bias"]
            out[k, t] = state["out_proj.weight"] @ (y * z[k, t])
    return out


def drawn(dim: int, heads: int, states: int) -> Ssd:
    torch.manual_seed(0)
    ssd = Ssd(dim, heads, states).double()
    with torch.no_grad():
        for p in ssd.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return ssd


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(2, 3), (4, 4), (1, 1)])
def test_equals_the_loop(height: int, width: int) -> None:
    ssd = drawn(4, 2, 3)
    u = torch.randn(2, height * width, 4, dtype=torch.float64)
    torch.testing.assert_close(ssd(u, Whole(height, width)), ssd_twin(ssd, u, height, width))


def test_gradients_are_right() -> None:
    ssd = drawn(2, 2, 2)
    u = torch.randn(1, 6, 2, dtype=torch.float64, requires_grad=True)
    valid = torch.tensor([1.0, 1, 0, 1, 0, 1], dtype=torch.float64).view(1, 6, 1)
    everything = (u, *ssd.parameters())
    assert torch.autograd.gradcheck(lambda u, *_: ssd(u, Whole(2, 3)), everything)
    assert torch.autograd.gradcheck(lambda u, *_: ssd(u, Whole(2, 3, valid)), everything)


@torch.no_grad()
def test_masked_tokens_neither_write_nor_are_seen() -> None:
    """Whatever stands at a masked token, the others do not notice."""
    for mixer in (drawn(4, 2, 3), SelfAttention(4, 2).double()):
        u = torch.randn(2, 9, 4, dtype=torch.float64)
        valid = torch.ones(2, 9, 1, dtype=torch.float64)
        valid[0, 3:6] = valid[1, 8] = 0
        other = torch.where(valid > 0, u, 7.0)
        one, two = mixer(u, Whole(3, 3, valid)), mixer(other, Whole(3, 3, valid))
        seen = valid[..., 0] > 0
        torch.testing.assert_close(one[seen], two[seen])
        assert not torch.allclose(one[seen], mixer(u, Whole(3, 3))[seen])


@torch.no_grad()
def test_the_state_has_no_order() -> None:
    """Without the convolution's neighbours, tokens may stand in any order."""
    ssd = drawn(4, 2, 3)
    ssd.conv2d.weight[:, :, [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0
    u, order = torch.randn(1, 9, 4, dtype=torch.float64), torch.randperm(9)
    torch.testing.assert_close(ssd(u, Whole(3, 3))[:, order], ssd(u[:, order], Whole(3, 3)))


def test_starts_as_published() -> None:
    torch.manual_seed(0)
    ssd = Ssd(256, 64)
    step = torch.nn.functional.softplus(ssd.dt_bias.detach())
    assert 0.001 <= float(step.min()) < 0.01 < float(step.max()) <= 0.1
    rates = ssd.A_log.detach()
    assert 0 <= float(rates.min()) < float(rates.max()) <= math.log(16)
    assert torch.equal(ssd.D, torch.ones(64))


@torch.no_grad()
def test_attention_equals_softmax_by_hand() -> None:
    torch.manual_seed(0)
    attention = SelfAttention(6, 3).double()
    u = torch.randn(2, 5, 6, dtype=torch.float64)
    q, k, v = (
        part.view(2, 5, 3, 2).transpose(1, 2)
        for part in (u @ attention.to_qkv.weight.T).split(6, dim=2)
    )
    weights = (q @ k.transpose(2, 3) / math.sqrt(2)).softmax(dim=3)
    joined = (weights @ v).transpose(1, 2).reshape(2, 5, 6)
    torch.testing.assert_close(attention(u, Whole(1, 5)), attention.to_out(joined))


def test_heads_must_divide() -> None:
    with pytest.raises(UserError, match="3 heads do not divide the inner width 8"):
        Ssd(4, 3)
    with pytest.raises(UserError, match="3 attention heads do not divide the width 4"):
        SelfAttention(4, 3)
