"""Depthwise convolution and selective scan along token orders, by the native library (CPU).

Glossary: w windows (or whole images), k orders, l tokens of a window, d channels, n states.
Tokens lie in token order, row by row; `orders[j, s]` is the token that order j visits at step s.
The arithmetic is float32; bfloat16 and float16 are converted on the way in and out. Results are
the same bits for any number of threads. Source of the recurrence: Gu and Dao, "Mamba", 2023,
algorithm 2; of four orders summed: MERba.

`torch.compile` and `torch.export` see both functions as the operators `microexpr::order_conv` and
`microexpr::window_scan`.
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


def available() -> bool:
    """Whether the library is built and loads on this machine."""
    return library() is not None


def order_conv(x: Tensor, weight: Tensor, orders: Tensor, summed: bool) -> Tensor:
    """SiLU of a depthwise convolution (kernel 3, zero padding) along each order.

    Args:
        x: (w, l, d) tokens in token order; float32, bfloat16 or float16, on the CPU.
        weight: (k, d, 3), or (1, d, 3) for all orders; taps for the token before, here, after.
        orders: (k, l) int64, each row a permutation of 0 .. l - 1.
        summed: whether to add up the orders.

    Returns:
        (w, k, l, d) in token order, or (w, l, d) if summed; dtype of x.

    Raises:
        UserError: an argument has a wrong shape, dtype or device, or is empty.
    """
    _check_conv(x, weight, orders)
    return _conv_op(x, weight, orders, summed)


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

    With delta = softplus(dt + dt_bias), order j walks its tokens:
    h = exp(delta A) h + delta u B, y = <C, h> + D u.

    Args:
        u: (w, k, l, d) input of each order in token order.
        dt: (w, k, l, d) step before bias and softplus.
        A: (k or 1, d, n) negative.
        B: (w, k, l, n) input matrix.
        C: (w, k, l, n) output matrix.
        D: (k or 1, d) skip.
        dt_bias: (k or 1, d).
        orders: (k, l) int64, each row a permutation of 0 .. l - 1.

    Returns:
        (w, l, d) in token order; dtype of u.

    Raises:
        UserError: an argument has a wrong shape, dtype or device, or is empty.
    """
    _check_scan(u, dt, A, B, C, D, dt_bias, orders)
    return _scan_op(u, dt, A, B, C, D, dt_bias, orders)


# ---- checks: the C functions trust what they are given ----

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def _check_conv(x: Tensor, weight: Tensor, orders: Tensor) -> None:
    w, l, d = _check("x", x, (None, None, None))
    k = _check_orders(orders, l)
    _check("weight", weight, ((1, k), d, 3))


def _check_scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    dt_bias: Tensor,
    orders: Tensor,
) -> None:
    w, k, l, d = _check("u", u, (None, None, None, None))
    _check_orders(orders, l, k)
    _check("dt", dt, (w, k, l, d))
    n = _check("A", A, ((1, k), d, None))[2]
    _check("B", B, (w, k, l, n))
    _check("C", C, (w, k, l, n))
    _check("D", D, ((1, k), d))
    _check("dt_bias", dt_bias, ((1, k), d))


def _check_orders(orders: Tensor, l: int, k: int | None = None) -> int:
    if not isinstance(orders, Tensor) or orders.dtype != torch.int64:
        raise UserError("orders: expected a tensor of int64")
    return _check_shape("orders", orders, (k, l))[0]


def _check(name: str, t: Tensor, shape: Sequence[int | tuple[int, int] | None]) -> torch.Size:
    if not isinstance(t, Tensor) or t.dtype not in DTYPES:
        got = t.dtype if isinstance(t, Tensor) else type(t).__name__
        raise UserError(f"{name}: expected a tensor of float32, bfloat16 or float16, got {got}")
    return _check_shape(name, t, shape)


def _check_shape(
    name: str, t: Tensor, shape: Sequence[int | tuple[int, int] | None]
) -> torch.Size:
    """None in `shape` is any size; a pair is either of two. Empty tensors are refused."""
    fits = len(t.shape) == len(shape) and all(
        size > 0 and (want is None or size == want or (type(want) is tuple and size in want))
        for size, want in zip(t.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("?" if want is None else str(want) for want in shape)
        raise UserError(f"{name}: expected shape ({wanted}), none of it 0, got {tuple(t.shape)}")
    if t.device.type != "cpu":
        raise UserError(f"{name}: the native library works on the CPU, got a tensor on {t.device}")
    return t.shape


# ---- calls of the C functions; the arguments have been checked ----


def _conv_forward(x: Tensor, weight: Tensor, orders: Tensor, summed: bool) -> Tensor:
    (w, l, d), k = x.shape, len(orders)
    out = x.new_empty((w, l, d) if summed else (w, k, l, d), dtype=torch.float32)
    _call_conv((x, weight), orders, (w, k, l, d), summed, (out, None, None, None))
    return out.to(x.dtype)


def _conv_backward(
    grad: Tensor, x: Tensor, weight: Tensor, orders: Tensor, summed: bool
) -> tuple[Tensor, Tensor]:
    (w, l, d), k = x.shape, len(orders)
    dx, dweight = _empty(x.shape), _empty((k, d, 3))
    _call_conv((x, weight), orders, (w, k, l, d), summed, (None, _dense(grad), dx, dweight))
    return dx.to(x.dtype), _like(dweight, weight)


def _call_conv(
    inputs: Sequence[Tensor],
    orders: Tensor,
    shape: tuple[int, ...],
    summed: bool,
    outputs: Sequence[Tensor | None],
) -> None:
    x, weight = dense = [_dense(t) for t in inputs]
    orders = orders.contiguous()
    status = _functions()[0](
        torch.get_num_threads(),
        *shape,
        len(weight) == 1,
        summed,
        orders.data_ptr(),
        *(t.data_ptr() for t in dense),
        *(None if t is None else t.data_ptr() for t in outputs),
    )
    _raise(status)


def _scan_forward(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    dt_bias: Tensor,
    orders: Tensor,
) -> Tensor:
    w, _, l, d = u.shape
    y = _empty((w, l, d))
    _call_scan((u, dt, A, B, C, D, dt_bias), orders, (y, *[None] * 8))
    return y.to(u.dtype)


def _scan_backward(
    grad: Tensor,
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    dt_bias: Tensor,
    orders: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    inputs = (u, dt, A, B, C, D, dt_bias)
    k, d, n = u.shape[1], *A.shape[1:]
    shapes = (u.shape, u.shape, (k, d, n), B.shape, B.shape, (k, d), (k, d))
    grads = [_empty(shape) for shape in shapes]
    _call_scan(inputs, orders, (None, _dense(grad), *grads))
    return tuple(map(_like, grads, inputs))  # type: ignore[return-value]


def _call_scan(
    inputs: Sequence[Tensor], orders: Tensor, outputs: Sequence[Tensor | None]
) -> None:
    u, _, A, _, _, D, dt_bias = dense = [_dense(t) for t in inputs]
    orders = orders.contiguous()
    status = _functions()[1](
        torch.get_num_threads(),
        *u.shape,
        A.shape[2],
        len(A) == 1,
        len(D) == 1,
        len(dt_bias) == 1,
        orders.data_ptr(),
        *(t.data_ptr() for t in dense),
        *(None if t is None else t.data_ptr() for t in outputs),
    )
    _raise(status)


@cache
def _functions() -> tuple[Any, Any]:
    loaded = library()
    if loaded is None:
        raise UserError("the native library is not available; use backend 'blocked'")
    integer, size, array = ctypes.c_int, ctypes.c_int64, ctypes.c_void_p
    conv, scan = loaded.microexpr_order_conv, loaded.microexpr_window_scan
    conv.argtypes = [integer, *[size] * 4, *[integer] * 2, *[array] * 7]
    scan.argtypes = [integer, *[size] * 5, *[integer] * 3, *[array] * 17]
    return conv, scan


def _dense(t: Tensor) -> Tensor:
    return t.float().contiguous()


def _empty(shape: Sequence[int]) -> Tensor:
    return torch.empty(shape, dtype=torch.float32)


def _like(grad: Tensor, parameter: Tensor) -> Tensor:
    """A gradient in the shape and dtype of its argument; orders that share one are summed."""
    if grad.shape != parameter.shape:
        grad = grad.sum(0, keepdim=True)
    return grad.to(parameter.dtype)


def _raise(status: int) -> None:
    if status:
        raise UserError(MESSAGES[status])


# ---- operators: what autograd, torch.compile and torch.export see ----

_conv_op = torch.library.custom_op("microexpr::order_conv", _conv_forward, mutates_args=())
_conv_backward_op = torch.library.custom_op(
    "microexpr::order_conv_backward", _conv_backward, mutates_args=()
)
_scan_op = torch.library.custom_op("microexpr::window_scan", _scan_forward, mutates_args=())
_scan_backward_op = torch.library.custom_op(
    "microexpr::window_scan_backward", _scan_backward, mutates_args=()
)


@_conv_op.register_fake
def _(x: Tensor, weight: Tensor, orders: Tensor, summed: bool) -> Tensor:
    w, l, d = x.shape
    return x.new_empty((w, l, d) if summed else (w, len(orders), l, d))


@_conv_backward_op.register_fake
def _(
    grad: Tensor, x: Tensor, weight: Tensor, orders: Tensor, summed: bool
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), weight.new_empty(weight.shape)


@_scan_op.register_fake
def _(u: Tensor, dt: Tensor, *parameters: Tensor) -> Tensor:
    w, _, l, d = u.shape
    return u.new_empty((w, l, d))


@_scan_backward_op.register_fake
def _(grad: Tensor, *arguments: Tensor) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape) for t in arguments[:-1])


def _save_conv(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.summed = inputs
    ctx.save_for_backward(*tensors)


def _conv_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return (*_conv_backward_op(grad, *ctx.saved_tensors, ctx.summed), None, None)


def _save_scan(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _scan_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return (*_scan_backward_op(grad, *ctx.saved_tensors), None)


_conv_op.register_autograd(_conv_gradient, setup_context=_save_conv)
_scan_op.register_autograd(_scan_gradient, setup_context=_save_scan)
