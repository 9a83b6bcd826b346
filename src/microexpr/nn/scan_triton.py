"""Depthwise convolution and selective scan along token orders on a GPU, by Triton.

Triton comes with the CUDA build of torch. The kernels (`microexpr.nn.conv_kernels`,
`microexpr.nn.scan_kernels`) are compiled at their first call. The arithmetic is float32; bfloat16
and float16 are read and written as such. The same call gives the same bits: no atomics, sums in a
fixed order.

With the variable TRITON_INTERPRET=1 the kernels run on the CPU, step by step and slowly: that is
how they are tested without a GPU.

Symbols: w windows, k scan orders, t tokens of a window, d channels, n numbers of state. Source of
the recurrence: Gu and Dao, Mamba (2023), algorithm 2.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
from contextlib import nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from microexpr.errors import UserError
from microexpr.native import MESSAGES
from microexpr.nn.operators import check_conv, check_scan, define, in_shape_of

_CHANNELS = 128  # of a program that walks forward: one a thread
_CHANNELS_BACK = 64  # of the scan's walk back, one warp: two a thread share sums over channels
_PROGRAMS = 12  # of the walk back on each multiprocessor: as many as its registers hold,
_REGISTERS = 160  # of each thread; ptxas would take 220, and 128 are too few


def available() -> bool:
    """Whether Triton is installed and has a GPU to run on. Never raises."""
    return importlib.util.find_spec("triton") is not None and torch.cuda.is_available()


def order_conv(x: Tensor, weight: Tensor, orders: Tensor, summed: bool) -> Tensor:
    """SiLU of a depthwise convolution (kernel 3, zero padding, no bias) along each order.

    Args:
        x: (w, t, d) tokens; float32, bfloat16 or float16, on a GPU.
        weight: (k, d, 3), or (1, d, 3) for all orders: taps for the token before, here, after.
        orders: (k, t) int64, each row a permutation of 0 .. t - 1.
        summed: Whether to add up the orders.

    Returns:
        (w, k, t, d) in token order, or (w, t, d) if summed; dtype of x.

    Raises:
        UserError: An argument has a wrong shape, dtype or device, or is empty.
    """
    check_conv(x, weight, orders, _devices())
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
        u: (w, k, t, d) input of each order; float32, bfloat16 or float16, on a GPU.
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
        UserError: An argument has a wrong shape, dtype or device, or is empty.
    """
    check_scan(u, dt, A, B, C, D, dt_bias, orders, _devices())
    out: Tensor = _scan_op(u, dt, A, B, C, D, dt_bias, orders)
    return out


# ---- launches ----


def _conv(x: Tensor, weight: Tensor, orders: Tensor, summed: bool) -> Tensor:
    (w, tokens, d), k = x.shape, len(orders)
    x, x_row = _rows(x)
    weight, block = weight.contiguous(), _block(d, _CHANNELS)
    out = x.new_empty((w, tokens, d) if summed else (w, k, tokens, d))
    acc = _sums_of(out) if summed else out
    sizes = (d, k, tokens, x_row, _step(weight), summed, block)
    arrays = (x, weight, _walks(orders), acc, out)
    _launch("conv_forward", (w, -(-d // block)), block // 32, x, (*arrays, *sizes))
    return out


def _conv_backward(
    grad: Tensor, x: Tensor, weight: Tensor, orders: Tensor, summed: bool
) -> tuple[Tensor, Tensor]:
    (w, tokens, d), k = x.shape, len(orders)
    (x, x_row), (grad, grad_row) = _rows(x), _rows(grad)
    weight, block = weight.contiguous(), _block(d, _CHANNELS)
    blocks = -(-d // block)
    groups = _groups(w, blocks, x.device)
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    dweight = _numbers(x, groups, k, d, 3)
    sizes = (w, d, k, tokens, x_row, grad_row, _step(weight), summed, block)
    arrays = (x, weight, _walks(orders), grad, _sums_of(dx), dx, dweight)
    _launch("conv_backward", (groups, blocks), block // 32, x, (*arrays, *sizes))
    return dx, in_shape_of(dweight.sum(0), weight)


def _scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    dt_bias: Tensor,
    orders: Tensor,
) -> Tensor:
    (w, k, tokens, d), n = u.shape, A.shape[2]
    block = _block(d, _CHANNELS)
    blocks = -(-d // block)
    few = w * blocks < 4 * _processors(u.device)  # then each order is a program of its own
    splits = k if few else 1
    out = _numbers(u, k, w, tokens, d) if few and k > 1 else u.new_empty((w, tokens, d))
    arrays, rows, steps = _arguments(u, dt, A, B, C, D, dt_bias)
    arrays = (*arrays, _walks(orders), _sums_of(out), out)
    sizes = (w, d, k, tokens, k // splits, *rows, *steps, n, _power(n), block)
    _launch("scan_forward", (w, blocks, splits), block // 32, u, (*arrays, *sizes))
    return out if out.ndim == 3 else out.sum(0).to(u.dtype)


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
) -> tuple[Tensor, ...]:
    (w, k, tokens, d), n = u.shape, A.shape[2]
    grad, grad_row = _rows(grad)
    block, padded = _block(d, _CHANNELS_BACK), _power(n)
    blocks = -(-d // block)
    groups = _groups(w, blocks * k, u.device)
    segment = math.isqrt(tokens - 1) + 1
    du, ddt = (torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in (u, dt))
    dB, dC = (_numbers(u, blocks, w, k, tokens, n) for _ in "BC")
    dA, dskip, dbias = (_numbers(u, groups, k, *rest) for rest in ((n, d), (d,), (d,)))
    states = -(-tokens // segment) + segment
    scratch = _numbers(u, groups * blocks * k, states, padded, block)
    arrays, rows, steps = _arguments(u, dt, A, B, C, D, dt_bias)
    results = (du, ddt, dA, dB, dC, dskip, dbias, scratch)
    sizes = (w, d, k, tokens, *rows, grad_row, *steps, segment, n, padded, block)
    arrays = (*arrays, _walks(orders), grad, *results)
    registers = _REGISTERS if padded <= 8 else None
    _launch("scan_backward", (groups, blocks, k), 1, u, (*arrays, *sizes), registers)
    sums = (dA.sum(0).transpose(1, 2), dB.sum(0), dC.sum(0), dskip.sum(0), dbias.sum(0))
    shared = map(in_shape_of, sums, (A, B, C, D, dt_bias))
    return (du, ddt, *(t.contiguous() for t in shared))


def _arguments(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, dt_bias: Tensor
) -> tuple[tuple[Tensor, ...], tuple[int, ...], tuple[int, ...]]:
    """What both scans read: tensors as the kernels take them, rows' and orders' distances."""
    tokens, rows = zip(*map(_rows, (u, dt, B, C)), strict=True)
    shared = (A.transpose(1, 2).contiguous(), D.contiguous(), dt_bias.contiguous())
    arrays = (*tokens[:2], shared[0], *tokens[2:], *shared[1:])
    return arrays, rows, tuple(map(_step, shared))


def _launch(
    name: str,
    grid: tuple[int, ...],
    warps: int,
    x: Tensor,
    arguments: tuple[Any, ...],
    registers: int | None = None,
) -> None:
    """Starts a kernel on x's device; the inputs are asked for ahead by hand, so one stage."""
    options = {"num_warps": warps, "num_stages": 1, "enable_fp_fusion": True}
    if registers and torch.version.hip is None:
        options["maxnreg"] = registers
    with torch.cuda.device(x.device) if x.is_cuda else nullcontext():
        _start(name, grid, options, arguments)


def _start(
    name: str, grid: tuple[int, ...], options: dict[str, Any], arguments: tuple[Any, ...]
) -> None:
    _kernel(name)[grid](*arguments, **options)


@cache
def _kernel(name: str) -> Any:
    if importlib.util.find_spec("triton") is None:
        raise UserError("Triton is not installed (it comes with the CUDA build of torch)")
    return getattr(importlib.import_module(f"microexpr.nn.{name[:4]}_kernels"), name)


def _devices() -> tuple[str, ...]:
    return ("cuda", "cpu") if os.environ.get("TRITON_INTERPRET") == "1" else ("cuda",)


@cache
def _processors(device: torch.device) -> int:
    """Multiprocessors; of a CPU that interprets the kernels one, so that every path is walked."""
    if device.type != "cuda":
        return 1
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def _groups(windows: int, each: int, device: torch.device) -> int:
    """Into how many programs to part the windows; each group has `each` programs."""
    return min(windows, max(1, _PROGRAMS * _processors(device) // each))


# ---- tensors ----

_checked = WeakTensorKeyDictionary()


def _walks(orders: Tensor) -> Tensor:
    """The orders, dense. Looked through once for each tensor: it makes the CPU wait for the GPU."""
    version = 0 if orders.is_inference() else orders._version
    if orders not in _checked or _checked[orders] != version:
        whole = torch.arange(orders.shape[1], device=orders.device).expand_as(orders)
        if not torch.equal(orders.sort(1).values, whole):
            raise UserError(MESSAGES[1])
        _checked[orders] = version
    return orders.contiguous()


def _rows(t: Tensor) -> tuple[Tensor, int]:
    """The tensor with its tokens' rows at one distance, and that distance: a copy if need be."""
    if t.is_contiguous():
        return t, t.shape[-1]
    even = all(t.stride(i) == t.stride(i + 1) * t.shape[i + 1] for i in range(t.ndim - 2))
    if t.stride(-1) == 1 and even:
        return t, t.stride(-2)
    return t.contiguous(), t.shape[-1]


def _sums_of(out: Tensor) -> Tensor:
    """Where to add up what ends in `out`: itself, or numbers of more digits."""
    return out if out.dtype == torch.float32 else _numbers(out, *out.shape)


def _numbers(x: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, device=x.device)


def _step(parameter: Tensor) -> int:
    """Distance between two orders' parameters; 0 where one serves all."""
    return 0 if len(parameter) == 1 else parameter.stride(0)


def _block(channels: int, most: int) -> int:
    return min(most, max(32, _power(channels)))


def _power(number: int) -> int:
    """The power of two that is no smaller."""
    return 1 << (number - 1).bit_length()


_conv_op, _scan_op = define("triton_", _devices, _conv, _conv_backward, _scan, _scan_backward)
