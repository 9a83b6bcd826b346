"""The two operations of a mixer as operators: what autograd, torch.compile and torch.export see.

A library of kernels (`microexpr.nn.native`, `microexpr.nn.scan_triton`) brings four functions of
plain tensors; here they get their checks, shapes without data ("fake" tensors) and gradients.

Symbols: w windows, k scan orders, t tokens of a window, d channels, n numbers of state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from microexpr.errors import UserError

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
Shape = Sequence[int | tuple[int, int] | None]  # a size, either of two, or any

_CONV = "Tensor x, Tensor weight, Tensor orders, bool summed"
_SCAN = "Tensor u, Tensor dt, Tensor A, Tensor B, Tensor C, Tensor D, Tensor dt_bias, Tensor orders"


def define(
    prefix: str,
    devices: Callable[[], Sequence[str]],
    conv: Callable[..., Tensor],
    conv_backward: Callable[..., tuple[Tensor, ...]],
    scan: Callable[..., Tensor],
    scan_backward: Callable[..., tuple[Tensor, ...]],
) -> tuple[Any, Any]:
    """Registers ``microexpr::{prefix}order_conv`` and ``microexpr::{prefix}window_scan``.

    Args:
        prefix: Of the names.
        devices: Types of device that serve, see `check_conv`.
        conv: ``(x, weight, orders, summed)`` -> result.
        conv_backward: ``(grad, x, weight, orders, summed)`` -> gradients of x and weight.
        scan: ``(u, dt, A, B, C, D, dt_bias, orders)`` -> result.
        scan_backward: ``(grad, u, ..., orders)`` -> gradients of the seven tensors before orders.

    Returns:
        Both operators. They check their tensors, for an exported program calls them directly.
    """
    good_conv: Callable[..., None] = check_conv
    good_scan: Callable[..., None] = check_scan

    def checked_conv(*values: Any) -> Tensor:
        good_conv(*values[:3], devices())
        return conv(*values)

    def checked_conv_grad(grad: Tensor, *values: Any) -> tuple[Tensor, ...]:
        good_conv(*values[:3], devices())
        _check("grad", grad, _conv_shape(*values), values[0].device)
        return conv_backward(grad, *values)

    def checked_scan(*values: Tensor) -> Tensor:
        good_scan(*values, devices=devices())
        return scan(*values)

    def checked_scan_grad(grad: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        good_scan(*values, devices=devices())
        _check("grad", grad, _scan_shape(values[0]), values[0].device)
        return scan_backward(grad, *values)

    conv_op = _operator(f"{prefix}order_conv", checked_conv, _CONV, 1)
    conv_grad = _operator(
        f"{prefix}order_conv_backward", checked_conv_grad, f"Tensor grad, {_CONV}", 2
    )
    scan_op = _operator(f"{prefix}window_scan", checked_scan, _SCAN, 1)
    scan_grad = _operator(
        f"{prefix}window_scan_backward", checked_scan_grad, f"Tensor grad, {_SCAN}", 7
    )

    def conv_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (*conv_grad(grad, *ctx.saved_tensors, *ctx.rest), None, None)

    def scan_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (*scan_grad(grad, *ctx.saved_tensors), None)

    conv_op.register_fake(_conv_fake)
    scan_op.register_fake(_scan_fake)
    conv_grad.register_fake(_gradients_fake)
    scan_grad.register_fake(_gradients_fake)
    conv_op.register_autograd(conv_gradient, setup_context=_save)
    scan_op.register_autograd(scan_gradient, setup_context=_save)
    return conv_op, scan_op


def _operator(name: str, function: Any, arguments: str, results: int) -> Any:
    returned = "Tensor" if results == 1 else f"({', '.join(['Tensor'] * results)})"
    return torch.library.custom_op(
        f"microexpr::{name}", function, mutates_args=(), schema=f"({arguments}) -> {returned}"
    )


def _conv_fake(x: Tensor, weight: Tensor, orders: Tensor, summed: bool) -> Tensor:
    return x.new_empty(_conv_shape(x, weight, orders, summed))


def _scan_fake(u: Tensor, *_: Tensor) -> Tensor:
    return u.new_empty(_scan_shape(u))


def _conv_shape(x: Tensor, _: Tensor, orders: Tensor, summed: bool) -> tuple[int, ...]:
    w, tokens, d = x.shape
    return (w, tokens, d) if summed else (w, len(orders), tokens, d)


def _scan_shape(u: Tensor) -> tuple[int, ...]:
    return (u.shape[0], *u.shape[2:])


def _gradients_fake(_: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
    """Gradients look like their arguments; the last ones (orders, summed) have none."""
    values = (t for t in inputs if isinstance(t, Tensor) and t.is_floating_point())
    return tuple(t.new_empty(t.shape) for t in values)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*(t for t in inputs if isinstance(t, Tensor)))
    ctx.rest = [t for t in inputs if not isinstance(t, Tensor)]


# ---- checks: kernels read memory by what they are told, so nothing unchecked may reach them ----


def check_conv(x: Tensor, weight: Tensor, orders: Tensor, devices: Sequence[str]) -> None:
    """Refuses arguments of the convolution that a kernel cannot take.

    Args:
        x: ``(w, t, d)``; float32, bfloat16 or float16.
        weight: ``(k, d, 3)`` or ``(1, d, 3)``, on x's device.
        orders: ``(k, t)`` int64, on x's device.
        devices: Types of device that serve ("cpu", "cuda").

    Raises:
        UserError: A wrong type, shape, dtype or device, or something empty; it names the argument.
    """
    _, tokens, d = _check("x", x, (None, None, None), _device("x", x, devices))
    k = _check_orders(orders, None, tokens, x.device)
    _check("weight", weight, ((1, k), d, 3), x.device)


def check_scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    dt_bias: Tensor,
    orders: Tensor,
    devices: Sequence[str],
) -> None:
    """Refuses arguments of the scan that a kernel cannot take.

    Args:
        u: ``(w, k, t, d)``; float32, bfloat16 or float16.
        dt: Same shape; here and below on u's device.
        A: ``(k, d, n)`` or ``(1, d, n)``.
        B: ``(w, k, t, n)``.
        C: ``(w, k, t, n)``.
        D: ``(k, d)`` or ``(1, d)``.
        dt_bias: ``(k, d)`` or ``(1, d)``.
        orders: ``(k, t)`` int64.
        devices: See `check_conv`.

    Raises:
        UserError: See `check_conv`.
    """
    w, k, tokens, d = _check("u", u, (None, None, None, None), _device("u", u, devices))
    _check_orders(orders, k, tokens, u.device)
    _check("dt", dt, (w, k, tokens, d), u.device)
    n = _check("A", A, ((1, k), d, None), u.device)[2]
    _check("B", B, (w, k, tokens, n), u.device)
    _check("C", C, (w, k, tokens, n), u.device)
    _check("D", D, ((1, k), d), u.device)
    _check("dt_bias", dt_bias, ((1, k), d), u.device)


def _device(name: str, t: Tensor, devices: Sequence[str]) -> torch.device:
    """Where the first argument lies and all others must."""
    if isinstance(t, Tensor) and t.device.type not in devices:
        raise UserError(f"{name}: expected a tensor on {' or '.join(devices)}, got {t.device}")
    return t.device if isinstance(t, Tensor) else torch.device(devices[0])


def _check(name: str, t: Tensor, shape: Shape, device: torch.device) -> torch.Size:
    if not isinstance(t, Tensor) or t.dtype not in DTYPES:
        got = t.dtype if isinstance(t, Tensor) else type(t).__name__
        raise UserError(f"{name}: expected a tensor of float32, bfloat16 or float16, got {got}")
    return _check_place(name, t, shape, device)


def _check_orders(orders: Tensor, k: int | None, tokens: int, device: torch.device) -> int:
    if not isinstance(orders, Tensor) or orders.dtype != torch.int64:
        raise UserError("orders: expected a tensor of int64")
    return _check_place("orders", orders, (k, tokens), device)[0]


def _check_place(name: str, t: Tensor, shape: Shape, device: torch.device) -> torch.Size:
    if t.dim() != len(shape) or not all(map(_fits, t.shape, shape)):
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise UserError(f"{name}: expected shape ({wanted}), none of it 0, got {tuple(t.shape)}")
    if t.device != device or t.layout != torch.strided:
        raise UserError(
            f"{name}: expected a dense tensor on {device}, got {t.layout} on {t.device}"
        )
    return t.shape


def _fits(size: int, want: int | tuple[int, int] | None) -> bool:
    if want is None:
        return size > 0
    return size == want or (isinstance(want, tuple) and size in want)


def in_shape_of(grad: Tensor, argument: Tensor) -> Tensor:
    """A gradient in the shape and dtype of its argument: summed where the orders share it."""
    if grad.shape != argument.shape:
        grad = grad.sum(0, keepdim=True)
    return grad.to(argument.dtype)
