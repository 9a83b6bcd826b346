"""The scan as one node of a graph, for export: a loop that no exporter unrolls.

`torch.export` writes a Python loop out step by step (49 steps, 12 mixers and more); here the
recurrence is one `scan` node whose body is a single step, and ONNX has the same node. The k orders
are walked side by side: few nodes make a graph that is quickly exported. Run as it is, it is slow.
The numbers are those of `microexpr.nn.scan_reference`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._higher_order_ops.scan import scan_op


def order_conv(x: Tensor, weight: Tensor, orders: Tensor, summed: bool) -> Tensor:
    """See `microexpr.nn.scan.order_conv`; one convolution for all orders."""
    (k, tokens), w, d = orders.shape, x.shape[0], x.shape[2]
    walks = _index(x, orders)
    if len(weight) == 1:
        rows = walks.permute(0, 3, 1, 2)  # (w, d, k, l): a row is a walk
        mixed = F.conv2d(rows, weight.permute(1, 0, 2).unsqueeze(2), padding=(0, 1), groups=d)
        mixed = F.silu(mixed).permute(0, 2, 3, 1)
    else:
        pairs = walks.transpose(2, 3).reshape(w, k * d, tokens)
        mixed = F.conv1d(pairs, weight.reshape(k * d, 1, 3), padding=1, groups=k * d)
        mixed = F.silu(mixed).view(w, k, d, tokens).transpose(2, 3)
    out = _index(mixed, _numbers(orders), orders.argsort(dim=1))
    return out.sum(dim=1) if summed else out


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
    """See `microexpr.nn.scan.window_scan`."""
    (w, k, _, d), n = u.shape, B.shape[3]
    which = _numbers(orders)
    steps = _index(torch.cat([u, dt, B, C], dim=3), which, orders).permute(2, 0, 1, 3)
    start = torch.zeros(w, k, d, n, dtype=u.dtype, device=u.device)

    def step(
        h: Tensor, now: Tensor, A: Tensor, D: Tensor, dt_bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        x, raw, b, c = torch.split(now, [d, d, n, n], dim=2)  # (w, k, d) and (w, k, n)
        delta = F.softplus(raw + dt_bias)
        h = torch.exp(delta.unsqueeze(3) * A) * h + (delta * x).unsqueeze(3) * b.unsqueeze(2)
        return h, (h * c.unsqueeze(2)).sum(3) + D * x

    # the operator itself: its wrapper would have each of twelve mixers' steps compiled first
    _, y = scan_op(step, [start], [steps], (A, D, dt_bias))
    return _index(y.permute(1, 2, 0, 3), which, orders.argsort(dim=1)).sum(dim=1)


def _numbers(orders: Tensor) -> Tensor:
    """``(k, 1)``: the numbers of the orders."""
    return torch.arange(len(orders), device=orders.device).unsqueeze(1)


def _index(value: Tensor, *index: Tensor) -> Tensor:
    """``value[:, *index]`` without the slice of everything, which would be a node."""
    out: Tensor = torch.ops.aten.index.Tensor(value, [None, *index])
    return out
