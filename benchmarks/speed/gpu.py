"""The window scan on a GPU: against the memory it must move, and against a naive composition.

    python benchmarks/speed/gpu.py [--rounds 9] [--dtype bfloat16] [--out gpu.json]

Shapes are those of MERba-B at 224 x 224 and batch 128. `floor` is the time to read every argument
once and write every result once, at the bandwidth of a large copy measured in the same run. `naive`
is the published composition: gathers, the plain recurrence, scatters, a sum. `per order` has the
same gathers and sums around one kernel for each order, in float32. Milliseconds by the GPU's own
clock, medians, rivals in turn; every rival is captured as a CUDA graph first, so that Python's
launches do not count. Target: at most twice the floor, and five times faster than the composition.
Without a GPU it says so.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from microexpr.nn.orders import scan_orders
from microexpr.nn.scan import backends, window_scan
from microexpr.speed.figures import Figure, Measured, render, write_measured
from microexpr.speed.scan import SIDE, scan_values
from microexpr.speed.timing import machine

STAGES = {"stage 2": (2048, 128), "stage 3": (512, 256), "stage 4": (128, 512)}  # windows, channels
COPIED = 2**28  # bytes
SHORTEST = 5.0  # milliseconds a turn lasts at least
OVER_FLOOR, OVER_NAIVE, ERROR = 2.0, 5.0, 1e-6

Call = Callable[[], object]
Clock = Callable[[Call, int], float]  # milliseconds of so many calls
Values = list[Tensor]


def by_events(call: Call, times: int) -> float:
    """Milliseconds on the GPU."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in "ab")
    start.record()
    for _ in range(times):
        call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end))


def captured(call: Call) -> Call:
    """The call as a CUDA graph; without a GPU, the call."""
    if not torch.cuda.is_available():
        return call
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):  # compiles, and checks the orders, which waits for the GPU
            call()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def in_turns(rivals: Mapping[str, Call], rounds: int, clock: Clock) -> dict[str, float]:
    """Median milliseconds of one call of each."""
    calls = {name: captured(call) for name, call in rivals.items()}
    counts = {}
    for name, call in calls.items():
        clock(call, 1)
        counts[name] = max(1, round(SHORTEST / max(clock(call, 1), 1e-3)))
    turns: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            turns[name].append(clock(call, counts[name]) / counts[name])
    return {name: statistics.median(times) for name, times in turns.items()}


def arguments(
    windows: int, channels: int, dtype: torch.dtype, device: str
) -> tuple[Values, Tensor]:
    """What a mixer hands over: its activations in `dtype`, its parameters in float32."""
    orders = scan_orders(("a", "b", "c", "d"), SIDE, SIDE).to(device)
    u, dt, A, B, C, *rest = (value.to(device) for value in scan_values(windows, channels, 4))
    u, dt, B, C = (value.to(dtype) for value in (u, dt, B, C))
    return [u, dt, A, B, C, *rest], orders


def per_order(values: Values, orders: Tensor, row: Tensor, backend: str) -> Tensor:
    """Each order by itself: its tokens gathered, scanned in a row, and put back."""
    u, dt, A, B, C, D, bias = values
    total = torch.zeros_like(u[:, 0], dtype=torch.float32)
    for j, order in enumerate(orders):
        walks = (value[:, j : j + 1, order].float() for value in (u, dt, B, C))
        x, raw, b, c = walks
        own = (parameter[j : j + 1] for parameter in (A, D, bias))
        a, skip, offset = own
        y = window_scan(x, raw, a, b, c, skip, offset, row, backend=backend)
        total = total + y[:, order.argsort()]
    return total.to(u.dtype)


def rivals(values: Values, orders: Tensor, fast: str) -> dict[str, Callable[..., Tensor]]:
    """Functions of the seven tensors."""
    row = torch.arange(orders.shape[1], device=orders.device)[None]
    return {
        fast: lambda *v: window_scan(*v, orders, backend=fast),
        "naive": lambda *v: window_scan(*v, orders, backend="reference"),
        "per order": lambda *v: per_order(list(v), orders, row, fast),
    }


def moved(values: Values, both: bool) -> int:
    """Bytes that must be read and written, at least: once forward, and once more backward."""
    sizes = [value.numel() * value.element_size() for value in values]
    result = sizes[0] // values[0].shape[1]
    forward = sum(sizes) + result
    return forward + (2 * sum(sizes) + result if both else 0)


def bandwidth(device: str, rounds: int, clock: Clock, size: int = COPIED) -> float:
    """Bytes a millisecond, read and written, of a copy."""
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / in_turns({"copy": lambda: target.copy_(source)}, rounds, clock)["copy"]


def both_ways(function: Callable[..., Tensor], values: Values, grad: Tensor) -> list[Tensor]:
    """The result and all gradients."""
    leaves = [value.detach().requires_grad_() for value in values]
    out = function(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


def error(values: Values, orders: Tensor, fast: str) -> float:
    """Of results and gradients from float64, relative to the largest; 32 windows, float32."""
    few = [v[:32].float() if v.shape[0] > 4 else v for v in values]
    functions = rivals(few, orders, fast)
    grad = torch.ones_like(few[0][:, 0])
    found = both_ways(functions[fast], few, grad)
    exact = both_ways(functions["naive"], [v.double() for v in few], grad.double())
    pairs = zip(found, exact, strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def figures(
    stages: Mapping[str, tuple[int, int]],
    rounds: int,
    dtype: torch.dtype,
    device: str = "cuda",
    fast: str = "triton",
    clock: Clock = by_events,
) -> Iterator[Figure]:
    """Target 6, forward, and beside it forward with backward."""
    speed = bandwidth(device, rounds, clock)
    yield Figure("bandwidth", "copy of 256 MiB", speed / 1e6, "GB/s")
    for stage, shape in stages.items():
        values, orders = arguments(*shape, dtype, device)
        functions = rivals(values, orders, fast)
        grad = torch.ones_like(values[0][:, 0])
        yield Figure(
            "error",
            f"{stage}: {fast} from float64",
            error(values, orders, fast),
            "of the largest",
            most=ERROR,
        )
        for way, both in (("forward", False), ("forward + backward", True)):
            calls: dict[str, Call] = {}
            for name, function in functions.items():
                calls[name] = _call(function, values, grad if both else None)
            times = in_turns(calls, rounds, clock)
            times["floor"] = moved(values, both) / speed
            bounds = {} if both else {"floor": OVER_FLOOR, "naive": OVER_NAIVE}
            yield Figure(
                "scan",
                f"{stage}, {way}: {fast} over floor",
                times[fast] / times["floor"],
                most=bounds.get("floor"),
                times=times,
            )
            for name in ("naive", "per order"):
                yield Figure(
                    "scan",
                    f"{stage}, {way}: {name} over {fast}",
                    times[name] / times[fast],
                    least=bounds.get(name),
                )


def _call(function: Callable[..., Tensor], values: Values, grad: Tensor | None) -> Call:
    if grad is not None:
        return lambda: both_ways(function, values, grad)
    return torch.no_grad()(lambda: function(*values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    chosen = parser.parse_args()
    if "triton" not in backends("cuda"):
        why = "Triton is not installed" if torch.cuda.is_available() else "there is no CUDA device"
        print(f"nothing measured: {why} here")
        return
    card = torch.cuda.get_device_properties(0)
    about = machine() | {"gpu": card.name, "multiprocessors": card.multi_processor_count}
    settings = {"rounds": chosen.rounds, "dtype": chosen.dtype}
    found = tuple(figures(STAGES, chosen.rounds, getattr(torch, chosen.dtype)))
    measured = Measured(about, settings, found)
    Console(width=160).print(render(measured))
    if chosen.out:
        write_measured(measured, chosen.out)


if __name__ == "__main__":
    main()
