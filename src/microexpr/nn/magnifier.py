"""The motion magnifier: a UNet that makes optical flow larger (Liu et al., AMMSM, section III-A).

Glossary (symbol: shape, equation)

    OF_ori   (b, planes, h, w)   flow, onset to apex
    alpha    (b, 1, h, w)        magnification factor, 1 to 4, as a map
    OF_mag   (b, planes, h, w)   what the net makes of both
    L_mag    mean of |alpha OF_ori - OF_mag|; Eq. 1

The net is the usual UNet with bilinear upsampling (17.26 M parameters at width 64). The factor
comes as one constant channel, or as the 32 sines and cosines of Pan et al. (NeurIPS 2023).

`move_pixels` turns a magnified flow into a magnified picture.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from microexpr.errors import UserError, suggest
from microexpr.files import replacing

ENCODINGS = ("constant", "sinusoidal")
_WAVES = 16  # wavelengths 2^-3 to 2^7, evenly spaced in the exponent
_FORMAT = "microexpr-magnifier-1"


class _Twice(nn.Sequential):
    """Convolution 3x3, batch norm, ReLU; and again."""

    def __init__(self, inside: int, between: int, outside: int) -> None:
        layers: list[nn.Module] = []
        for before, after in ((inside, between), (between, outside)):
            conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class Magnifier(nn.Module):
    """Flow and a factor in, magnified flow out.

    Args:
        planes: Planes of the flow: 2 for u and v.
        width: Channels at full size; they double from level to level, save at the last.
        levels: How often the side is halved.
        encoding: ``constant``: the factor as one channel; ``sinusoidal``: as 32.
        residual: Whether the net adds to ``alpha * flow`` instead of making all of the output. It
            then starts as exactly that.

    Raises:
        UserError: A setting out of its range.
    """

    def __init__(
        self,
        planes: int = 2,
        width: int = 64,
        levels: int = 4,
        encoding: str = "constant",
        residual: bool = False,
    ) -> None:
        super().__init__()
        if encoding not in ENCODINGS:
            raise UserError(f"unknown alpha encoding '{encoding}': {suggest(encoding, ENCODINGS)}")
        if planes < 1 or width < 1 or levels < 1:
            raise UserError(
                f"a magnifier needs planes, width and levels of at least 1, got {width}"
            )
        self.settings: dict[str, Any] = {
            "planes": planes,
            "width": width,
            "levels": levels,
            "encoding": encoding,
            "residual": residual,
        }
        self.encoding, self.residual, self.levels = encoding, residual, levels
        widths = [width * 2**i for i in range(levels)]
        extra = 1 if encoding == "constant" else 2 * _WAVES
        self.first = _Twice(planes + extra, width, width)
        self.down = nn.ModuleList(
            _Twice(a, b, b) for a, b in zip(widths, [*widths[1:], widths[-1]], strict=True)
        )
        outs = [width, *widths[:-1]]
        self.up = nn.ModuleList(
            _Twice(2 * a, a, b) for a, b in zip(widths[::-1], outs[::-1], strict=True)
        )
        self.last = nn.Conv2d(width, planes, 1)
        if residual:
            for parameter in self.last.parameters():
                nn.init.zeros_(parameter)

    def forward(self, flow: Tensor, alpha: float | Tensor) -> Tensor:
        """Magnified flow.

        Args:
            flow: ``(b, planes, h, w)``; a side is at least ``2**levels``.
            alpha: A number, ``(b,)``, or a map ``(b, 1, h, w)``: 1 where nothing shall grow.

        Returns:
            ``(b, planes, h, w)`` in the unit of `flow`.
        """
        factor = alpha_map(alpha, flow)
        x = self.first(torch.cat([flow, self._encoded(factor)], dim=1))
        skips = []
        for step in self.down:
            skips.append(x)
            x = step(F.max_pool2d(x, 2))
        for step in self.up:
            skip = skips.pop()
            x = F.interpolate(x, skip.shape[-2:], mode="bilinear", align_corners=False)
            x = step(torch.cat([skip, x], dim=1))
        out: Tensor = self.last(x)
        return factor * flow + out if self.residual else out

    def _encoded(self, factor: Tensor) -> Tensor:
        """``(b, 1, h, w)`` -> one channel, or sine and cosine at each wavelength."""
        if self.encoding == "constant":
            return factor
        waves = torch.linspace(-3, 7, _WAVES, dtype=factor.dtype, device=factor.device).exp2()
        phase = factor * (2 * math.pi / waves)[:, None, None]
        return torch.cat([phase.sin(), phase.cos()], dim=1)


def alpha_map(alpha: float | Tensor, flow: Tensor) -> Tensor:
    """The factor as a map ``(b, 1, h, w)`` over `flow`; see `Magnifier.forward`."""
    factor = torch.as_tensor(alpha, dtype=flow.dtype, device=flow.device)
    if factor.ndim < 4:
        factor = factor.view(-1, 1, 1, 1)
    return factor.expand(len(flow), 1, *flow.shape[-2:])


def magnification_loss(flow: Tensor, magnified: Tensor, alpha: float | Tensor) -> Tensor:
    """Eq. 1: the mean distance of the magnified flow from alpha times the flow; a scalar."""
    return (alpha_map(alpha, flow) * flow - magnified).abs().mean()


def move_pixels(frame: Tensor, flow: Tensor, magnified: Tensor, steps: int = 10) -> Tensor:
    """A frame in which the motion since the onset has become another one.

    What stood at p in the onset and stands at p + flow(p) in `frame` goes to p + magnified(p). For
    each pixel of the result p is found by fixed-point iteration, then `frame` is read bilinearly.

    Args:
        frame: ``(b, c, h, w)``, the frame that `flow` leads to.
        flow: ``(b, 2, h, w)``, u and v from the onset to it, in pixels.
        magnified: The same of the wanted motion.
        steps: Iterations; the error falls by the flow's steepest slope each time.

    Returns:
        ``(b, c, h, w)``; beyond its border a frame repeats its last pixels.
    """
    h, w = frame.shape[-2:]
    down, right = torch.meshgrid(
        torch.arange(h, dtype=flow.dtype, device=flow.device),
        torch.arange(w, dtype=flow.dtype, device=flow.device),
        indexing="ij",
    )
    here = torch.stack([right, down]).expand_as(flow)
    start = here
    for _ in range(steps):
        start = here - _read(magnified, start)
    return _read(frame, start + _read(flow, start))


def _read(planes: Tensor, place: Tensor) -> Tensor:
    """``planes`` read at pixel positions ``place`` ``(b, 2, h, w)``: column, then row."""
    h, w = planes.shape[-2:]
    half = torch.tensor([w, h], dtype=place.dtype, device=place.device).view(1, 2, 1, 1) / 2
    grid = ((place + 0.5) / half - 1).permute(0, 2, 3, 1)
    return F.grid_sample(planes, grid, padding_mode="border", align_corners=False)


def save_magnifier(magnifier: Magnifier, path: Path) -> None:
    """Writes a magnifier alone to a safetensors file, under a temporary name that is renamed."""
    about = json.dumps({"format": _FORMAT, **magnifier.settings}, sort_keys=True)
    weights = {name: value.contiguous().cpu() for name, value in magnifier.state_dict().items()}
    with replacing(path) as unfinished:
        save_file(weights, unfinished, metadata={"microexpr": about})


def load_magnifier(path: Path) -> Magnifier:
    """Reads what `save_magnifier` wrote, in eval mode.

    Raises:
        UserError: No such file, or not one of a magnifier.
    """
    if not path.is_file():
        raise UserError(f"no magnifier at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("microexpr", "{}"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged or no safetensors file: {error}") from error
    if about.pop("format", None) != _FORMAT:
        raise UserError(f"{path} holds no magnifier: write one with save_magnifier")
    magnifier = Magnifier(**about)
    magnifier.load_state_dict(weights)
    return magnifier.eval()
