"""Colour pictures as nets that were trained on photographs expect them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def imagenet(x: Tensor) -> Tensor:
    """Red, green, blue from 0..255 to the scale of ImageNet's photographs.

    Args:
        x: ``(..., 3, h, w)``.

    >>> [round(value, 3) for value in imagenet(torch.full((3, 1, 1), 255.0)).flatten().tolist()]
    [2.249, 2.429, 2.64]
    """
    mean, std = (
        torch.tensor(v, dtype=x.dtype, device=x.device)[:, None, None] for v in (MEAN, STD)
    )
    return (x / 255 - mean) / std


def flow_colours(u: Tensor, v: Tensor) -> Tensor:
    """Flow as a picture: direction is hue, full saturation, magnitude is brightness.

    The rendering of OpenCV's dense-flow sample, which several systems of this field read: hue goes
    once round for once round the compass from the right over down; brightness runs from 0 at the
    least magnitude of the picture to 1 at the greatest.

    Args:
        u: ``(..., h, w)`` to the right.
        v: The same downwards.

    Returns:
        ``(..., 3, h, w)`` red, green, blue in [0, 1]; a picture of constant magnitude is black.
    """
    magnitude = torch.hypot(u, v)
    low = magnitude.amin(dim=(-2, -1), keepdim=True)
    span = magnitude.amax(dim=(-2, -1), keepdim=True) - low
    value = (magnitude - low) / torch.where(span > 0, span, torch.ones_like(span))
    sixth = torch.atan2(v, u) * (3 / math.pi)  # hue in sixths of a turn
    # Red is full within one sixth of hue 0 and gone two sixths away; green and blue likewise.
    shifted = torch.stack([sixth, sixth - 2, sixth - 4], dim=-3)
    distance = (shifted + 3).remainder(6) - 3
    return value.unsqueeze(-3) * (2 - distance.abs()).clamp(0, 1)
