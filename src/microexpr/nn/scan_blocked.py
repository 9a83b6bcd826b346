"""The scan in plain torch, fast: blocks of windows that fit in the cache, and a backward by hand.

Autograd keeps every state of every step. Here only the inputs are kept: the backward walks each
block of windows forward once more, keeps that block's states in scratch memory, and walks back.
The recurrence and its adjoint, per window, order and channel (state ``h`` of n numbers):

    a_t = exp(delta_t A)                    h_t = a_t h_{t-1} + delta_t u_t B_t     y_t = <C_t, h_t>
    p_t = C_t gy_t + a_{t+1} p_{t+1}        (p_t is the gradient of h_t)
    gC_t = sum_d h_t gy_t    gB_t = sum_d p_t delta_t u_t    g(delta u)_t = <p_t, B_t>
    q_t = p_t a_t h_{t-1}    g delta_t += <q_t, A>           gA = sum_t q_t delta_t

Inside, tensors are step first ``(l, [n,] k, w, d)``: channels last, so that every operation runs
over long contiguous rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_BLOCK_CPU = 1 << 16  # numbers in the state of one block: 256 KB of float32, and as much scratch
_BLOCK_GPU = 1 << 23  # enough to fill a GPU; there is no cache to stay in


def order_conv(x: Tensor, weight: Tensor, orders: Tensor, summed: bool) -> Tensor:
    """See `microexpr.nn.scan.order_conv`."""
    out: Tensor = _OrderConv.apply(x, weight, orders, summed)  # type: ignore[no-untyped-call]
    return out


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
    out: Tensor = _WindowScan.apply(u, dt, A, B, C, D, dt_bias, orders)  # type: ignore[no-untyped-call]
    return out


def _blocks(windows: int, numbers: int, device: torch.device) -> Iterator[slice]:
    """Slices of windows; `numbers` is what one window holds."""
    budget = _BLOCK_CPU if device.type == "cpu" else _BLOCK_GPU
    step = max(1, budget // max(1, numbers))
    return (slice(start, min(windows, start + step)) for start in range(0, windows, step))


class _WindowScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        u, dt, A, B, C, D, dt_bias, orders = inputs
        (w, k, _, d), n = u.shape, A.shape[2]
        walk, back = _walks(orders)
        rates = A.permute(2, 0, 1).unsqueeze(2).contiguous()
        out = torch.empty_like(u[:, 0])
        for block in _blocks(w, n * k * d, u.device):
            delta = F.softplus(_step_first(dt[block], walk) + dt_bias.unsqueeze(1))
            du = _step_first(u[block], walk).mul_(delta)
            y = _forward_block(
                delta, du, rates, _per_state(B[block], walk), _per_state(C[block], walk)
            )
            out[block] = _token_first(y, back).addcmul_(u[block], D.unsqueeze(1)).sum(dim=1)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        u, dt, A, B, C, D, dt_bias, orders = ctx.saved_tensors
        (w, k, _, d), n = u.shape, A.shape[2]
        walk, back = _walks(orders)
        rates = A.permute(2, 0, 1).unsqueeze(2).contiguous()
        gu, gdt, gB, gC = (torch.empty_like(value) for value in (u, dt, B, C))
        gA, gD, gbias = A.new_zeros(n, k, d), D.new_zeros(k, d), D.new_zeros(k, d)
        for block in _blocks(w, n * k * d, u.device):
            raw = _step_first(dt[block], walk).add_(dt_bias.unsqueeze(1))
            delta, ub = F.softplus(raw), _step_first(u[block], walk)
            gyb = _step_first(gy[block].unsqueeze(1).expand(-1, k, -1, -1), walk)
            states = (_per_state(B[block], walk), _per_state(C[block], walk))
            gdelta, gdu, gBb, gCb, gAb = _backward_block(delta, ub * delta, rates, *states, gyb)
            graw = gdelta.addcmul_(gdu, ub).mul_(raw.sigmoid_())
            gA += gAb
            gbias += graw.sum(dim=(0, 2))
            gD += (gy[block].unsqueeze(1) * u[block]).sum(dim=(0, 2))
            gdt[block] = _token_first(graw, back)
            gu[block] = _token_first(gdu.mul_(delta), back)
            gB[block] = _token_first(gBb.permute(0, 2, 3, 1), back)
            gC[block] = _token_first(gCb.permute(0, 2, 3, 1), back)
        gu.addcmul_(gy.unsqueeze(1), D.unsqueeze(1))
        gA = gA.permute(1, 2, 0)
        return gu, gdt, _fold(gA, A), gB, gC, _fold(gD, D), _fold(gbias, dt_bias), None


def _forward_block(delta: Tensor, du: Tensor, rates: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The recurrence over one block.

    Args:
        delta: ``(l, k, w, d)`` step sizes.
        du: ``(l, k, w, d)`` delta * u.
        rates: ``(n, k or 1, 1, d)``, A.
        B: ``(l, n, k, w, 1)``; C alike.
        C: See B.

    Returns:
        y ``(l, k, w, d)``.
    """
    state = delta.new_zeros(rates.shape[0], *delta.shape[1:])
    work, y = torch.empty_like(state), torch.empty_like(delta)
    for delta_t, du_t, B_t, C_t, y_t in zip(*map(torch.unbind, (delta, du, B, C, y)), strict=True):
        torch.mul(delta_t, rates, out=work)
        state.mul_(work.exp_())
        torch.mul(du_t, B_t, out=work)
        state.add_(work)
        torch.mul(state, C_t, out=work)
        torch.sum(work, 0, out=y_t)
    return y


def _backward_block(
    delta: Tensor, du: Tensor, rates: Tensor, B: Tensor, C: Tensor, gy: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The adjoint over one block; arguments as in `_forward_block`, gy ``(l, k, w, d)``.

    Returns:
        Gradients of delta (its part through A alone), of du, of B and C ``(l, n, k, w)``, and of A
        ``(n, k, d)``.
    """
    decay, state = _history(delta, du, rates, B)
    gdelta, gdu = torch.empty_like(delta), torch.empty_like(delta)
    gB, gC = (torch.empty(B.shape[:-1], dtype=B.dtype, device=B.device) for _ in "BC")
    carry, gA = torch.zeros_like(state[0]), torch.zeros_like(state[0])
    work = torch.empty_like(carry)
    for t in range(len(delta) - 1, -1, -1):
        torch.mul(gy[t], C[t], out=work)
        carry.add_(work)
        torch.mul(state[t], gy[t], out=work)
        torch.sum(work, -1, out=gC[t])
        torch.mul(carry, du[t], out=work)
        torch.sum(work, -1, out=gB[t])
        torch.mul(carry, B[t], out=work)
        torch.sum(work, 0, out=gdu[t])
        if t == 0:
            gdelta[0] = 0.0  # before the first step the state is zero: A has nothing to act on
            break
        carry.mul_(decay[t])
        torch.mul(carry, state[t - 1], out=work)
        torch.mul(work, delta[t], out=state[t])  # that state is no longer needed
        gA.add_(state[t])
        torch.sum(work.mul_(rates), 0, out=gdelta[t])
    return gdelta, gdu, gB, gC, gA.sum(dim=2)


def _history(
    delta: Tensor, du: Tensor, rates: Tensor, B: Tensor
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Every step's decay exp(delta A) and state, each ``(n, k, w, d)``, for one block."""
    shape = (len(delta), rates.shape[0], *delta.shape[1:])
    decay = torch.empty(shape, dtype=delta.dtype, device=delta.device).unbind()
    state = torch.empty(shape, dtype=delta.dtype, device=delta.device).unbind()
    for t in range(len(delta)):
        torch.mul(delta[t], rates, out=decay[t])
        decay[t].exp_()
        torch.mul(du[t], B[t], out=state[t])
        if t > 0:
            state[t].addcmul_(decay[t], state[t - 1])
    return decay, state


def _walks(orders: Tensor) -> tuple[Tensor, Tensor]:
    """Where step (t, j) finds its token in ``(k, l)``, and where token (j, p) finds its step."""
    k, tokens = orders.shape
    which = torch.arange(k, device=orders.device).unsqueeze(1)
    walk = (which * tokens + orders).t().reshape(-1)
    back = (orders.argsort(dim=1) * k + which).reshape(-1)
    return walk, back


def _step_first(x: Tensor, walk: Tensor) -> Tensor:
    """``(w, k, l, c)`` in token order -> ``(l, k, w, c)`` in the order of the walk."""
    w, k, tokens, c = x.shape
    flat = x.reshape(w, k * tokens, c).transpose(0, 1)
    return flat.index_select(0, walk).view(tokens, k, w, c)


def _per_state(x: Tensor, walk: Tensor) -> Tensor:
    """``(w, k, l, n)`` in token order -> ``(l, n, k, w, 1)`` in the order of the walk."""
    return _step_first(x, walk).permute(0, 3, 1, 2).contiguous().unsqueeze(-1)


def _token_first(x: Tensor, back: Tensor) -> Tensor:
    """``(l, k, w, c)`` in the order of the walk -> ``(w, k, l, c)`` in token order."""
    tokens, k, w, c = x.shape
    flat = x.reshape(tokens * k, w, c)
    return flat.index_select(0, back).view(k, tokens, w, c).permute(2, 0, 1, 3)


def _fold(gradient: Tensor, parameter: Tensor) -> Tensor:
    """Sums over the orders where they share one parameter."""
    return gradient.sum_to_size(parameter.shape)


class _OrderConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, orders: Tensor, summed: bool) -> Tensor:
        ctx.save_for_backward(x, weight, orders)
        ctx.summed = summed
        (w, *window), k = x.shape, len(orders)
        out = x.new_zeros(w, *window) if summed else x.new_empty(w, k, *window)
        for block in _blocks(w, x[0].numel(), x.device):
            padded = F.pad(x[block], (0, 0, 0, 1))
            for j, (before, after) in enumerate(_neighbours(orders)):
                z = _conv(padded, weight[j % len(weight)], before, after)[0]
                if summed:
                    out[block] += F.silu(z, inplace=True)
                else:
                    out[block, j] = F.silu(z, inplace=True)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, orders = ctx.saved_tensors
        gx, gweight = torch.zeros_like(x), torch.zeros_like(weight)
        for block in _blocks(len(x), x[0].numel(), x.device):
            padded = F.pad(x[block], (0, 0, 0, 1))
            for j, (before, after) in enumerate(_neighbours(orders)):
                taps = weight[j % len(weight)]
                z, *seen = _conv(padded, taps, before, after)
                gz = torch.ops.aten.silu_backward(g[block] if ctx.summed else g[block, j], z)
                for tap, value in enumerate(seen):
                    gweight[j % len(weight), :, tap] += (gz * value).sum(dim=(0, 1))
                # x[p] is seen by p itself, as "before" by the token after p, and the other way
                gpad = F.pad(gz, (0, 0, 0, 1))
                gx[block].addcmul_(gz, taps[:, 1])
                gx[block].addcmul_(gpad.index_select(1, after), taps[:, 0])
                gx[block].addcmul_(gpad.index_select(1, before), taps[:, 2])
        return gx, gweight, None, None


def _conv(
    padded: Tensor, taps: Tensor, before: Tensor, after: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The convolution along one walk, in token order, and what its three taps saw."""
    first, last = padded.index_select(1, before), padded.index_select(1, after)
    here = padded[:, :-1]
    z = (here * taps[:, 1]).addcmul_(first, taps[:, 0]).addcmul_(last, taps[:, 2])
    return z, first, here, last


def _neighbours(orders: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """For each order: the token walked before each token, and after it; l (a zero) for none."""
    k, tokens = orders.shape
    none = orders.new_full((k, 1), tokens)
    before = torch.empty_like(orders).scatter_(1, orders, torch.cat([none, orders[:, :-1]], dim=1))
    after = torch.empty_like(orders).scatter_(1, orders, torch.cat([orders[:, 1:], none], dim=1))
    return zip(before, after, strict=True)
