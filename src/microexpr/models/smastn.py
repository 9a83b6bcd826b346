"""SMA-STN: Segmented Movement-Attending Spatiotemporal Network. A reconstruction.

Liu, Zheng and Zong, arXiv 2010.09342 (2020). No code is public.

Known, from the abstract: dynamic segmented sparse imaging (DSSI) turns a clip into dynamic images
of its segments under a sampling protocol of its own, local and global ones; a movement-attending
module (STMA) captures long-distance relations within the face and weighs the segments; a deviation
enhancement loss (DE-Loss) makes features robust to subtle movement.

Chosen here, and why
- Dynamic images by approximate rank pooling (Bilen et al., CVPR 2016), the standard form: frame t
  of T weighs 2 t - T - 1. Each is brought to mean 0 and deviation 1, so that faint clips count.
- 4 segments of 6 moments, evenly spread: local images are those of the segments, the global one
  that of every segment's middle moment (the sparse sampling). No random sampling, so that a clip
  has one prediction.
- Features: ResNet-18 up to layer 3, half width. STMA: one non-local block (Wang et al., CVPR 2018)
  on each map, then a weight for each image by a softmax over them.
- DE-Loss: a clip's features must be nearer to the mean of its class in the batch than to that of
  any other, by a margin of 1; weight .1. It is one reading of the name, no more.

Glossary (symbol: shape)

    x           (b, 24, 1, 112, 112)  grey frames, onset to offset
    images      (b, 5, 112, 112)      four local dynamic images and a global one
    maps        (5 b, 128, 7, 7)      after the non-local block
    w           (b, 5)                weights of the images
    z           (b, 128)              features
    logits      (b, classes)
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.models.base import Classifier, check_input
from microexpr.nn.resnet import ResNet18
from microexpr.nn.targets import as_mass

MARGIN = 1.0


class SmaStn(Classifier):
    """SMA-STN.

    Args:
        classes: Number of classes.
        segments: Local dynamic images, at least 2.
        length: Moments of a segment, at least 2.
        image: Side of the pictures in pixels.
        width: Channels of the backbone's first layer.
        deviation: Weight of the DE-Loss.

    Raises:
        UserError: Too few segments or moments.
    """

    paper = "Liu et al., SMA-STN, arXiv 2010.09342, 2020"
    standing = "reconstruction"
    uncertain = "sampling, backbone, form of both the attention and the DE-Loss"
    eats = Input(("grey",), 112, "tvl1", "none", 24)
    smallest: ClassVar[dict[str, Any]] = {"segments": 2, "length": 2, "image": 32, "width": 2}

    def __init__(
        self,
        classes: int,
        segments: int = 4,
        length: int = 6,
        image: int = 112,
        width: int = 32,
        deviation: float = 0.1,
    ) -> None:
        super().__init__()
        if segments < 2 or length < 2:
            raise UserError(
                f"SMA-STN needs 2 segments of 2 moments, got {segments} of length {length}"
            )
        self.classes, self.segments, self.deviation = classes, segments, deviation
        self.eats = Input(("grey",), image, "tvl1", "none", segments * length)
        self.backbone = ResNet18(channels=1, layers=3, width=width)
        self.relate = _NonLocal(self.backbone.width)
        self.weigh = nn.Linear(self.backbone.width, 1)
        self.head = nn.Linear(self.backbone.width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, frames, 1, image, image)``, 0..255 -> logits ``(b, classes)``."""
        out: Tensor = self.head(self._features(x))
        return out

    def loss(self, x: Tensor, y: Tensor, progress: float) -> Tensor:
        """Cross-entropy, plus the DE-Loss."""
        z = self._features(x)
        deviation = deviation_loss(z, as_mass(y, self.classes))
        return F.cross_entropy(self.head(z), y) + self.deviation * deviation

    def _features(self, x: Tensor) -> Tensor:
        check_input(x, self.eats)
        images = segment_images(x[:, :, 0], self.segments)
        maps = self.relate(self.backbone(images.flatten(0, 1)[:, None]))
        features = maps.mean(dim=(2, 3)).view(*images.shape[:2], -1)
        weights = self.weigh(features).softmax(dim=1)
        z: Tensor = (weights * features).sum(dim=1)
        return z


class _NonLocal(nn.Module):
    """Each place plus a mean of all places, weighted by likeness (embedded Gaussian)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(dim, dim // 2, 1)
        self.key = nn.Conv2d(dim, dim // 2, 1)
        self.value = nn.Conv2d(dim, dim // 2, 1)
        self.out = nn.Conv2d(dim // 2, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, dim, h, w)`` -> ``(b, dim, h, w)``."""
        q, k, v = (
            part(x).flatten(2).transpose(1, 2).unsqueeze(1)
            for part in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, scale=1.0).squeeze(1)
        out: Tensor = x + self.out(mixed.transpose(1, 2).reshape(len(x), -1, *x.shape[2:]))
        return out


def dynamic_image(frames: Tensor) -> Tensor:
    """Approximate rank pooling, brought to mean 0 and deviation 1; 0 where nothing moves.

    Args:
        frames: ``(..., T, h, w)``.

    Returns:
        ``(..., h, w)``.
    """
    count = frames.shape[-3]
    steps = torch.arange(1, count + 1, device=frames.device, dtype=frames.dtype)
    picture = torch.einsum("t,...thw->...hw", 2 * steps - count - 1, frames)
    picture = picture - picture.mean(dim=(-2, -1), keepdim=True)
    return picture / picture.std(dim=(-2, -1), keepdim=True).clamp(min=1e-6)


def segment_images(frames: Tensor, segments: int) -> Tensor:
    """The dynamic image of each segment, and that of the segments' middle moments.

    Args:
        frames: ``(b, segments * length, h, w)``.
        segments: Their number.

    Returns:
        ``(b, segments + 1, h, w)``.
    """
    parts = frames.reshape(len(frames), segments, -1, *frames.shape[2:])
    middle = parts[:, :, parts.shape[2] // 2]
    return torch.cat([dynamic_image(parts), dynamic_image(middle)[:, None]], dim=1)


def deviation_loss(z: Tensor, mass: Tensor) -> Tensor:
    """How much nearer each clip should be to its own class's mean than to the nearest other.

    Args:
        z: ``(b, d)`` features.
        mass: ``(b, classes)``; a clip belongs to the class of its greatest share.

    Returns:
        The mean of ``(own - other + 1)+`` over the batch, distances not squared; 0 with one class.
    """
    total = mass.sum(dim=0)
    there = total > 0
    means = torch.einsum("bk,bd->kd", mass, z) / total.clamp(min=1e-12)[:, None]
    square = (z[:, None] - means).square().sum(dim=2)
    distance = torch.sqrt(square + 1e-12)
    own = F.one_hot(mass.argmax(dim=1), mass.shape[1]).bool()
    other = distance.masked_fill(own | ~there, torch.inf).amin(dim=1)
    return F.relu(distance[own] - other + MARGIN).sum() / len(z)
