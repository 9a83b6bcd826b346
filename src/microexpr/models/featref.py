"""FeatRef: Feature Refinement, expression-specific feature learning and fusion. A reconstruction.

Zhou, Mao, Huang, Zhang and Zhang, Pattern Recognition 122 (2022), arXiv 2101.04838. No code is
public.

Known, from the abstract: an inception module on optical flow gives expression-shared features; an
expression proposal module with attention factors and a proposal loss gives features specific to
each expression; a classification branch predicts from their fusion.

Chosen here, and why
- The inception module is that of Dual-Inception (same first author, FG 2019) as public ports have
  it: u and v in streams of their own, two blocks of widths 6 and 16, each halved by a maximum.
- One proposal branch a class. Its attention factors are one sigmoid for each position of the shared
  map: the smallest form in which expressions can look at different places.
- 128 features a branch; proposals are binary, their losses are summed (`targets.binary_loss`).
- The proposal loss has weight 1, as nothing says otherwise.

Glossary (symbol: shape)

    u, v        (b, 1, 28, 28)    flow onset to apex
    shared      (b, 128, 7, 7)    both streams, 4 branches of 16 maps each
    attention   (b, K, 7, 7)      factors of each of the K classes
    specific    (b, K, 128)       what each class sees, fully connected
    proposal    (b, K)            logit: is it this expression?
    logits      (b, K)            fully connected on all specific features
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.inputs import Input
from microexpr.models.base import Classifier, check_input
from microexpr.nn.targets import binary_loss

SIDE = 28


class FeatRef(Classifier):
    """FeatRef.

    Args:
        classes: Number of classes K.
        channels: Planes of the input, each a stream.
        normalisation: See `microexpr.inputs.Input`.
        features: Specific features of a class.
        proposal: Weight of the proposal loss.
    """

    paper = "Zhou et al., Feature Refinement, Pattern Recognition 2022"
    standing = "reconstruction"
    uncertain = "widths, form of the attention, weight of the proposal loss"
    eats = Input(("u", "v"), SIDE, "tvl1", "robust")
    smallest: ClassVar[dict[str, Any]] = {"features": 4}

    def __init__(
        self,
        classes: int,
        channels: Sequence[str] = ("u", "v"),
        normalisation: str = "robust",
        features: int = 128,
        proposal: float = 1.0,
    ) -> None:
        super().__init__()
        self.classes, self.weight = classes, proposal
        self.eats = Input(tuple(channels), SIDE, "tvl1", normalisation)
        self.streams = nn.ModuleList(
            nn.Sequential(_Inception(1, 6), _Inception(24, 16)) for _ in channels
        )
        width = 64 * len(channels)
        self.attention = nn.Conv2d(width, classes, 1)
        self.specific = nn.ModuleList(nn.Linear(width * 49, features) for _ in range(classes))
        self.proposals = nn.ModuleList(nn.Linear(features, 1) for _ in range(classes))
        self.head = nn.Linear(classes * features, classes)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, channels, 28, 28)`` -> logits ``(b, classes)``."""
        out: Tensor = self.head(torch.cat(self._specific(x), dim=1))
        return out

    def loss(self, x: Tensor, y: Tensor, progress: float) -> Tensor:
        """Cross-entropy, plus the proposal loss of every branch."""
        specific = self._specific(x)
        pairs = zip(self.proposals, specific, strict=True)
        proposals = torch.cat([proposal(features) for proposal, features in pairs], dim=1)
        main = F.cross_entropy(self.head(torch.cat(specific, dim=1)), y)
        return main + self.weight * binary_loss(proposals, y)

    def _specific(self, x: Tensor) -> list[Tensor]:
        check_input(x, self.eats)
        planes = torch.split(x, 1, dim=1)
        streams = [stream(p) for stream, p in zip(self.streams, planes, strict=True)]
        shared = torch.cat(streams, dim=1)
        factors = self.attention(shared).sigmoid()
        return [
            F.relu(branch((shared * factors[:, k : k + 1]).flatten(1)))
            for k, branch in enumerate(self.specific)
        ]


class _Inception(nn.Module):
    """1x1, 1x1-3x3, 1x1-5x5 and maximum-1x1 side by side, then a maximum 2 x 2."""

    def __init__(self, planes: int, width: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(planes, width, 1)
        self.three = _narrowed(planes, width, 3)
        self.five = _narrowed(planes, width, 5)
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(planes, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """``(b, planes, h, w)`` -> ``(b, 4 width, h // 2, w // 2)``."""
        branches = (self.one, self.three, self.five, self.pooled)
        return F.max_pool2d(F.relu(torch.cat([branch(x) for branch in branches], dim=1)), 2)


def _narrowed(planes: int, width: int, kernel: int) -> nn.Sequential:
    wide = nn.Conv2d(width, width, kernel, padding=kernel // 2)
    return nn.Sequential(nn.Conv2d(planes, width, 1), nn.ReLU(), wide)
