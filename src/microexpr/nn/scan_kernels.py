"""GPU kernels (Triton) of the convolution and the scan along token orders.

A program takes a block of channels of one window and walks its tokens by the index table `orders`:
nothing is gathered or scattered in memory. Each thread holds the whole state of its channels in
registers: tensors are (states, channels), threads lie along the channels. The inputs of a step are
asked for one step ahead, so that the memory answers while the step before it is worked out.

Where a sum over the orders is wanted, each program adds up its own in `acc` (float32) and writes
the last one to `out`; no two programs write to one place, so there are no atomics, and the same
call gives the same bits. Sums over windows and channels are written as partial sums, which the
caller (`microexpr.nn.scan_triton`) adds up.

Symbols: W windows, K orders, T tokens of a window, D channels, N states (NP: the next power of
two), BLOCK channels of a program. ``*_row`` is the distance between two tokens' rows in memory,
``*_step`` that between two orders' parameters: 0 where the orders share them.
"""

from __future__ import annotations

import triton
import triton.language as tl

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
def read(base, at, mask):
    """Float32 values, 0 where masked."""
    return tl.load(base + at, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def read_states(base, at, N: tl.constexpr, NP: tl.constexpr):
    """The N numbers of one token, padded with zeros; without a mask where there is no padding."""
    n = tl.arange(0, NP)
    if N == NP:
        return tl.load(base + at + n).to(tl.float32)
    else:
        return tl.load(base + at + n, mask=n < N, other=0.0).to(tl.float32)


@triton.jit
def add_up(acc, out, at, d, value, D, first, last):
    """Writes `value` plus what `acc` holds: to `acc`, and for the last order to `out`.

    Masks compare `d` with a limit: the interpreter cannot spread a single truth value.
    """
    total = value + read(acc, at, d < tl.where(first, 0, D))
    tl.store(acc + at, total, mask=d < tl.where(last, 0, D))
    tl.store(out + at, total.to(out.dtype.element_ty), mask=d < tl.where(last, D, 0))


# ---- depthwise convolution, kernel 3, zero padding, then SiLU ----


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


# ---- selective scan ----


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
    """Every groups-th window, BLOCK channels, one order.

    The walk forward keeps the state before every SEGMENT-th step. Then, segment by segment from
    the last, the states before each of its steps are made once more, and the walk back uses them.
    """
    group, block, k = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    d = block * BLOCK + tl.arange(0, BLOCK)
    n = tl.arange(0, NP)
    inside = d < D
    state = tl.max_contiguous(n[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :], (1, 1))
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
        for t in range(T):
            mark = state + t // SEGMENT * (NP * BLOCK)
            tl.store(marks + mark, h, mask=state < tl.where(t % SEGMENT == 0, NP * BLOCK, 0))
            at = row + tl.load(orders + k * T + t)
            x, raw, b = read_step(u, dt, B, at, u_row, dt_row, B_row, d, inside, N, NP)
            h = advance(h, rates, x, raw, b, offset)
        dh = tl.zeros([NP, BLOCK], tl.float32)
        for back in range(segments):
            start = (segments - 1 - back) * SEGMENT
            stop = tl.minimum(start + SEGMENT, T)
            tl.debug_barrier()  # marks are written, and the history of the segment before is used
            h = tl.load(marks + state + (segments - 1 - back) * (NP * BLOCK))
            for t in range(start, stop):
                tl.store(history + state + (t - start) * (NP * BLOCK), h)
                at = row + tl.load(orders + k * T + t)
                x, raw, b = read_step(u, dt, B, at, u_row, dt_row, B_row, d, inside, N, NP)
                h = advance(h, rates, x, raw, b, offset)
            tl.debug_barrier()
            for i in range(stop - start):
                t = stop - 1 - i
                p = tl.load(orders + k * T + t)
                at = row + p
                x, raw, b = read_step(u, dt, B, at, u_row, dt_row, B_row, d, inside, N, NP)
                c = read_states(C, at * C_row, N, NP)
                g = read(grad, (w * T + p) * grad_row + d, inside)
                before = tl.load(history + state + (t - start) * (NP * BLOCK))
                step, slope = softplus(raw + offset)
                factor = tl.exp2(rates * step[None, :])
                h = factor * before + b[:, None] * (step * x)[None, :]
                dh += g[None, :] * c[:, None]
                at_sums = (sums + p) * N + n
                tl.store(dC + at_sums, tl.sum(h * g[None, :], axis=1), mask=n < N)
                tl.store(dB + at_sums, tl.sum(dh * (step * x)[None, :], axis=1), mask=n < N)
                dinput = tl.sum(dh * b[:, None], axis=0)
                dh *= factor
                dexponent = dh * before  # gradient of step * A
                rates_grad += dexponent * step[None, :]
                draw = (tl.sum(dexponent * rates, axis=0) / LOG2E + dinput * x) * slope
                offset_grad += draw
                through_grad += g * x
                to_token = at * D + d
                tl.store(
                    du + to_token,
                    (dinput * step + through * g).to(du.dtype.element_ty),
                    mask=inside,
                )
                tl.store(ddt + to_token, draw.to(ddt.dtype.element_ty), mask=inside)
        tl.debug_barrier()
    channel = (group * K + k) * D + d
    tl.store(dskip + channel, through_grad, mask=inside)
    tl.store(dbias + channel, offset_grad, mask=inside)
    at = tl.max_contiguous((group * K + k) * N * D + n[:, None] * D + d[None, :], (1, 1))
    tl.store(dA + at, rates_grad, mask=inside[None, :] & (n[:, None] < N))
