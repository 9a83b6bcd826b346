"""Whole nets against their floor and against themselves as one would first write them.

`floor` is the GEMM twin, `plain` the net of reference mixers (`microexpr.speed.twins`), `reference
scan` the net as it is with only the scan's backend exchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from microexpr.models import create_model
from microexpr.models.base import Classifier
from microexpr.nn.scan import use_backend
from microexpr.speed.figures import Figure
from microexpr.speed.timing import interleaved
from microexpr.speed.twins import gemm_twin, plain_twin

CLASSES = 7
BATCH = 8
TRAINING_BATCH = {"base": 4}  # MERba-B and its optimizer fill some gigabytes
NETS = (("base", 224), ("small", 224), ("tiny", 224), ("tiny", 112), ("nano", 28))
QUICK = (("small", 224),)
JUDGED = ("base", "small")  # in narrower nets a mixer's products weigh little beside its scan
INFERENCE, TRAINING, PLAIN = 1.10, 1.20, 2.7

Call = Callable[[], object]


def merba(size: str, **settings: Any) -> Classifier:
    """A MERba with random weights in eval mode."""
    torch.manual_seed(0)
    return create_model("merba", CLASSES, size=size, **settings).eval()


def pictures(net: Classifier, batch: int) -> Tensor:
    """``(batch, channels, side, side)`` of noise."""
    return torch.randn(batch, len(net.eats.channels), net.eats.size, net.eats.size)


def net_figures(quick: bool, rounds: int) -> Iterator[Figure]:
    """Targets 3 and 4, and what stands beside them."""
    for size, image in QUICK if quick else NETS:
        net = merba(size, image=image)
        name = f"MERba-{size} {image}"
        bounds = (INFERENCE, TRAINING) if size in JUDGED else (None, None)
        yield from _inference(name, net, rounds, bounds[0], PLAIN if size == "base" else None)
        yield from _training(name, net, TRAINING_BATCH.get(size, BATCH), rounds, bounds[1])


def _inference(
    name: str, net: Classifier, rounds: int, most: float | None, plain: float | None
) -> Iterator[Figure]:
    one, eight = pictures(net, 1), pictures(net, BATCH)
    deployed = net.deploy()
    nets: dict[str, nn.Module] = {"net": net, "floor": gemm_twin(net), "plain": plain_twin(net)}
    nets |= {"deployed": deployed, "deployed floor": gemm_twin(deployed)}
    calls = {what: _forward(module, eight) for what, module in nets.items()}
    calls |= {"reference scan": _with_reference(net, eight)}
    calls |= {f"{what} of 1": _forward(nets[what], one) for what in ("net", "floor")}
    times = interleaved(calls, rounds)
    for over, under, bound, least in (
        ("net", "floor", most, None),
        ("deployed", "deployed floor", most, None),
        ("net of 1", "floor of 1", None, None),
        ("plain", "net", None, plain),
        ("plain", "deployed", None, None),
        ("reference scan", "net", None, None),
    ):
        pair = {over: times[over], under: times[under]}
        batch = "" if over.endswith("of 1") else f" of {BATCH}"
        what = f"{name}, inference{batch}: {over} over {under}"
        yield Figure("net", what, times[over] / times[under], "x", least, bound, pair)


def _training(
    name: str, net: Classifier, batch: int, rounds: int, most: float | None
) -> Iterator[Figure]:
    """Loss, gradients and AdamW; the nets share their weights, so one optimizer serves."""
    x, y = pictures(net, batch), torch.arange(batch) % CLASSES
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-9, fused=True)

    def step(module: nn.Module) -> Call:
        def call() -> None:
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(module(x), y))
            optimizer.step()

        return call

    nets = {"net": net, "floor": gemm_twin(net)}
    times = interleaved({what: step(module.train()) for what, module in nets.items()}, rounds)
    net.eval()
    what = f"{name}, training step of {batch}: net over floor"
    yield Figure("net", what, times["net"] / times["floor"], "x", None, most, times)


def _forward(net: nn.Module, x: Tensor) -> Call:
    return torch.no_grad()(lambda: net(x))


def _with_reference(net: nn.Module, x: Tensor) -> Call:
    def call() -> None:
        with use_backend("reference"), torch.no_grad():
            net(x)

    return call
