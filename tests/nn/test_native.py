"""The native convolution and scan against float64 loops, and its manners when called wrongly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from microexpr import native as library
from microexpr.nn import native

pytestmark = pytest.mark.skipif(not native.available(), reason="the native library was not built")


@pytest.fixture(params=library.INSTRUCTION_SETS)
def instruction_set(request):
    """Each instruction set this machine has, then back to the best."""
    if library.instruction_set(request.param) != request.param:
        library.instruction_set()
        pytest.skip(f"no {request.param} here")
    yield request.param
    library.instruction_set()


def conv_loop(x: Tensor, weight: Tensor, orders: Tensor, summed: bool) -> Tensor:
    """The definition, one token at a time."""
    outs = []
    for j, order in enumerate(orders.tolist()):
        taps = weight[j if len(weight) > 1 else 0]
        out = torch.zeros_like(x)
        for s, t in enumerate(order):
            pre = taps[:, 1] * x[:, t]
            if s > 0:
                pre = pre + taps[:, 0] * x[:, order[s - 1]]
            if s + 1 < len(order):
                pre = pre + taps[:, 2] * x[:, order[s + 1]]
            out[:, t] = torch.nn.functional.silu(pre)
        outs.append(out)
    return torch.stack(outs, 1).sum(1) if summed else torch.stack(outs, 1)


def scan_loop(u, dt, A, B, C, D, dt_bias, orders):
    """The definition, one token at a time."""
    w, k, l, d = u.shape
    total = torch.zeros(w, l, d, dtype=u.dtype)
    for j, order in enumerate(orders.tolist()):
        pick = [p[j if len(p) > 1 else 0] for p in (A, D, dt_bias)]
        delta = torch.nn.functional.softplus(dt[:, j] + pick[2], threshold=1e9)
        h = torch.zeros(w, d, A.shape[2], dtype=u.dtype)
        y = torch.zeros(w, l, d, dtype=u.dtype)
        for t in order:
            step = delta[:, t, :, None]
            h = torch.exp(step * pick[0]) * h + step * u[:, j, t, :, None] * B[:, j, t, None]
            y[:, t] = (h * C[:, j, t, None]).sum(-1) + pick[1] * u[:, j, t]
        total = total + y
    return total


def random_orders(k: int, l: int) -> Tensor:
    return torch.stack([torch.randperm(l) for _ in range(k)])


def conv_inputs(w=3, k=4, l=9, d=21, shared=False):
    return (torch.randn(w, l, d), torch.randn(1 if shared else k, d, 3)), random_orders(k, l)


def scan_inputs(w=3, k=4, l=9, d=21, n=8, shared=False, spread=1.0):
    p = 1 if shared else k
    u, dt = torch.randn(w, k, l, d), spread * torch.randn(w, k, l, d)
    A = -torch.exp(torch.randn(p, d, n))
    B, C = torch.randn(w, k, l, n), torch.randn(w, k, l, n)
    return (u, dt, A, B, C, torch.randn(p, d), torch.randn(p, d)), random_orders(k, l)


def compare(function, twin, inputs, rest, tolerance=1e-6):
    """Values and all gradients within `tolerance` of the float64 twin.

    Relative to the largest value, or to 1, the size of the inputs, where sums cancel.
    """
    leaves = [t.clone().requires_grad_() for t in inputs]
    doubles = [t.double().requires_grad_() for t in inputs]
    out, expected = function(*leaves, *rest), twin(*doubles, *rest)
    direction = torch.randn(out.shape)
    grads = torch.autograd.grad(out, leaves, direction)
    expected_grads = torch.autograd.grad(expected, doubles, direction.double())
    for got, want in zip((out, *grads), (expected, *expected_grads), strict=True):
        assert got.shape == want.shape
        assert torch.isfinite(got).all()
        assert (got - want).abs().max() <= tolerance * want.abs().max().clamp(min=1)


SHAPES = [
    dict(w=1, k=1, l=1, d=1),
    dict(w=5, k=4, l=49, d=16),
    dict(w=2, k=2, l=16, d=64),
    dict(w=40, k=3, l=4, d=8),
    dict(w=3, k=4, l=7, d=37, shared=True),
]


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_conv_equals_the_loop(instruction_set, shape, summed):
    torch.manual_seed(0)
    inputs, orders = conv_inputs(**shape)
    compare(native.order_conv, conv_loop, inputs, (orders, summed))


@pytest.mark.parametrize("n", [1, 7, 16])
@pytest.mark.parametrize("shape", SHAPES)
def test_scan_equals_the_loop(instruction_set, shape, n):
    torch.manual_seed(0)
    inputs, orders = scan_inputs(**shape, n=n)
    compare(native.window_scan, scan_loop, inputs, (orders,))


def test_many_states(instruction_set):
    torch.manual_seed(0)
    inputs, orders = scan_inputs(n=75)
    compare(native.window_scan, scan_loop, inputs, (orders,))


def test_extreme_steps_stay_finite_and_exact(instruction_set):
    torch.manual_seed(0)
    inputs, orders = scan_inputs(l=49, spread=80.0)
    assert inputs[1].abs().max() > 200
    compare(native.window_scan, scan_loop, inputs, (orders,))
