"""Choices inside the nets: oneDNN or MKL for linear layers, one kernel or products to attend."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from microexpr.nn.dense import dense, use_onednn
from microexpr.speed.figures import Figure
from microexpr.speed.timing import interleaved

LINEAR = {"stage 2": (6272, 256, 1024), "stage 3": (1568, 512, 2048), "stage 4": (392, 1024, 4096)}
ATTENTION = {"stage 2": (8, 4, 784), "stage 3": (8, 8, 196), "stage 4": (8, 16, 49)}
HEAD = 64

SDPA: Callable[..., Tensor] = F.scaled_dot_product_attention
Function = Callable[..., Tensor]
Values = tuple[Tensor, ...]


def product_figures(quick: bool, rounds: int) -> Iterator[Figure]:
    """The first layer of the MLPs of MERba-B at batch 8, and its attention; without targets."""
    torch.manual_seed(0)
    for stage in ("stage 4",) if quick else LINEAR:
        tokens, inside, out = LINEAR[stage]
        layer = (torch.randn(tokens, inside), torch.randn(out, inside), torch.randn(out))
        rivals: dict[str, Function] = {"MKL": _by_pytorch, "oneDNN": _by_choice}
        yield from _compare(f"{stage} linear and GELU", rivals, layer, rounds)
    for stage in ("stage 4",) if quick else ATTENTION:
        b, heads, tokens = ATTENTION[stage]
        q, k, v = (torch.randn(b, heads, tokens, HEAD) for _ in range(3))
        both: dict[str, Function] = {"products": plain_attention, "one kernel": SDPA}
        yield from _compare(f"{stage} attention of {tokens} tokens", both, (q, k, v), rounds)


def plain_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """``(b, heads, tokens, width)`` each -> the same, by two products and a softmax."""
    return torch.softmax(q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2), dim=-1) @ v


def _by_choice(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return dense(x, weight, bias, gelu=True)


def _by_pytorch(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    with use_onednn(False):
        return dense(x, weight, bias, gelu=True)


def _compare(
    what: str, rivals: dict[str, Function], values: Values, rounds: int
) -> Iterator[Figure]:
    """Forward alone, and with the gradients of all arguments."""
    leaves = [t.clone().requires_grad_() for t in values]
    for way in ("forward", "forward + backward"):
        calls = {
            name: _forward(function, values) if way == "forward" else _both(function, leaves)
            for name, function in rivals.items()
        }
        times = interleaved(calls, rounds)
        slow, fast = times
        says = f"{what}, {way}: {slow} over {fast}"
        yield Figure("products", says, times[slow] / times[fast], times=times)


def _forward(function: Function, values: Values) -> Callable[[], object]:
    return torch.no_grad()(lambda: function(*values))


def _both(function: Function, leaves: list[Tensor]) -> Callable[[], object]:
    return lambda: torch.autograd.grad(function(*leaves).sum(), leaves)
