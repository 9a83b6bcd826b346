"""LBP-TOP: Local Binary Patterns on Three Orthogonal Planes, with a linear SVM.

Zhao and Pietikainen, IEEE PAMI 29 (2007); as the baseline of MEGC 2019 uses it.

Glossary (symbol: shape)

    volume      (b, T, side, side)   grey pictures from onset to offset
    XY, XT, YT  three planes         four neighbours of a voxel each: right, up, left, down, at the
                                     radii R_X = R_Y = 1 and R_T = 4 along the plane's two axes
    code        (b, t, r, c)         one bit a neighbour: whether it is at least the voxel itself
    bin         15                   the 14 codes with at most two changes around the circle, the
                                     other two together
    features    (b, 1125)            5 x 5 blocks of the picture, 3 planes, 15 shares that sum to 1

Departures: of the baseline only blocks, radii and the SVM's kernel are known. Its number of frames
is not: T = 32 moments from onset to offset here, where others interpolate. Codes are computed once
over the whole volume and counted in the block of their voxel, so blocks lose no border inside. The
four neighbours lie on the pixel grid, so nothing is interpolated.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.models.base import ClosedForm, check_input
from microexpr.nn.pairwise import pairs, solve_pairs, votes

BLOCKS, BINS = 5, 15
RADII = (4, 1, 1)  # along time, rows, columns
PLANES = ((1, 2), (0, 2), (0, 1))  # XY, XT, YT: axis of the second and of the first coordinate
_CHUNK = 16  # clips at a time: codes take several times the memory of the pictures


class LbpTop(ClosedForm):
    """LBP-TOP and a linear SVM, one class against one. Before `solve` all margins are zero.

    Args:
        classes: Number of classes.
        C: Price of a violated margin, positive.
        frames: T, at least 9.
        image: Side of the pictures in pixels, at least 10: each block then has a voxel.

    Raises:
        UserError: A setting out of its range.
    """

    paper = "Zhao and Pietikainen, Dynamic Texture Recognition (LBP-TOP), PAMI 2007"
    uncertain = "frames a clip, size of the pictures and the SVM's C are not known"
    eats = Input(("grey",), 100, "tvl1", "none", 32)
    smallest: ClassVar[dict[str, Any]] = {"frames": 9, "image": 10}
    weight: Tensor
    bias: Tensor

    def __init__(self, classes: int, C: float = 100.0, frames: int = 32, image: int = 100) -> None:
        super().__init__()
        if not C > 0 or frames <= 2 * RADII[0] or image < 2 * BLOCKS:
            raise UserError(
                "LBP-TOP needs a positive C, at least 9 frames and 10 pixels, got "
                f"{C}, {frames}, {image}"
            )
        self.classes, self.C = classes, C
        self.eats = Input(("grey",), image, "tvl1", "none", frames)
        self.register_buffer("weight", torch.zeros(len(pairs(classes)), BLOCKS**2 * 3 * BINS))
        self.register_buffer("bias", torch.zeros(len(pairs(classes))))

    def forward(self, x: Tensor) -> Tensor:
        """``(b, frames, 1, image, image)`` -> ``(b, classes)`` votes."""
        check_input(x, self.eats)
        return votes(F.linear(_features(x), self.weight, self.bias), self.classes)

    def solve(self, x: Tensor, y: Tensor, persons: Tensor, seed: int) -> None:
        """Fits the machine.

        Raises:
            UserError: Fewer than two classes in y.
        """
        check_input(x, self.eats)
        features = _features(x).double().cpu().numpy()
        normals, offsets = solve_pairs(features, y.cpu().numpy(), self.classes, self.C)
        self.weight.copy_(torch.as_tensor(normals))
        self.bias.copy_(torch.as_tensor(offsets))


def _features(x: Tensor) -> Tensor:
    return torch.cat([lbptop(part[:, :, 0]) for part in torch.split(x, _CHUNK)])


def lbptop(volume: Tensor) -> Tensor:
    """The features.

    Args:
        volume: ``(b, T, side, side)`` grey pictures.

    Returns:
        ``(b, 1125)``: block by block from the top left, in each the planes XY, XT, YT, of each 15
        shares.
    """
    b, _, side, _ = volume.shape
    line = torch.arange(1, side - 1, device=volume.device) * BLOCKS // side
    block = line[:, None] * BLOCKS + line
    bins = _uniform_bins().to(volume.device)
    counts = volume.new_zeros(b, BLOCKS**2 * 3 * BINS)
    for plane, code in enumerate(_codes(volume)):
        where = ((block * 3 + plane) * BINS + bins[code]).flatten(1)
        counts.scatter_add_(1, where, torch.ones_like(where, dtype=counts.dtype))
    return F.normalize(counts.view(b, -1, BINS), p=1.0, dim=2).flatten(1)


def _codes(volume: Tensor) -> Iterator[Tensor]:
    """The codes 0..15 of every voxel that has all its neighbours, for each plane in turn."""
    centre = _shifted(volume, (0, 0, 0))
    for second, first in PLANES:
        code = torch.zeros_like(centre, dtype=torch.int64)
        for bit, (axis, sign) in enumerate(((first, 1), (second, -1), (first, -1), (second, 1))):
            offset = [0, 0, 0]
            offset[axis] = sign * RADII[axis]
            code += (_shifted(volume, tuple(offset)) >= centre).long() << bit
        yield code


def _shifted(volume: Tensor, offset: tuple[int, ...]) -> Tensor:
    """The inner part of a volume, seen `offset` further along time, rows and columns."""
    for axis, (shift, radius) in enumerate(zip(offset, RADII, strict=True), start=1):
        volume = volume.narrow(axis, radius + shift, volume.shape[axis] - 2 * radius)
    return volume


def _uniform_bins() -> Tensor:
    """The bin of each code of four bits."""
    bins, free = [], 0
    for code in range(16):
        around = [code >> i & 1 for i in range(4)]
        changes = sum(around[i] != around[i - 1] for i in range(4))
        bins.append(free if changes <= 2 else BINS - 1)
        free += changes <= 2
    return torch.tensor(bins)
