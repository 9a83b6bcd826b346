from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.nn import dense as module
from microexpr.nn.dense import Dense, dense


def twin(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    """In float64."""
    out = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    return F.gelu(out) if gelu else out


def leaves(*shapes: tuple[int, ...]) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("gelu", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("shape", "out"), [((13, 53, 64), 96), ((2, 16, 16, 96), 64), ((40000, 8), 8), ((3, 5, 8), 4)]
)
def test_equals_a_linear_layer_in_value_and_gradient(
    shape: tuple[int, ...], out: int, bias: bool, gelu: bool
) -> None:
    x, weight, b = leaves(shape, (out, shape[-1]), (out,))
    values = [x, weight, b] if bias else [x, weight]
    found = dense(x, weight, b if bias else None, gelu=gelu)
    exact = twin(x, weight, b if bias else None, gelu)
    grad = torch.randn_like(found)
    pairs = [(found, exact)]
    with torch.no_grad():
        pairs.append((dense(x, weight, b if bias else None, gelu=gelu), exact))
    got = torch.autograd.grad(found, values, grad)
    pairs += zip(got, torch.autograd.grad(exact, values, grad.double()), strict=True)
    for a, e in pairs:
        assert a.dtype == torch.float32
        assert a.shape == e.shape
        assert (a - e).abs().max().item() <= 1e-5 * e.abs().max().item()


@pytest.mark.parametrize("learning", [(0,), (1,), (2,), (0, 2)])
def test_gradients_for_some_of_the_arguments(learning: tuple[int, ...]) -> None:
    values = [t.detach() for t in leaves((512, 64), (96, 64), (96,))]
    chosen = [values[i].requires_grad_() for i in learning]
    got = torch.autograd.grad(dense(*values).sum(), chosen)
    expected = torch.autograd.grad(F.linear(*values).sum(), chosen)
    for a, e in zip(got, expected, strict=True):
        torch.testing.assert_close(a, e, atol=1e-3, rtol=1e-4)


def test_layouts_of_all_kinds() -> None:
    """Tokens that lie apart in memory, gradients and weights that are transposed views."""
    wide, weight, b = (t.detach() for t in leaves((4, 256, 100), (64, 96), (96,)))
    x = wide[..., 10:74].requires_grad_()
    weight.requires_grad_()
    for f in (dense, F.linear):
        out = f(x, weight.t(), b).transpose(1, 2)
        grads = torch.autograd.grad(out.square().sum(), [x, weight])
        if f is dense:
            ours = [out, *grads]
    for a, e in zip(ours, [out, *grads], strict=True):
        torch.testing.assert_close(a, e, atol=1e-2, rtol=1e-4)


def test_a_training_step_moves_the_same_weights() -> None:
    """The gradient may be a transposed view: what accumulates must not care."""
    x = torch.randn(512, 96)
    one, other = Dense(96, 64), nn.Linear(96, 64)
    other.load_state_dict(one.state_dict())
    for layer in (one, other):
        for _ in range(2):
            layer(x).square().mean().backward()
        torch.optim.AdamW(layer.parameters(), fused=True).step()
    torch.testing.assert_close(one.weight, other.weight)


@torch.no_grad()
def test_who_takes_the_detour() -> None:
    """Large products in float32; not double, small or autocast ones, and no exported program."""
    big, weight = torch.randn(512, 64), torch.randn(96, 64)
    with patch.object(module, "_product", wraps=module._product) as product:
        dense(big, weight)
        assert product.call_count == 1
        dense(torch.randn(64, 64), weight)
        dense(big.double(), weight.double())
        with torch.autocast("cpu", torch.bfloat16):
            assert dense(big, weight).dtype == torch.bfloat16
        exported = torch.export.export(Dense(64, 96), (big,))
        assert product.call_count == 1
    assert "mkldnn" not in str(exported.graph)


def test_nothing_in_nothing_out() -> None:
    assert dense(torch.empty(0, 7, 64), torch.randn(96, 64)).shape == (0, 7, 96)
