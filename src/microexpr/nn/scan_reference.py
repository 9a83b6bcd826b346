"""The scan as the published code writes it: the plain recurrence, slow and obvious.

Any float dtype, gradients by autograd. The other backends are measured against this one.
Source: Gu and Dao, Mamba (2023), algorithm 2; reference function of the mamba package.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def order_conv(x: Tensor, weight: Tensor, orders: Tensor, summed: bool) -> Tensor:
    """See `microexpr.nn.scan.order_conv`."""
    weight = weight.expand(len(orders), -1, -1)
    maps = []
    for order, taps in zip(orders, weight, strict=True):
        walked = x[:, order].transpose(1, 2)
        walked = F.silu(F.conv1d(walked, taps.unsqueeze(1), padding=1, groups=x.shape[2]))
        maps.append(walked.transpose(1, 2)[:, order.argsort()])
    stacked = torch.stack(maps, dim=1)
    return stacked.sum(dim=1) if summed else stacked


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
    k = len(orders)
    A, D, dt_bias = A.expand(k, -1, -1), D.expand(k, -1), dt_bias.expand(k, -1)
    total = torch.zeros_like(u[:, 0])
    for j, order in enumerate(orders):
        walks = (value[:, j, order].transpose(1, 2) for value in (u, dt, B, C))
        y = _selective_scan(*walks, A=A[j], D=D[j], dt_bias=dt_bias[j])
        total = total + y.transpose(1, 2)[:, order.argsort()]
    return total


def _selective_scan(
    u: Tensor, dt: Tensor, B: Tensor, C: Tensor, *, A: Tensor, D: Tensor, dt_bias: Tensor
) -> Tensor:
    """One direction: u, dt ``(w, d, l)``, B, C ``(w, n, l)``, A ``(d, n)`` -> ``(w, d, l)``."""
    delta = F.softplus(dt + dt_bias[:, None])
    deltaA = torch.exp(torch.einsum("wdl,dn->wdln", delta, A))
    deltaB_u = torch.einsum("wdl,wnl,wdl->wdln", delta, B, u)
    h = torch.zeros_like(deltaA[:, :, 0])
    ys = []
    for i in range(u.shape[2]):
        h = deltaA[:, :, i] * h + deltaB_u[:, :, i]
        ys.append(torch.einsum("wdn,wn->wd", h, C[:, :, i]))
    return torch.stack(ys, dim=2) + u * D[:, None]
