"""Depthwise convolution and selective scan along token orders, by the native library (CPU).

Symbols: w windows, k scan orders, t tokens of a window, d channels, n numbers of state. The tokens
of an argument lie in token order, row by row; `orders[j, s]` is the token that order j visits at
step s. The arithmetic is float32; bfloat16 and float16 are converted on the way in and out. Results
are the same bits for any number of threads. Source of the recurrence: Gu and Dao, Mamba (2023),
algorithm 2.

Both functions are operators, `microexpr::order_conv` and `microexpr::window_scan`, which
`torch.compile` and `torch.export` know. The C functions trust what they are given: every argument
is checked here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from microexpr.errors import UserError
from microexpr.native import MESSAGES, library
from microexpr.nn.operators import check_conv, check_scan, define, in_shape_of


def available() -> bool:
    """Whether the library is built and loads on this machine. Never raises."""
    return library() is not None


def order_conv(x: Tensor, weight: Tensor, orders: Tensor, summed: bool) -> Tensor:
    """SiLU of a depthwise convolution (kernel 3, zero padding, no bias) along each order.

    Args:
        x: (w, t, d) tokens; float32, bfloat16 or float16, on the CPU.
        weight: (k, d, 3), or (1, d, 3) for all orders: taps for the token before, here, after.
        orders: (k, t) int64, each row a permutation of 0 .. t - 1.
        summed: whether to add up the orders.

    Returns:
        (w, k, t, d) in token order, or (w, t, d) if summed; dtype of x.

    Raises:
        UserError: an argument has a wrong shape, dtype or device, or is empty.
    """
    check_conv(x, weight, orders, ("cpu",))
    out: Tensor = _conv_op(x, weight, orders, bool(summed))
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
    """The selective scan along each order, summed over the orders.

    With delta = softplus(dt + dt_bias), order j walks its tokens from h = 0 on:
    h = exp(delta A) h + delta u B, y = <C, h> + D u.

    Args:
        u: (w, k, t, d) input of each order; float32, bfloat16 or float16, on the CPU.
        dt: (w, k, t, d) step before bias and softplus.
        A: (k, d, n), or (1, d, n) for all orders: negative.
        B: (w, k, t, n).
        C: (w, k, t, n).
        D: (k, d) or (1, d).
        dt_bias: (k, d) or (1, d).
        orders: (k, t) int64, each row a permutation of 0 .. t - 1.

    Returns:
        (w, t, d) in token order; dtype of u.

    Raises:
        UserError: an argument has a wrong shape, dtype or device, or is empty.
    """
    check_scan(u, dt, A, B, C, D, dt_bias, orders, ("cpu",))
    out: Tensor = _scan_op(u, dt, A, B, C, D, dt_bias, orders)
    return out


# ---- calls of the C functions ----


def _conv_forward(x: Tensor, weight: Tensor, orders: Tensor, summed: bool) -> Tensor:
    (w, tokens, d), k = x.shape, len(orders)
    out = _empty((w, tokens, d) if summed else (w, k, tokens, d))
    _call_conv(x, weight, orders, summed, (out, None, None, None))
    return out.to(x.dtype)


def _conv_backward(
    grad: Tensor, x: Tensor, weight: Tensor, orders: Tensor, summed: bool
) -> tuple[Tensor, Tensor]:
    dx, dweight = _empty(x.shape), _empty((len(orders), *weight.shape[1:]))
    _call_conv(x, weight, orders, summed, (None, _dense(grad), dx, dweight))
    return dx.to(x.dtype), in_shape_of(dweight, weight)


def _call_conv(
    x: Tensor, weight: Tensor, orders: Tensor, summed: bool, results: Sequence[Tensor | None]
) -> None:
    (w, tokens, d), k = x.shape, len(orders)
    flags = (len(weight) == 1, summed)
    _call(0, (w, k, tokens, d), flags, orders, (_dense(x), _dense(weight), *results))


def _scan_forward(*inputs: Tensor) -> Tensor:
    u = inputs[0]
    y = _empty((u.shape[0], *u.shape[2:]))
    _call_scan(inputs, (y, *[None] * 8))
    return y.to(u.dtype)


def _scan_backward(grad: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    k, values = inputs[0].shape[1], inputs[:-1]
    u, dt, A, B, C, D, dt_bias = (t.shape for t in values)
    shapes = (u, dt, (k, *A[1:]), B, C, (k, *D[1:]), (k, *dt_bias[1:]))
    grads = [_empty(shape) for shape in shapes]
    _call_scan(inputs, (None, _dense(grad), *grads))
    return tuple(map(in_shape_of, grads, values))


def _call_scan(inputs: Sequence[Tensor], results: Sequence[Tensor | None]) -> None:
    *values, orders = inputs
    u, _, A, _, _, D, dt_bias = values
    flags = (len(A) == 1, len(D) == 1, len(dt_bias) == 1)
    _call(1, (*u.shape, A.shape[2]), flags, orders, (*map(_dense, values), *results))


def _call(
    which: int,
    sizes: Sequence[int],
    flags: Sequence[bool],
    orders: Tensor,
    arrays: Sequence[Tensor | None],
) -> None:
    """Calls a C function: sizes, flags, orders, then dense float32 arrays, None for unused ones."""
    orders = orders.contiguous()
    pointers = [None if t is None else t.data_ptr() for t in arrays]
    threads = torch.get_num_threads()
    status = _functions()[which](threads, *sizes, *flags, orders.data_ptr(), *pointers)
    if status:
        raise UserError(MESSAGES[status])


@cache
def _functions() -> tuple[Any, Any]:
    loaded = library()
    if loaded is None:
        raise UserError("the native library is not available; use another scan backend")
    integer, size, array = ctypes.c_int, ctypes.c_int64, ctypes.c_void_p
    conv, scan = loaded.microexpr_order_conv, loaded.microexpr_window_scan
    conv.argtypes = [integer, *[size] * 4, *[integer] * 2, *[array] * 7]
    scan.argtypes = [integer, *[size] * 5, *[integer] * 3, *[array] * 17]
    return conv, scan


def _dense(t: Tensor) -> Tensor:
    return t.float().contiguous()


def _empty(shape: Sequence[int]) -> Tensor:
    return torch.empty(shape, dtype=torch.float32)


_conv_op, _scan_op = define(
    "", lambda: ("cpu",), _conv_forward, _conv_backward, _scan_forward, _scan_backward
)
