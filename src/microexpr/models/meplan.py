"""ME-PLAN: Deep Prototypical Learning with Local Attention Network. A reconstruction.

Zhao, Tang, Liu, Zhang, Wang, Xu, Chen and Guan, Neural Networks 153 (2022). Of its code only the
curves for its apex spotting are public.

Known, from abstract and highlights: sequences of key frames around an apex found by a unimodal
pattern constraint; a 3D residual prototypical network trained in episodes; a local-wise attention
module; knowledge transferred from macro-expressions.

Chosen here, and why
- The sequence is flow (u, v, strain) from the onset to 8 moments of the clip, 112 pixels; the
  group's earlier net (MERSiamC3D) reads flow of key frames too.
- The 3D residual network is ResNet-18 with 3 x 3 x 3 convolutions (R3D-18) of half the width.
- Local attention: one factor for each place and moment of the last map, 1 + sigmoid, from a 1 x 1 x
  1 convolution; so it can stress regions but lose none.
- Episodes: every clip of a batch is once the query, the others of the batch the support; its
  distances are to their class means. For testing, prototypes are learned as parameters with the
  same distances: no support set has to be stored.
- Knowledge transfer is a matter of the recipe: a first phase on macro-expressions.

Glossary (symbol: shape)

    x           (b, 8, 3, 112, 112)   u, v, strain
    maps        (b, 256, 1, 7, 7)     last map
    z           (b, 128)              embedding
    c_k         (classes, 128)        learned prototypes
    p_ik        (b, classes, 128)     class means of a batch without clip i
    logits      (b, classes)          minus the squared distances
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.models.base import Classifier, check_input
from microexpr.nn.targets import as_mass


class MePlan(Classifier):
    """ME-PLAN.

    Args:
        classes: Number of classes.
        channels: Planes of the input.
        frames: Moments of a clip, at least 2.
        image: Side of the input in pixels, at least 16.
        normalisation: See `microexpr.inputs.Input`.
        width: Channels of the first layer; they double three times.
        embedding: Width of the embedding.
        episodes: Weight of the episodic loss beside that of the learned prototypes.

    Raises:
        UserError: Too few frames or pixels.
    """

    paper = "Zhao et al., ME-PLAN, Neural Networks 2022"
    standing = "reconstruction"
    uncertain = "input, depth, form of the attention, episodes; needs macro-expressions"
    eats = Input(("u", "v", "strain"), 112, "tvl1", "robust", 8)
    smallest: ClassVar[dict[str, Any]] = {"frames": 2, "image": 16, "width": 2, "embedding": 4}

    def __init__(
        self,
        classes: int,
        channels: Sequence[str] = ("u", "v", "strain"),
        frames: int = 8,
        image: int = 112,
        normalisation: str = "robust",
        width: int = 32,
        embedding: int = 128,
        episodes: float = 1.0,
    ) -> None:
        super().__init__()
        if frames < 2 or image < 16:
            raise UserError(f"ME-PLAN needs 2 frames and 16 pixels, got {frames} and {image}")
        self.classes, self.episodes = classes, episodes
        self.eats = Input(tuple(channels), image, "tvl1", normalisation, frames)
        stem = nn.Conv3d(len(channels), width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm3d(width), nn.ReLU())
        self.blocks = nn.Sequential()
        for k in range(4):
            before, after = width * 2 ** max(k - 1, 0), width * 2**k
            self.blocks.append(_Block(before, after, 2 if k else 1))
            self.blocks.append(_Block(after, after, 1))
        self.attention = nn.Conv3d(8 * width, 1, 1)
        self.embed = nn.Linear(8 * width, embedding)
        self.prototypes = nn.Parameter(torch.randn(classes, embedding) / embedding**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, frames, channels, image, image)`` -> logits ``(b, classes)``."""
        return -squared_distances(self._embedded(x), self.prototypes)

    def loss(self, x: Tensor, y: Tensor, progress: float) -> Tensor:
        """Cross-entropy over the distances to the learned prototypes, plus the episodic loss."""
        z = self._embedded(x)
        main = F.cross_entropy(-squared_distances(z, self.prototypes), y)
        return main + self.episodes * episodic_loss(z, as_mass(y, self.classes))

    def _embedded(self, x: Tensor) -> Tensor:
        check_input(x, self.eats)
        maps = self.blocks(self.stem(x.transpose(1, 2)))
        maps = maps * (1 + self.attention(maps).sigmoid())
        out: Tensor = self.embed(maps.mean(dim=(2, 3, 4)))
        return out


class _Block(nn.Module):
    """Two 3 x 3 x 3 convolutions with batch norm, a shortcut, ReLU after the sum."""

    def __init__(self, planes: int, width: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv3d(planes, width, 3, stride, 1, bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(),
            nn.Conv3d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm3d(width),
        )
        self.short: nn.Module = nn.Identity()
        if stride != 1 or planes != width:
            one = nn.Conv3d(planes, width, 1, stride, bias=False)
            self.short = nn.Sequential(one, nn.BatchNorm3d(width))

    def forward(self, x: Tensor) -> Tensor:
        """``(b, planes, t, h, w)`` -> ``(b, width, ...)``, sides over the stride."""
        return F.relu(self.inner(x) + self.short(x))


def squared_distances(z: Tensor, points: Tensor) -> Tensor:
    """``(b, d)`` and ``(k, d)`` or ``(b, k, d)`` -> ``(b, k)``."""
    return (z[:, None] - points).square().sum(dim=2)


def episodic_loss(z: Tensor, mass: Tensor) -> Tensor:
    """Prototypical loss (Snell et al., NeurIPS 2017) in which every clip is once the query.

    The prototypes of clip i are the means of the classes over the other clips, weighted by mass.
    Classes without another clip take no part, nor does mass that a clip has in them.

    Args:
        z: ``(b, d)`` embeddings.
        mass: ``(b, classes)`` target mass.

    Returns:
        A scalar, the mean over the batch; 0 where no clip has a neighbour of its class.
    """
    total = mass.sum(dim=0)
    weight = total - mass
    sums = torch.einsum("bk,bd->kd", mass, z) - mass[:, :, None] * z[:, None]
    there = weight > 1e-6 * total.clamp(min=1e-12)
    means = sums / torch.where(there, weight, torch.ones_like(weight))[:, :, None]
    scores = (-squared_distances(z, means)).masked_fill(~there, -1e9)
    log_p = scores.log_softmax(dim=1)
    return -(mass * there * log_p).sum() / len(z)
