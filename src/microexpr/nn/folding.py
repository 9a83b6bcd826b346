"""Batch norms folded into the convolutions before them, for inference.

In eval mode a batch norm multiplies each channel by a number and adds another. A convolution does
that at no cost if its weights and bias are changed accordingly.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from microexpr.errors import UserError

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
_CLOSE = 1e-4  # of the largest output; rounding alone stays far below


@torch.no_grad()
def fold_batch_norms(net: nn.Module, example: Tensor) -> int:
    """Folds, in place, every batch norm that is given what a convolution returned.

    Which those are is seen while the net runs once: a norm behind an activation, or behind
    anything else, stays. A folded norm becomes ``nn.Identity``.

    Args:
        net: In eval mode.
        example: What `net` eats; the results before and after are compared on it.

    Returns:
        How many were folded.

    Raises:
        UserError: The net is in training mode, or something else reads a convolution's result
            before its batch norm does; the net may have been changed then.
    """
    if any(module.training for module in net.modules()):
        raise UserError("batch norms are folded for inference: call eval() first")
    if not any(isinstance(module, _BatchNorm) for module in net.modules()):
        return 0
    before, pairs = _watch(net, example)
    for norm, convolution in pairs.items():
        _fold(convolution, norm)
    _replace(net, {id(norm) for norm in pairs})
    after = net(example)
    if (after - before).abs().max() > _CLOSE * before.abs().max():
        raise UserError("this net cannot be folded: a convolution's result is used twice")
    return len(pairs)


def _watch(net: nn.Module, example: Tensor) -> tuple[Tensor, dict[_BatchNorm, Convolution]]:
    """The net's output, and the convolution that feeds each norm, and nothing else does."""
    made: dict[int, tuple[Convolution, Tensor, int]] = {}  # holds the tensors: ids stay theirs
    feeds: dict[_BatchNorm, set[Convolution | None]] = {}

    def note(convolution: Convolution, _: Any, output: Tensor) -> None:
        made[id(output)] = (convolution, output, output._version)

    def match(norm: _BatchNorm, given: tuple[Tensor, ...]) -> None:
        convolution, _, version = made.get(id(given[0]), (None, None, None))
        changed = version != given[0]._version  # by an activation in place
        feeds.setdefault(norm, set()).add(None if changed else convolution)

    handles = []
    for module in net.modules():
        if isinstance(module, Convolution):
            handles.append(module.register_forward_hook(note))
        elif isinstance(module, _BatchNorm) and module.running_mean is not None:
            handles.append(module.register_forward_pre_hook(match))
    try:
        output: Tensor = net(example)
    finally:
        for handle in handles:
            handle.remove()
    readers = Counter(convolution for found in feeds.values() for convolution in found)
    single = {norm: next(iter(found)) for norm, found in feeds.items() if len(found) == 1}
    return output, {norm: c for norm, c in single.items() if c is not None and readers[c] == 1}


def _fold(convolution: Convolution, norm: _BatchNorm) -> None:
    """Changes weights and bias so that the norm has nothing left to do; counted in float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = (norm.running_var.double() + norm.eps).rsqrt()
    gain = gain if norm.weight is None else gain * norm.weight
    old = 0.0 if convolution.bias is None else convolution.bias.double()
    bias = (old - norm.running_mean.double()) * gain
    bias = bias if norm.bias is None else bias + norm.bias
    weight = convolution.weight
    by_channel = gain.view(-1, *[1] * (weight.dim() - 1))
    weight.copy_(weight.double() * by_channel)
    convolution.bias = nn.Parameter(bias.to(weight.dtype), weight.requires_grad)


def _replace(net: nn.Module, folded: set[int]) -> None:
    """Puts an identity in the place of the folded norms."""
    for module in net.modules():
        for name, child in module.named_children():
            if id(child) in folded:
                setattr(module, name, nn.Identity())
