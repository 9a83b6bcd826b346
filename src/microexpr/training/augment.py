"""Augmentation of flow fields: whatever moves the picture moves the vectors too.

All functions take ``(b, channels, h, w)`` float tensors whose planes an `Input` names, or ``(b,
frames, channels, h, w)`` and then treat all frames of a clip alike; they draw from an explicit
generator and return a new tensor of the same shape.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from microexpr.errors import UserError
from microexpr.inputs import Input


def mirror(x: Tensor, eats: Input) -> Tensor:
    """The flow of the mirrored face: planes mirrored left to right, u negated.

    In `minmax8` the planes run from 0 to 255 and u becomes 255 - u, exactly.

    >>> x = torch.tensor([[[[0.0, 255.0]], [[10.0, 20.0]]]])
    >>> mirror(x, Input(("u", "v"), 2, normalisation="minmax8")).flatten().tolist()
    [0.0, 255.0, 20.0, 10.0]
    """
    flipped = x.flip(-1)
    if "u" not in eats.channels:
        return flipped
    u = eats.channels.index("u")
    whole = 255.0 if eats.normalisation == "minmax8" else 0.0
    flipped[..., u, :, :] = whole - flipped[..., u, :, :]
    return flipped


def random_mirror(x: Tensor, eats: Input, generator: Generator) -> Tensor:
    """Mirrors each clip with probability one half."""
    chosen = torch.rand(len(x), generator=generator) < 0.5
    chosen = chosen.to(x.device).view(-1, *[1] * (x.ndim - 1))
    return torch.where(chosen, mirror(x, eats), x)


def jitter(
    x: Tensor, eats: Input, generator: Generator, *, shift: float, rotate: float, zoom: float
) -> Tensor:
    """Moves, turns and scales each clip at random about its centre, vectors included.

    Planes are resampled bilinearly and repeated past their border. Rotation turns (u, v);
    zoom scales them where they are in pixels.

    Args:
        x: ``(b, channels, h, w)`` or ``(b, frames, channels, h, w)``.
        eats: Names the planes.
        generator: Source of randomness.
        shift: Largest shift in pixels, uniform in both directions.
        rotate: Largest angle in degrees, uniform.
        zoom: Largest relative change of size, uniform.

    Raises:
        UserError: Rotation of `minmax8` planes, whose u and v have lost their common scale.
    """
    planes = x.reshape(-1, *x.shape[-3:])
    h, w = x.shape[-2:]
    draws = torch.rand(4, len(x), generator=generator).mul_(2).sub_(1).to(x)
    draws = draws.repeat_interleave(len(planes) // max(len(x), 1), dim=1)
    angle, scale = draws[0] * math.radians(rotate), 1 + draws[1] * zoom
    cos, sin = torch.cos(angle), torch.sin(angle)
    # affine_grid asks where each output pixel comes from, so this is the inverse movement, in
    # units of half the picture's side.
    ratio = w / h
    rows = [
        torch.stack([cos / scale, sin / scale / ratio, -draws[2] * shift * 2 / w], dim=1),
        torch.stack([-sin / scale * ratio, cos / scale, -draws[3] * shift * 2 / h], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(planes.shape), align_corners=False)
    moved = F.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    return (_turn(moved, eats, cos, sin, scale) if rotate or zoom else moved).view(x.shape)


def _turn(x: Tensor, eats: Input, cos: Tensor, sin: Tensor, scale: Tensor) -> Tensor:
    """The vectors of fields that were turned and scaled."""
    names = eats.channels
    length = scale if eats.normalisation == "none" else torch.ones_like(scale)
    cos, sin = (length * cos)[:, None, None], (length * sin)[:, None, None]
    if "u" in names and "v" in names:
        if eats.normalisation == "minmax8" and bool((sin != 0).any()):
            raise UserError("minmax8 planes cannot be rotated: u and v have no common scale")
        u, v = x[:, names.index("u")], x[:, names.index("v")]
        if eats.normalisation != "minmax8":
            turned = x.clone()
            turned[:, names.index("u")] = cos * u - sin * v
            turned[:, names.index("v")] = sin * u + cos * v
            x = turned
    if "m" in names and eats.normalisation == "none":
        x = x.clone()
        x[:, names.index("m")] = x[:, names.index("m")] * length[:, None, None]
    return x


def mixup(x: Tensor, y: Tensor, alpha: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Mixes each clip of a batch with another one (Zhang et al., ICLR 2018).

    Args:
        x: ``(b, ...)``.
        y: ``(b, classes)`` target mass.
        alpha: One weight per batch is drawn from Beta(alpha, alpha).
        generator: Source of randomness.
    """
    pair = torch._standard_gamma(torch.full((2,), alpha), generator=generator)
    weight = float(pair[0] / pair.sum()) if float(pair.sum()) > 0 else 1.0
    other = torch.randperm(len(x), generator=generator).to(x.device)
    return torch.lerp(x[other], x, weight), torch.lerp(y[other], y, weight)


def add_noise(x: Tensor, scale: float, generator: Generator) -> Tensor:
    """Adds white noise of `scale` times each plane's own standard deviation."""
    noise = torch.randn(x.shape, generator=generator).to(x)
    return x + noise * scale * x.std(dim=(-2, -1), keepdim=True)
