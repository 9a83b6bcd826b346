"""GPU kernels (Triton) of the selective scan along token orders.

They walk as those of `microexpr.nn.conv_kernels` do, whose symbols hold here too; N states, NP the
next power of two. Each thread holds the whole state of its channels in registers: tensors are
(states, channels), and threads lie along the channels.

Backward, the walk forward keeps the state before every SEGMENT-th step. Then, segment by segment
from the last, the states before each of its steps are made once more, and the walk back uses them.
"""

from __future__ import annotations

import triton
import triton.language as tl

from microexpr.nn.conv_kernels import add_up, read

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def softplus(x):
    """``log(1 + exp(x))`` and its slope, to the last bits of float32 and without overflow."""
    e = tl.exp(-tl.abs(x))
    s = e / (2.0 + e)  # log(1 + e) = 2 artanh(s), s <= 1/3: a short series, exact for tiny e too
    q = s * s
    series = 1 / 9 + q * (1 / 11 + q * (1 / 13))
    series = 1.0 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * series)))
    slope = tl.where(x >= 0.0, 1.0, e) / (1.0 + e)
    return tl.maximum(x, 0.0) + 2.0 * s * series, slope


@triton.jit
def read_states(base, at, N: tl.constexpr, NP: tl.constexpr):
    """The N numbers of one token, padded with zeros; without a mask where there is no padding."""
    n = tl.arange(0, NP)
    if N == NP:
        return tl.load(base + at + n).to(tl.float32)
    else:
        return tl.load(base + at + n, mask=n < N, other=0.0).to(tl.float32)


@triton.jit
def read_step(u, dt, B, at, u_row, dt_row, B_row, d, inside, N: tl.constexpr, NP: tl.constexpr):
    """What the state needs of one step: u, raw step size, B."""
    x = read(u, at * u_row + d, inside)
    raw = read(dt, at * dt_row + d, inside)
    return x, raw, read_states(B, at * B_row, N, NP)


@triton.jit
def advance(h, rates, x, raw, b, offset):
    """The state one step on."""
    step, _ = softplus(raw + offset)
    return tl.exp2(rates * step[None, :]) * h + b[:, None] * (step * x)[None, :]


@triton.jit
def read_rates(A, k, A_step, D, d, inside, N: tl.constexpr, NP: tl.constexpr):
    """A of one order, (NP, BLOCK), times log2(e): for exp2."""
    n = tl.arange(0, NP)[:, None]
    at = tl.max_contiguous(k * A_step + n * D + d[None, :], (1, 1))
    return read(A, at, inside[None, :] & (n < N)) * LOG2E


@triton.jit
def scan_forward(
    u,  # (W, K, T, D)
    dt,  # (W, K, T, D)
    A,  # (K or 1, D, N)
    B,  # (W, K, T, N)
    C,  # (W, K, T, N)
    skip,  # (K or 1, D)
    bias,  # (K or 1, D)
    orders,  # (K, T) int64
    acc,  # (W, T, D) float32, or out itself
    out,  # (W, T, D); one such for each third program
    W,
    D,
    K,
    T,
    per,
    u_row,
    dt_row,
    B_row,
    C_row,
    A_step,
    skip_step,
    bias_step,
    N: tl.constexpr,
    NP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One window, BLOCK channels, `per` of the orders."""
    w = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = d < D
    first = tl.program_id(2) * per
    y_row = (tl.program_id(2).to(tl.int64) * W + w) * T
    for k in range(first, first + per):
        row = (w * K + k) * T
        rates = read_rates(A, k, A_step, D, d, inside, N, NP)
        through = read(skip, k * skip_step + d, inside)
        offset = read(bias, k * bias_step + d, inside)
        h = tl.zeros([NP, BLOCK], tl.float32)
        p = tl.load(orders + k * T)
        at = row + p
        x, raw, b = read_step(u, dt, B, at, u_row, dt_row, B_row, d, inside, N, NP)
        c = read_states(C, at * C_row, N, NP)
        for t in range(T):
            ahead = tl.load(orders + k * T + tl.minimum(t + 1, T - 1))
            at = row + ahead
            x_next, raw_next, b_next = read_step(
                u, dt, B, at, u_row, dt_row, B_row, d, inside, N, NP
            )
            c_next = read_states(C, at * C_row, N, NP)
            h = advance(h, rates, x, raw, b, offset)
            y = tl.sum(h * c[:, None], axis=0) + through * x
            to = (y_row + p) * D + d
            add_up(acc, out, to, d, y, D, k == first, k == first + per - 1)
            p = ahead
            x = x_next
            raw = raw_next
            b = b_next
            c = c_next
        tl.debug_barrier()  # the next order reads what this one added up


@triton.jit
def keep_states(
    h,  # before step `start`
    to,  # (states kept, NP, BLOCK) float32
    every,
    start,
    stop,
    order,  # (T,) int64
    u,
    dt,
    B,
    row,
    u_row,
    dt_row,
    B_row,
    rates,
    offset,
    d,
    inside,
    N: tl.constexpr,
    NP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Walks from `start` to `stop` and writes the state before every `every`-th of these steps."""
    place = places(NP, BLOCK)
    for t in range(start, stop):
        kept = (t - start) // every
        wanted = tl.where((t - start) % every == 0, NP * BLOCK, 0)
        tl.store(to + place + kept * (NP * BLOCK), h, mask=place < wanted)
        at = row + tl.load(order + t)
        x, raw, b = read_step(u, dt, B, at, u_row, dt_row, B_row, d, inside, N, NP)
        h = advance(h, rates, x, raw, b, offset)


@triton.jit
def places(NP: tl.constexpr, BLOCK: tl.constexpr):
    """Where each number of a state lies; the hint keeps a state in the layout of `h`."""
    place = tl.arange(0, NP)[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    return tl.max_contiguous(place, (1, 1))


@triton.jit
def adjoint(dh, before, g, b, c, x, step, rates):
    """One step back: gradients of the state before, of C, B, input, and of the exponent step * A.

    `dh` is the gradient of the state after this step by what comes later, `before` the state before
    it, `g` the gradient of its output; `b`, `c`, `x` and `step` are its B, C, u and step size.
    """
    factor = tl.exp2(rates * step[None, :])
    h = factor * before + b[:, None] * (step * x)[None, :]
    dh += g[None, :] * c[:, None]
    dC = tl.sum(h * g[None, :], axis=1)
    dB = tl.sum(dh * (step * x)[None, :], axis=1)
    dinput = tl.sum(dh * b[:, None], axis=0)
    dh *= factor
    return dh, dC, dB, dinput, dh * before


@triton.jit
def scan_backward(
    u,
    dt,
    A,
    B,
    C,
    skip,
    bias,
    orders,
    grad,  # (W, T, D)
    du,  # (W, K, T, D)
    ddt,  # (W, K, T, D)
    dA,  # (groups, K, D, N) float32, partial sums over windows
    dB,  # (blocks, W, K, T, N) float32, partial sums over channels
    dC,  # (blocks, W, K, T, N) float32
    dskip,  # (groups, K, D) float32
    dbias,  # (groups, K, D) float32
    scratch,  # (programs, ceil(T / SEGMENT) + SEGMENT, NP, BLOCK) float32
    W,
    D,
    K,
    T,
    u_row,
    dt_row,
    B_row,
    C_row,
    grad_row,
    A_step,
    skip_step,
    bias_step,
    SEGMENT,
    N: tl.constexpr,
    NP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Every groups-th window, BLOCK channels, one order."""
    group, block, k = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    d = block * BLOCK + tl.arange(0, BLOCK)
    n = tl.arange(0, NP)
    inside = d < D
    order = orders + k * T
    place = places(NP, BLOCK)
    segments = tl.cdiv(T, SEGMENT)
    program = (group * tl.num_programs(1) + block) * K + k
    marks = scratch + program * (segments + SEGMENT) * NP * BLOCK
    history = marks + segments * NP * BLOCK
    rates = read_rates(A, k, A_step, D, d, inside, N, NP)
    through = read(skip, k * skip_step + d, inside)
    offset = read(bias, k * bias_step + d, inside)
    rates_grad = tl.zeros([NP, BLOCK], tl.float32)
    through_grad = tl.zeros([BLOCK], tl.float32)
    offset_grad = tl.zeros([BLOCK], tl.float32)
    for w in range(group, W, tl.num_programs(0)):
        row = (w * K + k) * T
        sums = (block * W * K + w * K + k) * T
        h = tl.zeros([NP, BLOCK], tl.float32)
        # fmt: off
        keep_states(h, marks, SEGMENT, 0, T, order, u, dt, B, row, u_row, dt_row, B_row,
                    rates, offset, d, inside, N, NP, BLOCK)
        dh = tl.zeros([NP, BLOCK], tl.float32)
        for back in range(segments):
            start = (segments - 1 - back) * SEGMENT
            stop = tl.minimum(start + SEGMENT, T)
            tl.debug_barrier()  # marks are written, and the history of the segment before is used
            h = tl.load(marks + place + (segments - 1 - back) * (NP * BLOCK))
            keep_states(h, history, 1, start, stop, order, u, dt, B, row, u_row, dt_row, B_row,
                        rates, offset, d, inside, N, NP, BLOCK)
            # fmt: on
            tl.debug_barrier()
            for i in range(stop - start):
                t = stop - 1 - i
                p = tl.load(order + t)
                at = row + p
                x, raw, b = read_step(u, dt, B, at, u_row, dt_row, B_row, d, inside, N, NP)
                c = read_states(C, at * C_row, N, NP)
                g = read(grad, (w * T + p) * grad_row + d, inside)
                before = tl.load(history + place + (t - start) * (NP * BLOCK))
                step, slope = softplus(raw + offset)
                dh, dc, db, dinput, dexponent = adjoint(dh, before, g, b, c, x, step, rates)
                tl.store(dC + (sums + p) * N + n, dc, mask=n < N)
                tl.store(dB + (sums + p) * N + n, db, mask=n < N)
                rates_grad += dexponent * step[None, :]
                draw = (tl.sum(dexponent * rates, axis=0) / LOG2E + dinput * x) * slope
                offset_grad += draw
                through_grad += g * x
                to = at * D + d
                dx = dinput * step + through * g
                tl.store(du + to, dx.to(du.dtype.element_ty), mask=inside)
                tl.store(ddt + to, draw.to(ddt.dtype.element_ty), mask=inside)
        tl.debug_barrier()
    channel = (group * K + k) * D + d
    tl.store(dskip + channel, through_grad, mask=inside)
    tl.store(dbias + channel, offset_grad, mask=inside)
    at = tl.max_contiguous((group * K + k) * N * D + n[:, None] * D + d[None, :], (1, 1))
    tl.store(dA + at, rates_grad, mask=inside[None, :] & (n[:, None] < N))
