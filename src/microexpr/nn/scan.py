"""The scan of several orders over windows of tokens, one function with several backends.

- ``reference``: the plain recurrence of the published code (`microexpr.nn.scan_reference`).
- ``blocked``: plain torch with a hand-written backward; needs no compiler
  (`microexpr.nn.scan_blocked`).
- ``native``: compiled kernels for the CPU (`microexpr.nn.native`), where they are installed.
- ``triton``: kernels for a GPU (`microexpr.nn.scan_triton`), where Triton and a GPU are.

- ``graph``: the recurrence as one node of an exported graph (`microexpr.nn.scan_graph`); taken
  only where it is asked for.

``auto`` takes the fastest that can serve the tensors at hand and logs its choice once.

Symbols: w windows, l tokens of a window, k scan orders, d channels, n numbers of state (d_state).
Source: Gu and Dao, Mamba (2023); MERba, equations 2 and 3 and section III-B, for the orders.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType

import torch
from torch import Tensor

from microexpr.errors import UserError, suggest

_log = logging.getLogger(__name__)
_default: ContextVar[str] = ContextVar("scan_backend", default="auto")
_HALVES = (torch.float16, torch.bfloat16)
_MODULES = {
    "reference": "microexpr.nn.scan_reference",
    "blocked": "microexpr.nn.scan_blocked",
    "native": "microexpr.nn.native",
    "triton": "microexpr.nn.scan_triton",
    "graph": "microexpr.nn.scan_graph",
}
_loaded: dict[str, ModuleType] = {}
_KERNELS = {  # device -> compiled kernels, and the dtypes they read and write themselves
    "cpu": ("native", (torch.float32,)),
    "cuda": ("triton", (torch.float32, *_HALVES)),
}


def order_conv(
    x: Tensor, weight: Tensor, orders: Tensor, *, summed: bool, backend: str = "auto"
) -> Tensor:
    """Depthwise convolution along each of k walks, then SiLU.

    Args:
        x: ``(w, l, d)`` tokens of w windows, row by row ("token order").
        weight: ``(k, d, 3)``, or ``(1, d, 3)`` shared by the orders: kernel 3, zero padding at
            both ends of the walk, no bias.
        orders: ``(k, l)`` int64, ``orders[j, t]`` is the token that order j visits at step t;
            every row a permutation (`microexpr.nn.orders`).
        summed: Whether to add up the orders.
        backend: ``auto`` or one of `backends`.

    Returns:
        In token order, dtype of x: ``(w, k, l, d)``, or ``(w, l, d)`` when summed.

    Raises:
        UserError: Unknown or unusable backend.
        ValueError: Shapes that do not fit together.
    """
    _check_orders(orders, x.shape[1])
    if tuple(weight.shape) not in [(len(orders), x.shape[2], 3), (1, x.shape[2], 3)]:
        raise ValueError(f"weight {tuple(weight.shape)} does not fit x {tuple(x.shape)}")
    module, values = _implementation(backend, x, weight)
    out: Tensor = module.order_conv(*values, orders, summed)
    return out if out.dtype == x.dtype else out.to(x.dtype)


def window_scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    dt_bias: Tensor,
    orders: Tensor,
    *,
    backend: str = "auto",
) -> Tensor:
    """The selective scan along each of k walks, summed over them.

    With ``delta = softplus(dt + dt_bias)``, for each order, window and channel the state h (n
    numbers, zero before the first step) goes ``h = exp(delta A) h + delta u B`` and gives
    ``y = <C, h> + D u``.

    Args:
        u: ``(w, k, l, d)`` inputs in token order.
        dt: ``(w, k, l, d)`` step sizes before bias and softplus.
        A: ``(k, d, n)``, or ``(1, d, n)`` shared by the orders: negative.
        B: ``(w, k, l, n)``.
        C: ``(w, k, l, n)``.
        D: ``(k, d)`` or ``(1, d)``.
        dt_bias: ``(k, d)`` or ``(1, d)``.
        orders: ``(k, l)`` int64, as in `order_conv`.
        backend: ``auto`` or one of `backends`.

    Returns:
        ``(w, l, d)``: y in token order, summed over the orders, dtype of u. Half precision is
        computed in float32.

    Raises:
        UserError: Unknown or unusable backend.
        ValueError: Shapes that do not fit together.
    """
    _check_scan(u, dt, A, B, C, D, dt_bias, orders)
    module, values = _implementation(backend, u, dt, A, B, C, D, dt_bias)
    out: Tensor = module.window_scan(*values, orders)
    return out if out.dtype == u.dtype else out.to(u.dtype)


def backends(device: str = "cpu") -> list[str]:
    """The backends that work here for tensors on a type of device, slowest first."""
    name, _ = _KERNELS.get(device, ("", ()))
    return ["reference", "blocked", *([name] if name and _usable(name) else [])]


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Within the block, what ``backend="auto"`` means.

    A net that `torch.compile` made keeps the backend of its first call.

    Raises:
        UserError: Unknown backend, or one that does not work here.
    """
    if name != "auto":
        _check_backend(name)
    token = _default.set(name)
    try:
        yield
    finally:
        _default.reset(token)


def _implementation(backend: str, *values: Tensor) -> tuple[ModuleType, tuple[Tensor, ...]]:
    """The module that serves tensors like the first one, and the tensors as it takes them."""
    device, dtype = values[0].device.type, values[0].dtype
    name = _choose(backend, device, dtype)
    kernels, dtypes = _KERNELS.get(device, ("", ()))
    if name != kernels or dtype not in dtypes:
        values = tuple(map(_full, values))
    return _loaded[name], values


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _choose(backend: str, device: str, dtype: torch.dtype) -> str:
    """The backend that serves tensors of a type on a type of device."""
    kernels, dtypes = _KERNELS.get(device, ("", ()))
    serves = (torch.float32 if dtype in _HALVES else dtype) in dtypes and _usable(kernels)
    name = _default.get() if backend == "auto" else backend
    if name == "auto":
        name = kernels if serves else "blocked"
        _announce(name, device, str(dtype))
    _check_backend(name)
    if name in ("native", "triton") and not (serves and name == kernels):
        raise UserError(
            f"the {name} scan does not serve {dtype} on {device}: take backend 'blocked'"
        )
    return name


def _check_backend(name: str) -> None:
    if name not in _MODULES or not _usable(name):
        known = [name for name in _MODULES if _usable(name)]
        raise UserError(f"unknown or unusable scan backend '{name}': {suggest(name, known)}")


@functools.cache
def _usable(name: str) -> bool:
    """Whether a backend is installed and can run here; imports it."""
    _loaded[name] = importlib.import_module(_MODULES[name])
    available: Callable[[], bool] | None = getattr(_loaded[name], "available", None)
    return available is None or available()


@functools.cache
def _announce(name: str, device: str, dtype: str) -> None:
    """Logs a choice once; what has been logged is in the cache."""
    _log.info("scan backend: %s (%s, %s)", name, device, dtype)


def _full(x: Tensor) -> Tensor:
    """Half precision as float32: a decay close to one would vanish in eight bits."""
    return x.float() if x.dtype in _HALVES else x


def _check_orders(orders: Tensor, tokens: int) -> None:
    if orders.ndim != 2 or orders.shape[1] != tokens or orders.dtype != torch.int64:
        raise ValueError(
            f"orders must be (k, {tokens}) int64, got {tuple(orders.shape)} {orders.dtype}"
        )


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
    w, k, tokens, d = u.shape
    n = A.shape[-1]
    _check_orders(orders, tokens)
    per_channel = [(k, d), (1, d)]  # lists: the sizes of a graph under way cannot be hashed
    wanted: dict[str, tuple[Tensor, list[tuple[int, ...]]]] = {
        "dt": (dt, [(w, k, tokens, d)]),
        "A": (A, [(k, d, n), (1, d, n)]),
        "B": (B, [(w, k, tokens, n)]),
        "C": (C, [(w, k, tokens, n)]),
        "D": (D, [*per_channel]),
        "dt_bias": (dt_bias, [*per_channel]),
        "orders": (orders, [(k, tokens)]),
    }
    for name, (value, shapes) in wanted.items():
        if tuple(value.shape) not in shapes:
            raise ValueError(f"{name} {tuple(value.shape)} does not fit u {tuple(u.shape)}")
