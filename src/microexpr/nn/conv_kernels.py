"""GPU kernels (Triton) of the depthwise convolution along token orders.

A program takes a block of channels of one window, a thread a channel, and walks the tokens by the
index table `orders`: nothing is gathered or scattered in memory. What a step reads is asked for one
step ahead, so that the memory answers while the step before it is worked out.

Where a sum over the orders is wanted, each program adds up its own in `acc` (float32) and writes
the last one to `out`; no two programs write to one place, so there are no atomics, and the same
call gives the same bits. Sums over windows are written as partial sums, which the caller
(`microexpr.nn.scan_triton`) adds up.

Symbols: W windows, K orders, T tokens of a window, D channels, BLOCK channels of a program.
``*_row`` is the distance between two tokens' rows in memory, ``*_step`` that between two orders'
parameters: 0 where the orders share them.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def read(base, at, mask):
    """Float32 values, 0 where masked."""
    return tl.load(base + at, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def add_up(acc, out, at, d, value, D, first, last):
    """Writes `value` plus what `acc` holds: to `acc`, and for the last order to `out`.

    Masks compare `d` with a limit: the interpreter cannot spread a single truth value.
    """
    total = value + read(acc, at, d < tl.where(first, 0, D))
    tl.store(acc + at, total, mask=d < tl.where(last, 0, D))
    tl.store(out + at, total.to(out.dtype.element_ty), mask=d < tl.where(last, D, 0))


@triton.jit
def conv_forward(
    x,  # (W, T, D)
    weight,  # (K or 1, D, 3)
    orders,  # (K, T) int64
    acc,  # (W, T, D) float32, or out itself
    out,  # (W, T, D) if SUMMED, else (W, K, T, D)
    D,
    K,
    T,
    x_row,
    weight_step,
    SUMMED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One window, BLOCK channels, all orders."""
    w = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = d < D
    x += w * T * x_row
    for k in range(K):
        taps = weight + k * weight_step + d * 3
        before, here, after = read(taps, 0, inside), read(taps, 1, inside), read(taps, 2, inside)
        p = tl.load(orders + k * T)
        past = tl.zeros([BLOCK], tl.float32)
        now = read(x, p * x_row + d, inside)
        for t in range(T):
            ahead = tl.load(orders + k * T + tl.minimum(t + 1, T - 1))
            future = read(x, ahead * x_row + d, d < tl.where(t + 1 < T, D, 0))
            z = before * past + here * now + after * future
            y = z * tl.sigmoid(z)
            if SUMMED:
                add_up(acc, out, (w * T + p) * D + d, d, y, D, k == 0, k == K - 1)
            else:
                at = ((w * K + k) * T + p) * D + d
                tl.store(out + at, y.to(out.dtype.element_ty), mask=inside)
            past = now
            now = future
            p = ahead
        tl.debug_barrier()  # the next order reads what this one added up


@triton.jit
def conv_backward(
    x,
    weight,
    orders,
    grad,  # like out of conv_forward
    acc,  # (W, T, D) float32, or dx itself
    dx,  # (W, T, D)
    dweight,  # (groups, K, D, 3) float32, partial sums
    W,
    D,
    K,
    T,
    x_row,
    grad_row,
    weight_step,
    SUMMED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Every groups-th window, BLOCK channels, all orders."""
    group = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = d < D
    for k in range(K):
        taps = weight + k * weight_step + d * 3
        before, here, after = read(taps, 0, inside), read(taps, 1, inside), read(taps, 2, inside)
        dbefore = tl.zeros([BLOCK], tl.float32)
        dhere = tl.zeros([BLOCK], tl.float32)
        dafter = tl.zeros([BLOCK], tl.float32)
        for w in range(group, W, tl.num_programs(0)):
            row = w * T if SUMMED else (w * K + k) * T
            p = tl.load(orders + k * T)
            last = p
            past = tl.zeros([BLOCK], tl.float32)
            now = read(x, (w * T + p) * x_row + d, inside)
            g = read(grad, (row + p) * grad_row + d, inside)
            dz_last = tl.zeros([BLOCK], tl.float32)  # of the two steps before this one
            dz_now = tl.zeros([BLOCK], tl.float32)
            for t in range(T + 1):  # the step past the end has no gradient: it finishes the last
                ahead = tl.load(orders + k * T + tl.minimum(t + 1, T - 1))
                more = d < tl.where(t + 1 < T, D, 0)
                future = read(x, (w * T + ahead) * x_row + d, more)
                g_ahead = read(grad, (row + ahead) * grad_row + d, more)
                z = before * past + here * now + after * future
                slope = tl.sigmoid(z)
                dz = g * slope * (1.0 + z * (1.0 - slope))
                dbefore += dz * past
                dhere += dz * now
                dafter += dz * future
                seen = after * dz_last + here * dz_now + before * dz
                at = (w * T + last) * D + d
                add_up(acc, dx, at, d, seen, tl.where(t > 0, D, 0), k == 0, k == K - 1)
                dz_last = dz_now
                dz_now = dz
                past = now
                now = future
                g = g_ahead
                last = p
                p = ahead
        sums = dweight + ((group * K + k) * D + d) * 3
        tl.store(sums, dbefore, mask=inside)
        tl.store(sums + 1, dhere, mask=inside)
        tl.store(sums + 2, dafter, mask=inside)
        tl.debug_barrier()
