"""Bi-WOOF: Bi-Weighted Oriented Optical Flow, with a linear SVM.

Liong, See, Wong and Phan, Less is More: Micro-expression Recognition from Video using Apex Frame,
Signal Processing: Image Communication 62 (2018), arXiv 1606.01721.

Glossary (symbol: shape; where in the paper)

    u, v        (b, side, side)   flow onset to apex; section 3.2
    rho, theta  (b, side, side)   its magnitude and orientation in [-pi, pi); Eq. 5 and 6
    epsilon     (b, side, side)   optical strain; Eq. 10
    blocks      5 x 5             non-overlapping; pixel r is in block floor(5 r / side)
    histogram   (b, 25, 8)        orientations weighted by rho (local), each block's sum made 1
    features    (b, 200)          times the block's sum of epsilon (global); the whole of length 1

The features do not depend on the unit of the flow, only on its zero: `minmax8` planes have lost it
and are refused.

Departures: the apex comes from the data set or from preprocessing, not from D&C-RoIs. The SVM is
LIBSVM's with C = 10 000, as its authors' code is said to set it. Orientation exactly pi counts as
-pi.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.models.base import ClosedForm, check_input
from microexpr.nn.pairwise import pairs, solve_pairs, votes

BLOCKS, BINS = 5, 8


class BiWoof(ClosedForm):
    """Bi-WOOF and a linear SVM, one class against one. Before `solve` all margins are zero.

    Args:
        classes: Number of classes.
        C: Price of a violated margin, positive.
        image: Side of the input in pixels, at least 5.
        normalisation: See `microexpr.inputs.Input`; not ``minmax8``.

    Raises:
        UserError: A setting out of its range.
    """

    paper = "Liong et al., Less is More (Bi-WOOF), Signal Processing: Image Communication 2018"
    uncertain = "the SVM's C (10 000) is remembered, not read"
    eats = Input(("u", "v", "strain"), 224, "tvl1", "none")
    smallest: ClassVar[dict[str, Any]] = {"image": 15}
    weight: Tensor
    bias: Tensor

    def __init__(
        self, classes: int, C: float = 10_000.0, image: int = 224, normalisation: str = "none"
    ) -> None:
        super().__init__()
        if not C > 0 or image < BLOCKS:
            raise UserError(f"C must be positive and image at least {BLOCKS}, got {C} and {image}")
        if normalisation == "minmax8":
            raise UserError(
                "Bi-WOOF needs flow whose zero is rest, which minmax8 lost: take 'robust' or 'none'"
            )
        self.classes, self.C = classes, C
        self.eats = Input(("u", "v", "strain"), image, "tvl1", normalisation)
        self.register_buffer("weight", torch.zeros(len(pairs(classes)), BLOCKS**2 * BINS))
        self.register_buffer("bias", torch.zeros(len(pairs(classes))))

    def forward(self, x: Tensor) -> Tensor:
        """``(b, 3, image, image)`` -> ``(b, classes)`` votes (`microexpr.nn.pairwise.votes`)."""
        check_input(x, self.eats)
        return votes(F.linear(biwoof(x), self.weight, self.bias), self.classes)

    def solve(self, x: Tensor, y: Tensor, persons: Tensor, seed: int) -> None:
        """Fits the machine.

        Raises:
            UserError: Fewer than two classes in y.
        """
        check_input(x, self.eats)
        features = biwoof(x.double()).cpu().numpy()
        normals, offsets = solve_pairs(features, y.cpu().numpy(), self.classes, self.C)
        self.weight.copy_(torch.as_tensor(normals))
        self.bias.copy_(torch.as_tensor(offsets))


def biwoof(x: Tensor) -> Tensor:
    """The features.

    Args:
        x: ``(b, 3, side, side)`` u, v and optical strain.

    Returns:
        ``(b, 200)`` of length one: block by block from the top left, eight orientations from -pi.
        A clip without motion or without strain gives zeros.
    """
    u, v, strain = x.unbind(dim=1)
    side = x.shape[-1]
    turn = torch.atan2(v, u) / (2 * math.pi) + 0.5
    bins = (turn * BINS).floor().long() % BINS
    line = torch.arange(side, device=x.device) * BLOCKS // side
    block = line[:, None] * BLOCKS + line
    where = (block * BINS + bins).flatten(1)
    histogram = x.new_zeros(len(x), BLOCKS**2 * BINS)
    histogram.scatter_add_(1, where, torch.hypot(u, v).flatten(1))
    histogram = F.normalize(histogram.view(-1, BLOCKS**2, BINS), p=1.0, dim=2)
    strains = x.new_zeros(len(x), BLOCKS**2)
    strains.scatter_add_(1, block.flatten().expand(len(x), -1), strain.flatten(1))
    return F.normalize((histogram * strains[:, :, None]).flatten(1), dim=1)
