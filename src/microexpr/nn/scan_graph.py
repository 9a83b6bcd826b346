"""The scan as one node of a graph, for export: a loop that no exporter unrolls.

`torch.export` writes a Python loop out step by step (49 steps, 12 mixers and more); here the
recurrence is one `scan` node whose body is a single step, and ONNX has the same node. Run as it is,
it is slow. The numbers are those of `microexpr.nn.scan_reference`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._higher_order_ops import scan

from microexpr.nn.scan_reference import order_conv as order_conv


def window_scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    dt_bias: Tensor,
    orders: Tensor,
) -> Tensor:
    """See `microexpr.nn.scan.window_scan`; the k orders are walked side by side."""
    walks = tuple(_step_first(value, orders) for value in (u, dt, B, C))
    rates, skip, offset = A, D.unsqueeze(0), dt_bias.unsqueeze(0)

    def step(h: Tensor, now: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        x, raw, b, c = now  # (w, k, d) and (w, k, n)
        delta = F.softplus(raw + offset)
        decay = torch.exp(delta.unsqueeze(-1) * rates)
        h = decay * h + (delta * x).unsqueeze(-1) * b.unsqueeze(2)
        return h, (h * c.unsqueeze(2)).sum(-1) + skip * x

    start = torch.zeros_like(u[:, :, 0].unsqueeze(-1) * rates)
    _, y = scan(step, start, walks)
    back = orders.argsort(dim=1)  # where token p is in the walk
    total: Tensor = y.permute(1, 2, 0, 3).gather(2, _index(back, y)).sum(dim=1)
    return total


def _step_first(value: Tensor, orders: Tensor) -> Tensor:
    """``(w, k, l, c)`` in token order -> ``(l, w, k, c)`` in the order of each walk."""
    index = orders[None, :, :, None].expand(value.shape[0], -1, -1, value.shape[3])
    return value.gather(2, index).permute(2, 0, 1, 3)


def _index(back: Tensor, y: Tensor) -> Tensor:
    return back[None, :, :, None].expand(y.shape[1], -1, -1, y.shape[3])
