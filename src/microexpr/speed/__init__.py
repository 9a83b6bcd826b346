"""How fast this package is on the machine at hand: ratios measured in one interleaved run.

One thread and its processor time, medians, every rival in turn; only the figures on threads are by
the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from microexpr.errors import UserError, suggest
from microexpr.jobs import keep_memory
from microexpr.speed.figures import Figure, Measured
from microexpr.speed.flow import flow_figures
from microexpr.speed.nets import net_figures
from microexpr.speed.products import product_figures
from microexpr.speed.scaling import memory_figures, scaling_figures
from microexpr.speed.scan import scan_figures
from microexpr.speed.timing import machine, threads

PARTS: dict[str, Callable[[bool, int], Iterator[Figure]]] = {
    "scan": scan_figures,
    "net": net_figures,
    "products": product_figures,
    "flow": flow_figures,
    "scaling": scaling_figures,
    "memory": memory_figures,
}


def measure(
    parts: list[str],
    quick: bool,
    rounds: int,
    keep: bool = False,
    watch: Callable[[str, int, int], None] = lambda what, done, of: None,
) -> Measured:
    """Measures parts of it.

    Args:
        parts: Keys of `PARTS`; none: all of them.
        quick: Small shapes and nets alone.
        rounds: How many times every rival has its turn; at least 1.
        keep: Whether this process keeps the memory that it frees, from now on
            (`microexpr.jobs.keep_memory`), as the workers of a training do. That speeds up what
            allocates most, the reference above all.
        watch: Called as ``(what, done, of)`` before and after each part.

    Raises:
        UserError: An unknown part, or fewer rounds than one.
    """
    for part in parts:
        if part not in PARTS:
            raise UserError(f"unknown part '{part}': {suggest(part, PARTS)}")
    if rounds < 1:
        raise UserError(f"--rounds must be at least 1, got {rounds}")
    chosen = [part for part in PARTS if part in parts or not parts]
    figures: list[Figure] = []
    kept = keep and keep_memory()
    with threads(1):
        for part in chosen:
            watch(part, 0, 1)
            figures += PARTS[part](quick, rounds)
            watch(part, 1, 1)
    settings = {"rounds": rounds, "quick": quick, "memory kept": kept}
    return Measured(machine(), settings, tuple(figures))
