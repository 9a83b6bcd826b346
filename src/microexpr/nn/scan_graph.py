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
from torch._higher_order_ops import scan


def order_conv(x: Tensor, weight: Tensor, orders: Tensor, summed: bool) -> Tensor:
    """See `microexpr.nn.scan.order_conv`; one convolution over (order, channel) pairs."""
    k, tokens, d = *orders.shape, x.shape[2]
    walks = x.index_select(1, orders.flatten()).view(-1, k, tokens, d)
    taps = weight.expand(k, -1, -1).reshape(k * d, 1, 3)
    channels = walks.transpose(2, 3).reshape(-1, k * d, tokens)
    mixed = F.silu(F.conv1d(channels, taps, padding=1, groups=k * d))
    out = _token_order(mixed.view(-1, k, d, tokens).transpose(2, 3), orders)
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
    (k, tokens), d, n = orders.shape, u.shape[3], A.shape[2]
    first = torch.arange(k, device=orders.device).unsqueeze(1) * tokens
    read = torch.cat([u, dt, B, C], dim=3).flatten(1, 2).index_select(1, (orders + first).flatten())
    steps = read.view(-1, k, tokens, 2 * d + 2 * n).permute(2, 0, 1, 3)

    def step(h: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
        x, raw, b, c = torch.split(now, [d, d, n, n], dim=2)  # (w, k, d) and (w, k, n)
        delta = F.softplus(raw + dt_bias)
        h = torch.exp(delta.unsqueeze(3) * A) * h + (delta * x).unsqueeze(3) * b.unsqueeze(2)
        return h, (h * c.unsqueeze(2)).sum(3) + D * x

    _, y = scan(step, torch.zeros_like(u[:, :, 0].unsqueeze(3) * A), steps)
    return _token_order(y.permute(1, 2, 0, 3), orders).sum(dim=1)


def _token_order(walks: Tensor, orders: Tensor) -> Tensor:
    """``(w, k, l, d)`` in the order of each walk -> the same in token order."""
    k, tokens = orders.shape
    first = torch.arange(k, device=orders.device).unsqueeze(1) * tokens
    back = (orders.argsort(dim=1) + first).flatten()
    return walks.reshape(-1, k * tokens, walks.shape[3]).index_select(1, back).view_as(walks)
