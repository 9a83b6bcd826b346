"""The GPU kernels against float64 loops: on a GPU, or by Triton's interpreter on the CPU.

Without a GPU, `test_in_the_interpreter` runs the cases marked ``gpu`` of this file in a process of
its own (Triton reads TRITON_INTERPRET when it is imported), and `test_kernels_compile` takes every
kernel down to machine code for an H100 or H200, for which no such card is needed.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.nn import scan_triton
from microexpr.nn.scan_triton import order_conv, window_scan

triton = pytest.importorskip("triton", reason="Triton is not installed")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
Inputs = tuple[Tensor, ...]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def device() -> str:
    if INTERPRETED:
        return "cpu"
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device (test_in_the_interpreter runs this without one)")
    return "cuda"


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
            out[:, t] = pre * torch.sigmoid(pre)
        outs.append(out)
    return torch.stack(outs, 1).sum(1) if summed else torch.stack(outs, 1)


def scan_loop(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor, orders: Tensor
) -> Tensor:
    """The definition, one token at a time."""
    w, _, tokens, d = u.shape
    total = torch.zeros(w, tokens, d, dtype=u.dtype)
    for j, order in enumerate(orders.tolist()):
        a, skip, offset = (p[j if len(p) > 1 else 0] for p in (A, D, bias))
        delta = torch.logaddexp(dt[:, j] + offset, torch.zeros((), dtype=u.dtype))
        h = torch.zeros(w, d, A.shape[2], dtype=u.dtype)
        y = torch.zeros(w, tokens, d, dtype=u.dtype)
        for t in order:
            step = delta[:, t, :, None]
            h = torch.exp(step * a) * h + step * u[:, j, t, :, None] * B[:, j, t, None]
            y[:, t] = (h * C[:, j, t, None]).sum(-1) + skip * u[:, j, t]
        total = total + y
    return total


def conv_inputs(
    w: int = 3, k: int = 4, t: int = 6, d: int = 37, shared: bool = False
) -> tuple[Inputs, Tensor]:
    orders = torch.stack([torch.randperm(t) for _ in range(k)])
    return (torch.randn(w, t, d), torch.randn(1 if shared else k, d, 3)), orders


def scan_inputs(
    w: int = 2, k: int = 2, t: int = 6, d: int = 37, n: int = 8, shared: bool = False
) -> tuple[Inputs, Tensor]:
    p = 1 if shared else k
    u, dt, B, C = (torch.randn(w, k, t, size) for size in (d, d, n, n))
    A = -torch.exp(torch.randn(p, d, n))
    orders = torch.stack([torch.randperm(t) for _ in range(k)])
    return (u, dt, A, B, C, torch.randn(p, d), torch.randn(p, d)), orders


def gradients(
    function: Callable[..., Tensor], inputs: Inputs, *rest: Any, device: str = "cpu"
) -> list[Tensor]:
    """The value and the gradients of all inputs along a direction that the seed fixes."""
    leaves = [t.detach().clone().to(device).requires_grad_() for t in inputs]
    rest = tuple(t.to(device) if isinstance(t, Tensor) else t for t in rest)
    out = function(*leaves, *rest)
    torch.manual_seed(1)
    direction = torch.randn(out.shape).to(out)
    return [t.detach().cpu() for t in (out, *torch.autograd.grad(out, leaves, direction))]


def compare(
    function: Callable[..., Tensor],
    twin: Callable[..., Tensor],
    inputs: Inputs,
    *rest: Any,
    device: str,
) -> None:
    """Values and gradients within 1e-6 of the float64 twin, relative to the largest value or 1."""
    found = gradients(function, inputs, *rest, device=device)
    expected = gradients(twin, tuple(t.double() for t in inputs), *rest)
    for got, want in zip(found, expected, strict=True):
        assert got.shape == want.shape
        assert torch.isfinite(got).all()
        assert (got - want).abs().max() <= 1e-6 * want.abs().max().clamp(min=1)


SHAPES = [
    {"w": 1, "k": 1, "t": 1, "d": 1},
    {"w": 2, "k": 3, "t": 5, "d": 24},
    {"w": 2, "k": 2, "t": 3, "d": 140, "shared": True},  # more than one block of channels
]


@pytest.mark.gpu
@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_convolution_equals_the_loop(device: str, shape: dict[str, int], summed: bool) -> None:
    inputs, orders = conv_inputs(**shape)
    compare(order_conv, conv_loop, inputs, orders, summed, device=device)


@pytest.mark.gpu
@pytest.mark.parametrize(("n", "shape"), [*zip((1, 8, 3), SHAPES, strict=True)])
def test_scan_equals_the_loop(device: str, shape: dict[str, int], n: int) -> None:
    inputs, orders = scan_inputs(**shape, n=n)
    compare(window_scan, scan_loop, inputs, orders, device=device)


@pytest.mark.slow
@pytest.mark.gpu
def test_a_window_of_the_paper(device: str) -> None:
    inputs, orders = scan_inputs(w=1, k=1, t=49, d=32)
    compare(window_scan, scan_loop, inputs, orders, device=device)


@pytest.mark.gpu
def test_orders_are_added_up_in_one_program(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With many windows a program walks all orders; with few, each order has its own."""
    monkeypatch.setattr(scan_triton, "_processors", lambda _: 0.25)
    monkeypatch.setattr(scan_triton, "_groups", lambda windows, *_: windows)
    inputs, orders = scan_inputs(w=2, k=3, t=3, d=8, n=2)
    compare(window_scan, scan_loop, inputs, orders, device=device)


@pytest.mark.gpu
def test_extreme_steps_stay_finite_and_exact(device: str) -> None:
    (u, dt, *rest), orders = scan_inputs(w=1, k=1, t=10)
    dt = 100 * dt
    assert dt.abs().max() > 200
    compare(window_scan, scan_loop, (u, dt, *rest), orders, device=device)


@pytest.mark.gpu
def test_tiny_steps_keep_their_digits(device: str) -> None:
    """softplus(-20) is 2e-9: 1 + exp(-20) is 1 in float32."""
    (u, _, *rest), orders = scan_inputs(k=1, d=4)
    dt = torch.full_like(u, -20.0)
    rest[-1] = torch.zeros_like(rest[-1])
    rest[-2] = torch.zeros_like(rest[-2])  # D: nothing but the state
    expected = scan_loop(*(t.double() for t in (u, dt, *rest)), orders)
    found = window_scan(*(t.to(device) for t in (u, dt, *rest, orders))).cpu()
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()


@pytest.mark.gpu
def test_large_preactivations_stay_finite_and_exact(device: str) -> None:
    (x, weight), orders = conv_inputs()
    compare(order_conv, conv_loop, (100 * x, weight), orders, False, device=device)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("function", "make", "rest"), [(window_scan, scan_inputs, ()), (order_conv, conv_inputs, (1,))]
)
def test_half_precision_is_computed_in_float32(
    device: str, function: Callable[..., Tensor], make: Callable, rest: Inputs, dtype: torch.dtype
) -> None:
    values, orders = make(w=1, k=2, t=3, d=8)
    halves = tuple(t.to(dtype) for t in values)
    found = gradients(function, halves, orders, *rest, device=device)
    torch.manual_seed(1)
    direction = torch.randn(found[0].shape).to(dtype).float().to(device)
    leaves = [t.float().to(device).requires_grad_() for t in halves]
    out = function(*leaves, orders.to(device), *rest)
    expected = [out, *torch.autograd.grad(out, leaves, direction)]
    for got, want in zip(found, expected, strict=True):
        assert got.dtype == dtype
        torch.testing.assert_close(got, want.cpu().to(dtype))


@pytest.mark.gpu
def test_the_same_call_gives_the_same_bits(device: str) -> None:
    for function, make, rest in ((window_scan, scan_inputs, ()), (order_conv, conv_inputs, (1,))):
        inputs, orders = make(w=2, k=1, t=3, d=33)
        first, second = (gradients(function, inputs, orders, *rest, device=device) for _ in "ab")
        assert all(map(torch.equal, first, second))


@pytest.mark.gpu
def test_rows_may_lie_apart(device: str) -> None:
    """Slices of wider rows are read where they lie; other strides are copied."""
    inputs, orders = scan_inputs(w=2, k=1, t=3, d=8)
    values, orders = [t.to(device) for t in inputs], orders.to(device)
    expected = window_scan(*values, orders)
    wide = [torch.cat([t, t], -1)[..., : t.shape[-1]] for t in values]
    assert scan_triton._rows(wide[0])[0] is wide[0]
    assert torch.equal(window_scan(*wide, orders), expected)
    turned = [t.transpose(0, -1).contiguous().transpose(0, -1) for t in values]
    assert torch.equal(window_scan(*turned, orders.t().contiguous().t()), expected)


class Net(nn.Module):
    """Both operators, one after the other."""

    def __init__(self, device: str) -> None:
        super().__init__()
        (x, weight), orders = conv_inputs(w=1, k=2, t=3, d=4)
        (_, _, *rest), _ = scan_inputs(w=1, k=2, t=3, d=4, n=2)
        self.rest = nn.ParameterList(t.to(device) for t in rest)
        self.weight = nn.Parameter(weight.to(device))
        self.x, self.orders = x.to(device), orders.to(device)

    def forward(self, x: Tensor) -> Tensor:
        u = order_conv(x, self.weight, self.orders, False)
        return window_scan(u, u, *self.rest, self.orders)


@pytest.mark.slow
@pytest.mark.gpu
def test_compiles_without_a_graph_break_and_exports(device: str) -> None:
    net = Net(device)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    expected, found = net(net.x), compiled(net.x)
    assert torch.equal(found, expected)
    for got, want in zip(
        torch.autograd.grad(found.sum(), list(net.parameters())),
        torch.autograd.grad(expected.sum(), list(net.parameters())),
        strict=True,
    ):
        assert torch.equal(got, want)
    program = torch.export.export(net, (net.x,))
    assert torch.equal(program.module()(net.x), net(net.x))


@pytest.mark.gpu
@pytest.mark.parametrize("row", [[0, 1, 1], [0, 1, 3], [0, 1, -1], [2**40, 1, 0]])
def test_an_order_that_is_no_permutation_is_refused(device: str, row: list[int]) -> None:
    orders = torch.tensor([[0, 1, 2], row], device=device)
    (x, weight), _ = conv_inputs(k=2, t=3)
    with pytest.raises(UserError, match=r"^orders"):
        order_conv(x.to(device), weight.to(device), orders, True)
    values, _ = scan_inputs(k=2, t=3)
    with pytest.raises(UserError, match=r"^orders"):
        window_scan(*(t.to(device) for t in values), orders)


@pytest.mark.gpu
def test_an_order_changed_in_place_is_looked_at_again(device: str) -> None:
    (x, weight), orders = conv_inputs(w=1, k=1, t=3, d=2)
    x, weight, orders = x.to(device), weight.to(device), orders.to(device)
    order_conv(x, weight, orders, True)
    orders[0, 0] = 7
    with pytest.raises(UserError, match=r"^orders"):
        order_conv(x, weight, orders, True)


sizes = st.lists(st.integers(0, 3), max_size=4)
dtypes = st.sampled_from([torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.bool])
tensors = st.builds(lambda shape, dtype: torch.zeros(shape, dtype=dtype), sizes, dtypes)


@pytest.mark.slow
@pytest.mark.gpu
@settings(deadline=None, max_examples=40)
@given(st.lists(tensors, min_size=8, max_size=8), st.data())
def test_anything_gives_a_result_or_a_user_error(wrong: list[Tensor], data: st.DataObject) -> None:
    """Arguments of right calls, some of them replaced by anything."""
    if not (INTERPRETED or torch.cuda.is_available()):
        pytest.skip("no CUDA device (test_in_the_interpreter runs this without one)")
    device = "cpu" if INTERPRETED else "cuda"
    keep = data.draw(st.lists(st.booleans(), min_size=8, max_size=8))
    scan, orders = scan_inputs(*(data.draw(st.integers(1, 3)) for _ in range(5)))

    mixed = [a if kept else b for a, b, kept in zip((*scan, orders), wrong, keep, strict=True)]
    u, *others = (t.to(device) for t in mixed)
    with contextlib.suppress(UserError):
        assert window_scan(u, *others).shape == (u.shape[0], *u.shape[2:])


@pytest.mark.gpu
def test_mixers_take_the_kernels(device: str) -> None:
    """On a GPU `auto` is Triton; the mixer gives what it gives with the reference."""
    if INTERPRETED:
        pytest.skip("on a CPU `auto` is another backend")
    from microexpr.nn.mixers import Mixer
    from microexpr.nn.scan import backends, use_backend
    from microexpr.nn.windows import cut

    assert backends("cuda")[-1] == "triton"
    mixer = Mixer(32, cut(7, 7, 7), "abcd").to(device)
    x = torch.randn(2, 49, 32, device=device)
    with use_backend("reference"):
        expected = mixer(x)
    torch.testing.assert_close(mixer(x), expected, rtol=1e-4, atol=1e-5)


# ---- without a GPU ----


def in_the_interpreter(which: str) -> int:
    """Runs the cases of this file on the CPU; how many passed."""
    if INTERPRETED:
        pytest.skip("this is the interpreter")
    call = [sys.executable, "-m", "pytest", "-q", "-x", "-m", which, "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [*call, __file__],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
    found = re.search(r"(\d+) passed", ran.stdout)
    assert found, ran.stdout[-2000:]
    return int(found[1])


def test_in_the_interpreter() -> None:
    assert in_the_interpreter("gpu and not slow") >= 20


@pytest.mark.slow
def test_long_cases_in_the_interpreter() -> None:
    assert in_the_interpreter("gpu and slow") >= 3


class Card:
    """Enough of a driver to compile for an H100 or H200 that is not there."""

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Kernels by name, compiled for the very arguments of a call instead of launched."""
    if INTERPRETED:
        pytest.skip("the interpreter compiles nothing")
    found: dict[str, Any] = {}
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(triton.runtime.driver, "_active", Card())

    def launch(name: str, grid: Any, options: Any, arguments: Any) -> None:
        found[name] = scan_triton._kernel(name).warmup(*arguments, grid=grid, **options)

    monkeypatch.setattr(scan_triton, "_start", launch)
    return found


def resources(kernel: Any, folder: Path) -> dict[str, int]:
    """What the machine code asks for: registers (REG), bytes of stack (STACK) and more."""
    binary = folder / "kernel.cubin"
    binary.write_bytes(kernel.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    call = [tool, "--dump-resource-usage", binary]
    shown = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    return {name: int(value) for name, value in re.findall(r"\b([A-Z]+):(\d+)", shown)}


CALLS = [
    pytest.param(4, 49, 128, 8, torch.bfloat16, id="a stage of MERba-B"),
    pytest.param(1, 1, 1, 1, torch.float32, id="ones"),
    pytest.param(3, 16, 24, 5, torch.float16, id="odd"),
]


@pytest.mark.parametrize(("k", "t", "d", "n", "dtype"), CALLS)
def test_kernels_compile(
    compiled: dict[str, Any],
    tmp_path: Path,
    k: int,
    t: int,
    d: int,
    n: int,
    dtype: torch.dtype,
) -> None:
    """Down to machine code; walking forward, a thread keeps to itself: no shared memory."""
    (x, weight), orders = conv_inputs(w=2, k=k, t=t, d=d, shared=True)
    values, _ = scan_inputs(w=2, k=k, t=t, d=d, n=n)
    u, dt, A, B, C, D, bias = values
    x, u, dt, B, C = (t.to(dtype) for t in (x, u, dt, B, C))
    projected = torch.cat([torch.zeros(*B.shape[:3], 16, dtype=dtype), B, C], 3)
    _, B, C = projected.split((16, n, n), 3)  # as a mixer does
    scan_triton._conv(x, weight, orders, True)
    scan_triton._conv_backward(x, x, weight, orders, True)
    scan_triton._scan(u, dt, A, B, C, D, bias, orders)
    scan_triton._scan_backward(x, u, dt, A, B, C, D, bias, orders)
    assert set(compiled) == {"conv_forward", "conv_backward", "scan_forward", "scan_backward"}
    for kernel in compiled.values():
        assert kernel.asm["cubin"].startswith(b"\x7fELF")
        assert ".target sm_90" in kernel.asm["ptx"]
        assert not re.search(r"\b(atom|red)\.", kernel.asm["ptx"])
    if d == 128:
        for name in ("conv_forward", "conv_backward", "scan_forward"):
            assert compiled[name].metadata.shared == 0
        assert "ld.global.v4" in compiled["scan_forward"].asm["ptx"]  # B and C, eight at once
        for name, kernel in compiled.items():
            assert resources(kernel, tmp_path)["STACK"] == 0, name  # no register is spilt
        assert resources(compiled["scan_forward"], tmp_path)["REG"] <= 64  # 8 programs at a time
