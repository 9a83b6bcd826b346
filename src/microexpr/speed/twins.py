"""Nets that say what MERba's speed is worth: its floor, and itself as one would first write it.

- The GEMM twin: the same net with every mixer reduced to its matrix products. Scan and depthwise
  convolution take no time at all; what they would hand on stands ready in memory. No mixer with
  these layers can be faster.
- The plain net: equations 2 to 4 as they stand. Each order gathers its tokens, runs the whole
  mixer of the published MambaVision with the reference recurrence, and puts them back; matrix
  products go where PyTorch sends them.

Both share their parameters with the net they are made of.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.nn.dense import dense, use_onednn
from microexpr.nn.mixers import D_STATE, Mixer
from microexpr.nn.scan_reference import window_scan
from microexpr.nn.windows import join, windows_of


def gemm_twin(net: nn.Module) -> nn.Module:
    """The floor of a net with `Mixer` inside; it computes nonsense at full speed."""
    return _with_mixers(net, GemmMixer)


def plain_twin(net: nn.Module) -> Plain:
    """What a net with `Mixer` inside computes, the slow and obvious way."""
    return Plain(_with_mixers(net, PlainMixer))


class Plain(nn.Module):
    """Runs a net with PyTorch's own choice of matrix products."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """As the net's."""
        with use_onednn(False):
            out: Tensor = self.net(x)
        return out


class GemmMixer(nn.Module):
    """The four matrix products of a mixer, at their sizes, forward and backward."""

    def __init__(self, mixer: Mixer) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(self, x: Tensor) -> Tensor:
        """``(b, tokens, dim)`` -> the same."""
        mixer = self.mixer
        xz = mixer.in_proj(x)
        orders, half = len(mixer.get_buffer("orders_0")), xz.shape[2] // 2
        u = _Walks.apply(xz, orders, half)  # type: ignore[no-untyped-call]
        rank = mixer.dt_proj.in_features
        dt, B, C = mixer.x_proj(u).split((rank, D_STATE, D_STATE), dim=3)
        dt = dense(dt, mixer.dt_proj.weight)
        out: Tensor = mixer.out_proj(_Scanned.apply(xz, dt, B, C))  # type: ignore[no-untyped-call]
        return out


class PlainMixer(nn.Module):
    """The published mixer, called once for each order: nothing is shared between the orders."""

    def __init__(self, mixer: Mixer) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(self, x: Tensor) -> Tensor:
        """``(b, tokens, dim)`` in window order -> the same."""
        mixed = [self._sum(windows_of(x, r), i) for i, r in enumerate(self.mixer.regions)]
        return join(mixed, len(x))

    def _sum(self, windows: Tensor, region: int) -> Tensor:
        total = torch.zeros_like(windows)
        for order in self.mixer.get_buffer(f"orders_{region}"):
            total = total + self._along(windows[:, order])[:, order.argsort()]
        return total

    def _along(self, s: Tensor) -> Tensor:
        """``(w, l, dim)`` tokens as the order meets them -> the same."""
        mixer = self.mixer
        x, z = mixer.in_proj(s).transpose(1, 2).chunk(2, dim=1)
        x, z = F.silu(mixer.conv1d_x(x)).transpose(1, 2), F.silu(mixer.conv1d_z(z)).transpose(1, 2)
        dt, B, C = mixer.x_proj(x).split((mixer.dt_proj.in_features, D_STATE, D_STATE), dim=2)
        dt = F.linear(dt, mixer.dt_proj.weight)
        u, dt, B, C = (part.unsqueeze(1) for part in (x, dt, B, C))
        A, D, bias = -mixer.A_log.exp()[None], mixer.D[None], mixer.dt_proj.bias[None]
        onward = torch.arange(s.shape[1])[None]
        y = window_scan(u, dt, A, B, C, D, bias, onward)
        out: Tensor = mixer.out_proj(torch.cat([y, z], dim=2))
        return out


def _with_mixers(net: nn.Module, kind: Callable[[Mixer], nn.Module]) -> nn.Module:
    """A copy that shares all parameters, its mixers replaced."""
    shared = {id(p): p for p in (*net.parameters(), *net.buffers())}
    twin = copy.deepcopy(net, shared)
    for module in list(twin.modules()):
        for name, child in module.named_children():
            if isinstance(child, Mixer):
                setattr(module, name, kind(child))
    return twin


@cache
def _ready(*shape: int) -> Tensor:
    """Numbers that stand ready in memory."""
    return torch.randn(shape)


class _Walks(torch.autograd.Function):
    """In place of the convolution of each order: ``(b, t, 2 h)`` -> ``(b, k, t, h)``, free."""

    @staticmethod
    def forward(ctx: Any, xz: Tensor, orders: int, half: int) -> Tensor:
        ctx.shape = xz.shape
        return _ready(len(xz), orders, xz.shape[1], half).detach()

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None


class _Scanned(torch.autograd.Function):
    """In place of the scan: hands on what `in_proj` gave, and gradients of the right sizes."""

    @staticmethod
    def forward(ctx: Any, xz: Tensor, *walked: Tensor) -> Tensor:
        ctx.shapes = [tuple(t.shape) for t in walked]
        return xz.view_as(xz)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        return (grad, *(_ready(*shape).detach() for shape in ctx.shapes))
