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
    """See `microexpr.nn.scan.order_conv`; one convolution over (order, channel) pairs."""
    k, tokens, d = *orders.shape, x.shape[2]
    walks = x[:, orders].transpose(2, 3).reshape(-1, k * d, tokens)
    taps = weight.expand(k, -1, -1).reshape(k * d, 1, 3)
    mixed = F.silu(F.conv1d(walks, taps, padding=1, groups=k * d))
    out = _reordered(mixed.view(-1, k, d, tokens).transpose(2, 3), orders.argsort(dim=1))
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
    sizes = [u.shape[3], u.shape[3], B.shape[3], B.shape[3]]
    steps = _reordered(torch.cat([u, dt, B, C], dim=3), orders).permute(2, 0, 1, 3)
    start = torch.zeros_like(u[:, :, 0].unsqueeze(3) * A)

    def step(
        h: Tensor, now: Tensor, A: Tensor, D: Tensor, dt_bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        x, raw, b, c = torch.split(now, sizes, dim=2)  # (w, k, d) and (w, k, n)
        delta = F.softplus(raw + dt_bias)
        h = torch.exp(delta.unsqueeze(3) * A) * h + (delta * x).unsqueeze(3) * b.unsqueeze(2)
        return h, (h * c.unsqueeze(2)).sum(3) + D * x

    # the operator itself: its wrapper would have each of twelve mixers' steps compiled first
    _, y = scan_op(step, [start], [steps], (A, D, dt_bias))
    return _reordered(y.permute(1, 2, 0, 3), orders.argsort(dim=1)).sum(dim=1)


def _reordered(value: Tensor, index: Tensor) -> Tensor:
    """``(w, k, l, c)`` with the tokens of each order as ``index (k, l)`` says."""
    rows = torch.arange(len(index), device=index.device).unsqueeze(1)
    return value[:, rows, index]
