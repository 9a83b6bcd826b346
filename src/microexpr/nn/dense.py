"""A linear layer that a CPU computes twice as fast: by oneDNN in the place of MKL.

PyTorch's wheels multiply matrices with MKL, which on processors of other makers than Intel stays at
half of what they can do (100 against 220 GFLOP/s in single precision on one core of an AMD EPYC).
oneDNN, which is in the same wheels, is reached through the operator that `torch.compile` uses; it
computes in float32 on every machine, and a GELU that follows costs almost nothing there. The
operator has no gradient of its own: it is written here, of three such products.

Attention's products stay where they are: oneDNN has no batched product in float32, and PyTorch's
`scaled_dot_product_attention` beats what can be composed without (`microexpr bench products`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WORTH = 2**21  # multiplications; below, the detour costs what it saves
_wanted: ContextVar[bool] = ContextVar("use_onednn", default=True)


class Dense(nn.Linear):
    """``nn.Linear`` with the same parameters and, up to rounding, the same result."""

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in_features)`` -> ``(..., out_features)``."""
        return dense(x, self.weight, self.bias)


class Pointwise(nn.Conv2d):
    """A 1x1 convolution of stride 1 without groups, computed as `dense` over the pixels."""

    def forward(self, x: Tensor) -> Tensor:
        """``(b, in_channels, h, w)`` -> ``(b, out_channels, h, w)``, channels last in memory."""
        by_pixel = dense(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
        return by_pixel.permute(0, 3, 1, 2)


def dense(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False) -> Tensor:
    """``x @ weight.T + bias``, then GELU if asked for (the exact one).

    Args:
        x: ``(..., i)``.
        weight: ``(o, i)``.
        bias: ``(o,)``.
        gelu: Whether GELU follows.

    Returns:
        ``(..., o)``.
    """
    if not _goes_to_onednn(x, weight):
        out = F.linear(x, weight, bias)
        return F.gelu(out) if gelu else out
    tokens = x.reshape(-1, x.shape[-1])
    learns = any(t is not None and t.requires_grad for t in (x, weight, bias))
    if learns and torch.is_grad_enabled():
        out = _Product.apply(tokens, weight, bias)  # type: ignore[no-untyped-call]
        out = F.gelu(out) if gelu else out
    else:
        out = _product(tokens, weight, bias, "gelu" if gelu else "none")
    return out.view(*x.shape[:-1], len(weight))


@contextmanager
def use_onednn(wanted: bool) -> Iterator[None]:
    """Within the block, whether oneDNN may serve; without it all goes where PyTorch sends it."""
    token = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(token)


def _goes_to_onednn(x: Tensor, weight: Tensor) -> bool:
    return (
        not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * len(weight) >= _WORTH
        and torch._C._has_mkldnn
        and _wanted.get()
        and not torch.is_autocast_enabled("cpu")
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None, then: str = "none") -> Tensor:
    """``(t, i)``, ``(o, i)``, ``(o,)`` -> ``(t, o)`` by oneDNN; transposed views are welcome."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, then, [], "none")
    return out


class _Product(torch.autograd.Function):
    """`_product` with its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        dx = _product(grad, weight.t()) if wants_x else None
        dweight = _weight_gradient(grad, x) if wants_weight else None
        return dx, dweight, grad.sum(0) if wants_bias else None


def _weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """``grad.T @ x``; oneDNN copies its first argument, so that is the smaller of the two."""
    if grad.shape[1] <= x.shape[1]:
        return _product(grad.t(), x.t())
    return _product(x.t(), grad.t()).t()
