"""Non-causal state space duality (Shi et al., VSSD, arXiv 2407.18559; AMMSM, Eq. 6).

Glossary (symbol: shape)

    u       (b, n, d)        tokens; d channels
    z, x    (b, n, e)        gate and value, e = 2 d, in heads of e / heads channels
    B, C    (b, n, 64)       what a token writes to the state, and how it reads it
    dt      (b, n, heads)    step size, softplus
    A       (heads,)         negative rate, -exp(A_log)
    V       (b, n, e)        x dt |A|
    H       (b, 64, e)       the state: B^T V, one sum over all tokens, in no order

    z, [x, B, C], dt = in_proj(u);  [x, B, C] = SiLU(depthwise conv 3x3)
    y = C H + D x;  out_proj(LayerNorm(y) z)

Departure: Eq. 6 prints X / A. The published code, which the authors build on, computes V as above
(its ``A`` is the discrete dt A), and so do we.

The state has no order, so a plain matrix product computes it: no scan, no kernel of its own. Its
cost is linear in the number of tokens.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.nn.dense import Dense, dense
from microexpr.nn.sparse import View, convolve

D_STATE = 64
EXPAND = 2


class Ssd(nn.Module):
    """Mixes the tokens of a map through one shared state. Parameter names are VSSD's.

    Args:
        dim: Width d.
        heads: Divides ``2 * dim``.
        d_state: Numbers of state per channel.

    Raises:
        UserError: `heads` does not divide the inner width.
    """

    def __init__(self, dim: int, heads: int, d_state: int = D_STATE) -> None:
        super().__init__()
        inner = EXPAND * dim
        if heads < 1 or inner % heads:
            raise UserError(f"{heads} heads do not divide the inner width {inner}")
        self.parts = [inner, inner + 2 * d_state, heads]
        self.inner, self.d_state = inner, d_state
        self.in_proj = nn.Linear(dim, sum(self.parts), bias=False)
        self.conv2d = nn.Conv2d(self.parts[1], self.parts[1], 3, padding=1, groups=self.parts[1])
        step = torch.empty(heads).uniform_(math.log(0.001), math.log(0.1)).exp_()
        self.dt_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus(it) = step
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(1, 16).log_())
        self.D = nn.Parameter(torch.ones(heads))
        self.norm = nn.LayerNorm(inner)
        self.out_proj = Dense(inner, dim, bias=False)

    def forward(self, u: Tensor, view: View) -> Tensor:
        """``(b, n, dim)`` -> the same; a token that `view` masks is not summed."""
        # one product each, so that what follows finds its numbers side by side in memory
        z, xbc, dt = (dense(u, part) for part in torch.split(self.in_proj.weight, self.parts))
        xbc = F.silu(convolve(xbc, self.conv2d, view), inplace=not torch.is_grad_enabled())
        x, B, C = torch.split(xbc, [self.inner, self.d_state, self.d_state], dim=2)
        at_least = torch.promote_types(self.A_log.dtype, torch.float32)
        step = F.softplus(dt.to(at_least) + self.dt_bias) * self.A_log.to(at_least).exp()
        if view.valid is not None:
            step = step * view.valid
        read = C @ (B.transpose(1, 2) @ _by_head(x, step.to(x.dtype)))
        y = torch.addcmul(read, x, self.D.to(x.dtype).repeat_interleave(self.inner // len(self.D)))
        out: Tensor = self.out_proj(self.norm(y) * z)
        return out


class SelfAttention(nn.Module):
    """Multi-head self-attention over all tokens. Parameter names are VSSD's.

    Args:
        dim: Width.
        heads: Divides `dim`.

    Raises:
        UserError: `heads` does not divide `dim`.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise UserError(f"{heads} attention heads do not divide the width {dim}")
        self.heads = heads
        self.to_qkv = Dense(dim, 3 * dim, bias=False)
        self.to_out = Dense(dim, dim)

    def forward(self, u: Tensor, view: View) -> Tensor:
        """``(b, n, dim)`` -> the same; a token that `view` masks is not attended to."""
        b, n, d = u.shape
        qkv = self.to_qkv(u).view(b, n, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        seen = None if view.valid is None else (view.valid > 0).view(b, 1, 1, n)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        out: Tensor = self.to_out(mixed.transpose(1, 2).reshape(b, n, d))
        return out


def _by_head(x: Tensor, weight: Tensor) -> Tensor:
    """``(b, n, heads * p)`` times one weight a head, ``(..., heads)``."""
    b, n, c = x.shape
    heads = x.reshape(b, n, weight.shape[-1], -1)
    return (heads * weight[..., None]).reshape(b, n, c)
