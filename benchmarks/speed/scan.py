"""The four-order window scan and its convolution: native against the reference and the fallback.

    python benchmarks/speed/scan.py [--json] [--rounds 5] [--quick]

Shapes are those of MERba-B at 224 x 224 and batch 8. The reference is the published recurrence,
which slices its big tensors; `unbind` is the same recurrence with its slices taken once, which
spares autograd the most. Milliseconds, one thread; `floor` reads all inputs once; `x reference` is
how many times longer the reference takes than the fastest backend. `error` is the largest
difference from float64, relative to the largest value, over results and gradients.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from timing import interleaved, show, single_thread
from torch import Tensor

from microexpr.nn import scan_reference
from microexpr.nn.orders import scan_orders
from microexpr.nn.scan import backends, order_conv, window_scan

STAGES = {"stage 2": (128, 128), "stage 3": (32, 256), "stage 4": (8, 512)}  # windows, channels
QUICK = {"stage 4": STAGES["stage 4"]}
SIDE, STATES = 7, 8
SLOWER = ("reference", "unbind", "blocked")
COLUMNS = (*SLOWER, "native", "floor")
ORDERS = scan_orders(("a", "b", "c", "d"), SIDE, SIDE)

Function = Callable[..., Tensor]


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


def unbind(*arguments: Tensor) -> Tensor:
    """`window_scan` by the reference with `unbound_scan` inside."""
    with patch.object(scan_reference, "_selective_scan", unbound_scan):
        return window_scan(*arguments, backend="reference")


def arguments(windows: int, channels: int) -> dict[str, tuple[Tensor, ...]]:
    """What a mixer hands to each of the two functions, orders and flags left out."""
    torch.manual_seed(0)
    w, k, t, d, n = windows, len(ORDERS), SIDE * SIDE, channels, STATES
    u, dt, B, C = (torch.randn(w, k, t, size) for size in (d, d, n, n))
    A = -torch.arange(1.0, n + 1).repeat(k, d, 1)
    scan = (u, dt, A, B, C, torch.ones(k, d), torch.randn(k, d))
    return {"scan": scan, "convolution": (torch.randn(w, t, d), torch.randn(k, d, 3))}


def rivals(what: str) -> dict[str, Function]:
    """Every backend's function of the tensors that carry gradients."""
    if what == "convolution":
        return {
            name: lambda *a, name=name: order_conv(*a, ORDERS, summed=False, backend=name)
            for name in backends()
        }
    found: dict[str, Function] = {
        name: lambda *a, name=name: window_scan(*a, ORDERS, backend=name) for name in backends()
    }
    return found | {"unbind": lambda *a: unbind(*a, ORDERS)}


def both_ways(function: Function, leaves: list[Tensor], grad: Tensor) -> list[Tensor]:
    """The result and the gradients of all arguments."""
    out = function(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


def error(function: Function, reference: Function, values: tuple[Tensor, ...]) -> float:
    """Of results and gradients, against the reference in float64."""
    grad = torch.ones_like(function(*values))
    found = both_ways(function, [t.clone().requires_grad_() for t in values], grad)
    doubles = [t.double().requires_grad_() for t in values]
    exact = both_ways(reference, doubles, grad.double())
    pairs = zip(found, exact, strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def measure(stage: str, what: str, values: tuple[Tensor, ...], rounds: int) -> list[dict[str, Any]]:
    """Two rows: forward alone, and forward with backward."""
    functions = rivals(what)
    leaves = [t.clone().requires_grad_() for t in values]
    grad = torch.ones_like(functions["blocked"](*values))

    def forward(function: Function) -> Callable[[], object]:
        return torch.no_grad()(lambda: function(*values))

    def training(function: Function) -> Callable[[], object]:
        return lambda: both_ways(function, leaves, grad)

    floor = {"floor": lambda: [t.sum() for t in values]}
    fastest, rows = backends()[-1], []
    for name, way in (("forward", forward), ("forward + backward", training)):
        calls = {rival: way(function) for rival, function in functions.items()}
        times = interleaved({**calls, **floor}, rounds)
        row: dict[str, Any] = {"what": f"{stage} {what}", "way": name}
        row |= {rival: times.get(rival) for rival in COLUMNS}
        ratios = {r: times[r] / times[fastest] if r in times else None for r in SLOWER}
        rows.append(row | {f"x {rival}": ratio for rival, ratio in ratios.items()})
    wrong = error(functions[fastest], functions["reference"], values)
    return [row | {"error": wrong} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="stage 4 alone")
    chosen = parser.parse_args()
    single_thread()
    rows = []
    for stage, shape in (QUICK if chosen.quick else STAGES).items():
        for what, values in arguments(*shape).items():
            rows += measure(stage, what, values, chosen.rounds)
    show("scan", rows, chosen.json)


if __name__ == "__main__":
    main()
