"""The four-order window scan and its convolution: native against the reference and the fallback.

Shapes are those of MERba-B at 224 x 224 and batch 8. The reference is the published recurrence,
which slices its big tensors; `unbind` is the same recurrence with its slices taken once, which
spares autograd the most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from microexpr.nn import scan_reference
from microexpr.nn.orders import scan_orders
from microexpr.nn.scan import backends, order_conv, window_scan
from microexpr.speed.figures import Figure
from microexpr.speed.timing import interleaved

STAGES = {"stage 2": (128, 128), "stage 3": (32, 256), "stage 4": (8, 512)}  # windows, channels
QUICK = {"stage 4": STAGES["stage 4"]}
SIDE, STATES = 7, 8
FORWARD = {"stage 2": 30.0, "stage 3": 15.0, "stage 4": 15.0}  # reference over native, at least
BOTH = 40.0
FALLBACK = {"forward": 2.5, "forward + backward": 5.0}
ERROR = 1e-6
EXTREME = 200.0  # step sizes before softplus
MIB = 2**20

Function = Callable[..., Tensor]
SCAN: Function = window_scan
CONVOLUTION: Function = order_conv
Values = tuple[Tensor, ...]


def scan_figures(quick: bool, rounds: int) -> Iterator[Figure]:
    """Targets 1 and 2, and what stands beside them."""
    orders = scan_orders(("a", "b", "c", "d"), SIDE, SIDE)
    for stage, (windows, channels) in (QUICK if quick else STAGES).items():
        values = scan_values(windows, channels, len(orders))
        functions = _scans(orders)
        yield from _times(f"{stage} scan", functions, values, rounds, FORWARD[stage])
        yield from _errors(stage, functions, values)
        yield from _kept(stage, functions, values)
        tokens, taps = torch.randn(windows, SIDE**2, channels), torch.randn(4, channels, 3)
        yield from _times(f"{stage} convolution", _convs(orders), (tokens, taps), rounds, None)


def scan_values(windows: int, channels: int, orders: int) -> Values:
    """What a mixer hands to the scan, drawn anew."""
    torch.manual_seed(0)
    w, k, t, d, n = windows, orders, SIDE * SIDE, channels, STATES
    u, dt, B, C = (torch.randn(w, k, t, size) for size in (d, d, n, n))
    A = -torch.arange(1.0, n + 1).repeat(k, d, 1)
    return (u, dt, A, B, C, torch.ones(k, d), torch.randn(k, d))


def _there() -> list[str]:
    return [name for name in ("reference", "blocked", "native") if name in backends()]


def _scans(orders: Tensor) -> dict[str, Function]:
    """Every backend's function of the tensors that carry gradients."""

    def by(name: str) -> Function:
        return lambda *values: SCAN(*values, orders, backend=name)

    def unbind(*values: Tensor) -> Tensor:
        with patch.object(scan_reference, "_selective_scan", unbound_scan):
            return SCAN(*values, orders, backend="reference")

    return {name: by(name) for name in _there()} | {"unbind": unbind}


def _convs(orders: Tensor) -> dict[str, Function]:
    def by(name: str) -> Function:
        return lambda x, taps: CONVOLUTION(x, taps, orders, summed=False, backend=name)

    return {name: by(name) for name in _there()}


def unbound_scan(
    u: Tensor, dt: Tensor, B: Tensor, C: Tensor, A: Tensor, D: Tensor, dt_bias: Tensor
) -> Tensor:
    """The reference's recurrence along one order with `unbind` in place of slices."""
    delta = F.softplus(dt + dt_bias[:, None])
    decay = torch.exp(torch.einsum("wdl,dn->wdln", delta, A)).unbind(2)
    inputs = torch.einsum("wdl,wnl,wdl->wdln", delta, B, u).unbind(2)
    h = torch.zeros_like(decay[0])
    ys = []
    for a, b, c in zip(decay, inputs, C.unbind(2), strict=True):
        h = a * h + b
        ys.append(torch.einsum("wdn,wn->wd", h, c))
    return torch.stack(ys, dim=2) + u * D[:, None]


def _both_ways(function: Function, leaves: list[Tensor], grad: Tensor) -> list[Tensor]:
    """The result and the gradients of all arguments."""
    out = function(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


def _times(
    what: str, functions: dict[str, Function], values: Values, rounds: int, forward: float | None
) -> Iterator[Figure]:
    """Ratios of the reference to each backend; targets are the scan's, the convolution has none."""
    leaves = [t.clone().requires_grad_() for t in values]
    grad = torch.ones_like(functions["blocked"](*values))
    ways: dict[str, Callable[[Function], Callable[[], object]]] = {
        "forward": lambda f: torch.no_grad()(lambda: f(*values)),
        "forward + backward": lambda f: lambda: _both_ways(f, leaves, grad),
    }
    for way, call in ways.items():
        calls = {name: call(function) for name, function in functions.items()}
        reading = {"reading": lambda: [t.sum() for t in values]}
        times = interleaved({**calls, **reading}, rounds)
        scan = forward is not None
        bounds = {"native": forward if way == "forward" else BOTH, "blocked": FALLBACK[way]}
        pairs = [("reference", "native"), ("unbind", "native"), ("reference", "blocked")]
        for slow, fast in pairs + [("native", "reading")] * (way == "forward"):
            if slow in times and fast in times:
                least = bounds.get(fast) if scan and slow == "reference" else None
                yield _ratio(
                    "scan" if scan else "convolution", f"{what}, {way}", slow, fast, times, least
                )


def _ratio(
    table: str, what: str, slow: str, fast: str, times: dict[str, float], least: float | None
) -> Figure:
    pair = {slow: times[slow], fast: times[fast]}
    says = f"{what}: {slow} over {fast}"
    return Figure(table, says, times[slow] / times[fast], "x", least, None, pair)


def _errors(stage: str, functions: dict[str, Function], values: Values) -> Iterator[Figure]:
    """Of results and gradients, the largest difference from float64 over the largest value."""
    huge = list(values)
    huge[1] = huge[1] * EXTREME
    for kind, given in (("usual", values), (f"up to {EXTREME:g} and more", tuple(huge))):
        leaves = [t.double().requires_grad_() for t in given]
        grad = torch.ones_like(functions["blocked"](*given))
        exact = _both_ways(functions["reference"], leaves, grad.double())
        for name in ("native", "blocked"):
            if name in functions:
                found = _both_ways(
                    functions[name], [t.clone().requires_grad_() for t in given], grad
                )
                pairs = zip(found, exact, strict=True)
                worst = max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)
                what = f"{stage} scan, steps {kind}: {name} from float64"
                yield Figure("error", what, worst, "of the largest", None, ERROR)


def _kept(stage: str, functions: dict[str, Function], values: Values) -> Iterator[Figure]:
    """What autograd keeps for the backward pass."""
    for name in ("reference", "unbind", "blocked", "native"):
        if name in functions:
            seen: dict[int, Any] = {}

            def keep(t: Tensor, seen: dict[int, Any] = seen) -> Tensor:
                seen[t.untyped_storage().data_ptr()] = t.untyped_storage()
                return t

            with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
                out = functions[name](*(t.clone().requires_grad_() for t in values))
            size = sum(storage.nbytes() for storage in seen.values()) / MIB
            del out
            yield Figure("memory", f"{stage} scan: kept for backward by {name}", size, "MiB")
