"""Would folds train faster together? One training step of small nets, alone and packed.

    python benchmarks/speed/folds.py [--json] [--rounds 5] [--packs 4] [--models ststnet ...]

`alone`: milliseconds of a step (loss and gradients) of one fold, by the net's own recipe; `given
back`: the same while the C library returns freed memory to the system, as it does unless
`microexpr.jobs.keep_memory` tells it not to. `packed`: milliseconds for each fold when several
train together, their weights stacked (torch.func: vmap over functional_call). `gain`: alone over
packed. `at most`: what packing could gain if nothing were left of the time that does not grow with
the batch (measured on two clips). One thread.

Found: packing gains nothing with any of the nets. At the batch sizes of their recipes a step is
bound by arithmetic and memory, of which several folds need several times as much; so folds are
spread over processes, one after another in each. (MERba and AMMSM have operators of our own, which
vmap does one by one.)
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from timing import interleaved, show, single_thread
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from microexpr.jobs import keep_memory
from microexpr.models import create_model
from microexpr.models.base import Classifier, input_shape

CASES: dict[str, tuple[int, dict[str, Any]]] = {  # batch and settings of the committed experiments
    "ststnet": (256, {}),
    "offapexnet": (32, {"form": "meb", "normalisation": "robust"}),
    "sssnet": (128, {"image": 28, "normalisation": "robust"}),
    "smallcnn": (64, {}),
    "htnet": (64, {}),
}
FEW = 2  # clips of a step that is nearly all overhead; batch norm wants more than one


class Loss(nn.Module):
    """The loss as the forward pass, which `functional_call` calls."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Clips and labels in, a scalar out."""
        return self.model.loss(x, y, 0.5)


def clips(model: Classifier, folds: int, batch: int) -> tuple[Tensor, Tensor]:
    """Random flow and labels, ``(folds, batch, ...)``."""
    x = torch.rand(folds, batch, *input_shape(model.eats))
    x = 255 * x if model.eats.normalisation == "minmax8" else x
    return x, torch.randint(3, (folds, batch))


def alone(model: Classifier, batch: int) -> Callable[[], object]:
    """A step of one fold."""
    x, y = (part[0] for part in clips(model, 1, batch))

    def step() -> None:
        model.zero_grad()
        torch.autograd.backward(model.loss(x, y, 0.5))

    return step


def packed(name: str, settings: dict[str, Any], folds: int, batch: int) -> Callable[[], object]:
    """A step of several folds, each with its own weights and clips."""
    nets = [Loss(create_model(name, 3, **settings)).train() for _ in range(folds)]
    weights, buffers = stack_module_state(nets)
    x, y = clips(nets[0].model, folds, batch)

    def one(w: dict[str, Tensor], b: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return functional_call(nets[0], (w, b), (x, y))

    def step() -> None:
        # vmap knows no channels_last; and a net that asks for it does so for speed alone
        with patch.object(torch.Tensor, "contiguous", lambda tensor, **_: tensor):
            loss = vmap(one, randomness="different")(weights, buffers, x, y).sum()
            torch.autograd.grad(loss, list(weights.values()))

    return step


def measure(name: str, folds: int, rounds: int) -> dict[str, Any]:
    """One net's row, but for `given back`."""
    batch, settings = CASES[name]
    model = create_model(name, 3, **settings).train()
    rivals = {
        "alone": alone(model, batch),
        "packed": packed(name, settings, folds, batch),
        "few": alone(model, FEW),
    }
    found = interleaved(rivals, rounds)
    each = found["packed"] / folds
    return {
        "alone": found["alone"],
        "packed": each,
        "gain": found["alone"] / each,
        "at most": found["alone"] / max(found["alone"] - found["few"], 1e-9),
    }


def given_back(name: str, rounds: int) -> float:
    """Milliseconds of a step while freed memory goes back to the system."""
    batch, settings = CASES[name]
    step = alone(create_model(name, 3, **settings).train(), batch)
    return interleaved({"step": step}, rounds)["step"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--packs", type=int, nargs="+", default=[4], help="folds in a pack")
    parser.add_argument("--models", nargs="+", choices=list(CASES), default=list(CASES)[:-1])
    asked = parser.parse_args()
    single_thread()
    before = {name: given_back(name, asked.rounds) for name in asked.models}
    keep_memory()
    rows = [
        {
            "net": name,
            "batch": CASES[name][0],
            "folds": folds,
            "given back": before[name],
            **measure(name, folds, asked.rounds),
        }
        for name in asked.models
        for folds in asked.packs
    ]
    show("folds, milliseconds a step", rows, asked.json)


if __name__ == "__main__":
    main()
