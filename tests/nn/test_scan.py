from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch
from torch import Tensor

from microexpr.errors import UserError
from microexpr.nn import scan, scan_blocked
from microexpr.nn.mixers import Mixer
from microexpr.nn.orders import scan_orders
from microexpr.nn.scan import backends, order_conv, use_backend, window_scan
from microexpr.nn.windows import cut

PURE = ("reference", "blocked")


def scan_inputs(
    w: int = 3,
    height: int = 2,
    width: int = 3,
    d: int = 2,
    n: int = 3,
    names: str = "abcd",
    shared: bool = True,
    dtype: torch.dtype = torch.float64,
    step: float = 1.0,
) -> tuple[list[Tensor], Tensor]:
    """Random tensors for `window_scan`; `step` scales dt."""
    k, tokens = len(names), height * width
    p = 1 if shared else k
    g = torch.Generator().manual_seed(w * tokens + d)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    values = [
        draw(w, k, tokens, d),
        step * draw(w, k, tokens, d),
        -draw(p, d, n).exp(),
        draw(w, k, tokens, n),
        draw(w, k, tokens, n),
        draw(p, d),
        draw(p, d),
    ]
    return [value.requires_grad_() for value in values], scan_orders(list(names), height, width)


def loop_scan(values: list[Tensor], orders: Tensor) -> Tensor:
    """The obvious twin: one window, one order, one channel, one number at a time."""
    u, dt, A, B, C, D, bias = (value.detach() for value in values)
    w, k, tokens, d = u.shape
    out = torch.zeros(w, tokens, d, dtype=torch.float64)
    for i in range(w):
        for j in range(k):
            p = j % len(A)
            for c in range(d):
                h = [0.0] * A.shape[2]
                for t in range(tokens):
                    token = int(orders[j, t])
                    delta = math.log1p(math.exp(float(dt[i, j, token, c] + bias[p, c])))
                    y = float(D[p, c] * u[i, j, token, c])
                    for s in range(len(h)):
                        h[s] *= math.exp(delta * float(A[p, c, s]))
                        h[s] += delta * float(u[i, j, token, c] * B[i, j, token, s])
                        y += float(C[i, j, token, s]) * h[s]
                    out[i, token, c] += y
    return out


def loop_conv(x: Tensor, weight: Tensor, orders: Tensor) -> Tensor:
    """The obvious twin of `order_conv`, not summed."""
    (w, tokens, d), k = x.shape, len(orders)
    out = torch.zeros(w, k, tokens, d, dtype=torch.float64)
    for j in range(k):
        walk = orders[j].tolist()
        for t, token in enumerate(walk):
            total = torch.zeros(w, d, dtype=torch.float64)
            for tap in range(3):
                if 0 <= t + tap - 1 < tokens:
                    total += weight[j % len(weight), :, tap] * x[:, walk[t + tap - 1]]
            out[:, j, token] = total / (1 + torch.exp(-total))
    return out


@pytest.mark.parametrize("backend", [*PURE, "graph"])
@pytest.mark.parametrize("shared", [True, False])
def test_scan_equals_the_loop(backend: str, shared: bool) -> None:
    values, orders = scan_inputs(shared=shared)
    found = window_scan(*values, orders, backend=backend)
    torch.testing.assert_close(found, loop_scan(values, orders), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", [*PURE, "graph"])
@pytest.mark.parametrize("shared", [True, False])
def test_conv_equals_the_loop(backend: str, shared: bool) -> None:
    orders = scan_orders(["a", "b", "c", "d_sy"], 3, 2)
    x = torch.randn(3, 6, 5, dtype=torch.float64)
    weight = torch.randn(1 if shared else 4, 5, 3, dtype=torch.float64)
    twin = loop_conv(x, weight, orders)
    found = order_conv(x, weight, orders, summed=False, backend=backend)
    torch.testing.assert_close(found, twin, rtol=1e-12, atol=1e-12)
    found = order_conv(x, weight, orders, summed=True, backend=backend)
    torch.testing.assert_close(found, twin.sum(dim=1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
def test_scan_gradients(shared: bool) -> None:
    values, orders = scan_inputs(w=2, shared=shared, names="ad")
    assert torch.autograd.gradcheck(
        lambda *v: window_scan(*v, orders, backend="blocked"), values, fast_mode=False
    )


@pytest.mark.parametrize("summed", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_conv_gradients(shared: bool, summed: bool) -> None:
    orders = scan_orders(["a", "d"], 2, 3)
    x = torch.randn(2, 6, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(1 if shared else 2, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, w: order_conv(x, w, orders, summed=summed, backend="blocked"), (x, weight)
    )


def gradients(backend: str, values: list[Tensor], orders: Tensor) -> list[Tensor]:
    """The result and the gradient of every input, for a fixed random outer gradient."""
    leaves = [value.detach().clone().requires_grad_() for value in values]
    out = window_scan(*leaves, orders, backend=backend)
    g = torch.Generator().manual_seed(7)
    out.backward(torch.randn(out.shape, generator=g, dtype=torch.float64).to(out.dtype))
    return [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


@pytest.mark.parametrize("step", [1.0, 50.0, 200.0])
@pytest.mark.parametrize("backend", backends())
def test_extreme_steps_stay_finite_and_exact(backend: str, step: float) -> None:
    values, orders = scan_inputs(w=4, height=7, width=7, d=16, n=8, step=step)
    exact = gradients("reference", values, orders)
    found = gradients(backend, [value.detach().float() for value in values], orders)
    assert len(found) == len(exact) == 8
    for one, other in zip(found, exact, strict=True):
        assert torch.isfinite(one).all()
        assert (one - other).abs().max() <= 3e-6 * other.abs().max()


def test_windows_are_independent_of_the_block_they_fall_into(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values, orders = scan_inputs(w=7, d=4)
    x, weight = torch.randn(7, 6, 4), torch.randn(1, 4, 3)
    whole = gradients("blocked", values, orders)
    conv = order_conv(x, weight, orders, summed=True, backend="blocked")
    monkeypatch.setattr(scan_blocked, "_BLOCK_CPU", 2 * 3 * 4 * 4)
    assert len(list(scan_blocked._blocks(7, 3 * 4 * 4, torch.device("cpu")))) == 4
    for one, other in zip(gradients("blocked", values, orders), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    parts = order_conv(x, weight, orders, summed=True, backend="blocked")
    torch.testing.assert_close(parts, conv)


def test_blocked_keeps_its_inputs_and_nothing_else() -> None:
    values, orders = scan_inputs(w=5, height=4, width=4, d=8)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()), lambda _: None):
        window_scan(*values, orders, backend="blocked")
    assert sum(kept) == sum(value.numel() for value in values) + orders.numel()


def test_non_contiguous_inputs() -> None:
    values, orders = scan_inputs(w=4, d=4)
    strided = [value.detach().transpose(0, -1).contiguous().transpose(0, -1) for value in values]
    assert not strided[0].is_contiguous()
    torch.testing.assert_close(
        window_scan(*strided, orders, backend="blocked"),
        window_scan(*values, orders, backend="blocked").detach(),
    )


@pytest.mark.parametrize("backend", PURE)
def test_half_precision_is_computed_in_float32(backend: str) -> None:
    values, orders = scan_inputs(dtype=torch.bfloat16)
    found = window_scan(*values, orders, backend=backend)
    full = window_scan(*(value.float() for value in values), orders, backend=backend)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, full.bfloat16())


def test_one_token_has_no_past() -> None:
    values, orders = scan_inputs(height=1, width=1)
    found = gradients("blocked", values, orders)
    for one, other in zip(found, gradients("reference", values, orders), strict=True):
        torch.testing.assert_close(one, other)


def test_backend_is_named_chosen_and_refused(caplog: pytest.LogCaptureFixture) -> None:
    values, orders = scan_inputs()
    assert set(PURE) <= set(backends())
    with pytest.raises(UserError, match=r"'blockd'.*did you mean 'blocked'"):
        window_scan(*values, orders, backend="blockd")
    with pytest.raises(UserError, match="unknown or unusable"), use_backend("cuda"):
        pass
    scan._announce.cache_clear()
    with caplog.at_level(logging.INFO, logger="microexpr.nn.scan"):
        window_scan(*values, orders)
        window_scan(*values, orders)
    assert [r.getMessage() for r in caplog.records] == [
        "scan backend: blocked (cpu, torch.float64)"
    ]


def fake_kernels(available: bool, calls: list[str]) -> ModuleType:
    """A module with the face of compiled kernels, which notes what it was asked."""
    module = ModuleType("kernels")

    def window_scan(*values: Tensor) -> Tensor:
        calls.append(str(values[0].dtype))
        return scan_blocked.window_scan(*values)

    module.available = lambda: available  # type: ignore[attr-defined]
    module.window_scan = window_scan  # type: ignore[attr-defined]
    return module


@pytest.fixture
def fresh() -> Iterator[None]:
    """Backends are looked for anew, here and after the test."""
    scan._usable.cache_clear()
    yield
    scan._usable.cache_clear()


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("available", [True, False])
def test_auto_takes_compiled_kernels_where_they_can_serve(
    monkeypatch: pytest.MonkeyPatch, available: bool
) -> None:
    calls: list[str] = []
    monkeypatch.setitem(sys.modules, "microexpr.nn.native", fake_kernels(available, calls))
    assert ("native" in backends()) == available
    values, orders = scan_inputs(dtype=torch.bfloat16)
    window_scan(*values, orders)
    assert calls == ["torch.float32"] * available
    with use_backend("blocked"):
        window_scan(*values, orders)
    window_scan(*(value.double() for value in values), orders)
    assert calls == ["torch.float32"] * available
    with pytest.raises(UserError, match="does not serve" if available else "unusable"):
        window_scan(*(value.double() for value in values), orders, backend="native")


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("available", [True, False])
def test_a_gpu_takes_triton(monkeypatch: pytest.MonkeyPatch, available: bool) -> None:
    """The device "meta" plays the GPU: tensors without numbers."""
    calls: list[str] = []
    monkeypatch.setitem(sys.modules, "microexpr.nn.scan_triton", fake_kernels(available, calls))
    monkeypatch.setitem(scan._KERNELS, "meta", scan._KERNELS["cuda"])
    assert backends("meta") == ["reference", "blocked", *["triton"] * available]
    values, orders = scan_inputs(dtype=torch.bfloat16)
    meta = [value.to("meta") for value in values]
    assert window_scan(*meta, orders.to("meta")).dtype == torch.bfloat16
    assert calls == ["torch.bfloat16"] * available  # nothing converted on the way in
    with pytest.raises(UserError, match="does not serve" if available else "unusable"):
        window_scan(*values, orders, backend="triton")
    assert backends("xpu") == ["reference", "blocked"]


def test_a_mixer_compiles_in_one_graph() -> None:
    mixer = Mixer(32, cut(3, 3, 3), "ab")
    x = torch.randn(2, 9, 32)
    compiled = torch.compile(mixer, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x), mixer(x))


def test_shapes_that_do_not_fit() -> None:
    values, orders = scan_inputs()
    u, dt, A, B, C, D, bias = values
    with pytest.raises(ValueError, match=r"C .* does not fit"):
        window_scan(u, dt, A, B, C[..., :2], D, bias, orders)
    with pytest.raises(ValueError, match="orders must be"):
        window_scan(*values, orders[:, :-1])
    with pytest.raises(ValueError, match=r"orders .* does not fit"):
        window_scan(*values, orders[:2])
    with pytest.raises(ValueError, match=r"weight .* does not fit"):
        order_conv(u[:, 0], torch.randn(2, 2, 3), orders, summed=True)
