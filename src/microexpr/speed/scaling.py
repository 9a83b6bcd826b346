"""How time grows with batch, picture and threads, and what memory a net takes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import nn

from microexpr.nn.orders import scan_orders
from microexpr.nn.scan import backends, use_backend, window_scan
from microexpr.preprocess.tvl1 import native_available, tvl1_pairs
from microexpr.speed.figures import Figure
from microexpr.speed.flow import pair
from microexpr.speed.nets import BATCH, CLASSES, merba, pictures
from microexpr.speed.scan import QUICK, SIDE, STAGES, scan_values
from microexpr.speed.timing import interleaved, threads

SIZE = "tiny"
BATCHES = (1, 2, 4, 8, 16, 32)
IMAGES = (56, 112, 168, 224)
PAIRS = 4
MEMORY = (("tiny", "inference"), ("tiny", "training"), ("base", "inference"))
STATUS = Path("/proc/self/status")


@torch.no_grad()
def scaling_figures(quick: bool, rounds: int) -> Iterator[Figure]:
    """Batch and picture by processor time, threads by the clock."""
    net = merba(SIZE)
    name = f"MERba-{SIZE}"
    calls = {f"batch {b}": partial(net, pictures(net, b)) for b in BATCHES}
    times = interleaved(calls, rounds)
    for batch in BATCHES:
        each = {key: times[key] / b for key, b in (("batch 1", 1), (f"batch {batch}", batch))}
        ratio = each[f"batch {batch}"] / each["batch 1"]
        what = f"{name} {net.eats.size}: a picture of a batch of {batch} over one alone"
        yield Figure("scaling", what, ratio, "x", times=each)
    nets = {f"{side} px": merba(SIZE, image=side) for side in IMAGES}
    times = interleaved(
        {key: partial(sized, pictures(sized, BATCH)) for key, sized in nets.items()}, rounds
    )
    for side in IMAGES:
        pair_of = {key: times[key] for key in (f"{IMAGES[0]} px", f"{side} px")}
        by_pixel = pair_of[f"{side} px"] / pair_of[f"{IMAGES[0]} px"] * (IMAGES[0] / side) ** 2
        what = f"{name}: a pixel at {side} x {side} over one at {IMAGES[0]} x {IMAGES[0]}"
        yield Figure("scaling", what, by_pixel, "x", times=pair_of)
    yield from _threads(quick, rounds)


def _threads(quick: bool, rounds: int) -> Iterator[Figure]:
    """One thread over several, by the clock: a busy machine shows."""
    many = 2
    if (os.cpu_count() or 1) < many:
        return
    stage, shape = next(iter((QUICK if quick else STAGES).items()))
    orders = scan_orders(("a", "b", "c", "d"), SIDE, SIDE)
    values = scan_values(*shape, len(orders))
    scan: Callable[..., object] = window_scan
    size = SIZE if quick else "base"
    net = merba(size)
    x = pictures(net, BATCH)
    work: dict[str, Callable[[int], object]] = {
        f"{stage} scan": lambda n: scan(*values, orders),
        f"MERba-{size} {net.eats.size}, inference of {BATCH}": lambda n: net(x),
    }
    if native_available():
        first, second = (np.stack([frame] * PAIRS) for frame in pair(224, 1.5, 0))
        work["native TV-L1, 224 x 224, one pair"] = lambda n: tvl1_pairs(first[:1], second[:1], n)
        work[f"native TV-L1, 224 x 224, {PAIRS} pairs"] = lambda n: tvl1_pairs(first, second, n)
    for what, call in work.items():
        times = interleaved(
            {"1 thread": partial(_on, 1, call), f"{many} threads": partial(_on, many, call)},
            rounds,
            time.perf_counter,
        )
        ratio = times["1 thread"] / times[f"{many} threads"]
        yield Figure(
            "threads", f"{what}: 1 thread over {many}, by the clock", ratio, "x", times=times
        )


def _on(count: int, call: Callable[[int], object]) -> None:
    with threads(count):
        call(count)


def memory_figures(quick: bool, rounds: int) -> Iterator[Figure]:
    """The most memory at any time that a net adds to its process, by scan backend."""
    if not STATUS.exists():
        return
    there = [name for name in ("reference", "blocked", "native") if name in backends()]
    for size, what in MEMORY[:2] if quick else MEMORY:
        for backend in there:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                most = pool.submit(peak, size, what, backend).result()
            says = f"MERba-{size}, {what} of {BATCH}, {backend} scan: most at a time"
            yield Figure("memory", says, most, "MiB")


def peak(size: str, what: str, backend: str) -> float:
    """MiB by which the largest size of this process grows; for a new process, on Linux."""
    torch.set_num_threads(1)
    net = merba(size)
    x, y = pictures(net, BATCH), torch.arange(BATCH) % CLASSES
    before = _largest()
    with use_backend(backend), torch.set_grad_enabled(what == "training"):
        out = net(x)
        if what == "training":
            torch.autograd.backward(nn.functional.cross_entropy(out, y))
    return _largest() - before


def _largest() -> float:
    """MiB that this program held at most, so far (`getrusage` counts its parent's, too)."""
    lines = STATUS.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
