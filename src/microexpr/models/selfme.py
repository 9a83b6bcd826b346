"""SelfME: Self-Supervised Motion Learning for Micro-Expression Recognition. A reconstruction.

Fan, Chen, Jiang, Shahid and Yan, CVPR 2023. No code is public.

Known, from the abstract: the motion between two frames is learned without labels instead of
computed as optical flow; a symmetric contrastive vision transformer (SCViT) on it constrains the
features of the left and the right half of the face to be alike.

Chosen here, and why
- Motion is learned as in the First Order Motion Model (Siarohin et al., NeurIPS 2019) without its
  local affine part: keypoints of both frames, for each its shift, and a map that says which
  keypoint's shift (or none) holds where. The onset frame warped by it must give the apex frame
  (mean absolute difference of the pictures); that is the whole supervision.
- Everything is learned at once; the paper probably learns the motion first. With a recipe's
  `freeze` either order can be had.
- The SCViT is a small ViT on the field of shifts. The two halves' mean tokens of one clip are a
  pair, those of other clips of the batch are not (InfoNCE, temperature .1): the plain reading of
  "contrastive" and "symmetric". The right half is mirrored first: read from the outside in, and its
  horizontal shifts negated.
- 10 keypoints, fields of a quarter of the picture's side, width 192, depth 4; both weights 1.

Glossary (symbol: shape at 112 pixels)

    onset, apex (b, 3, 112, 112)  pictures, in [0, 1]
    p           (b, 10, 2)        keypoints, in [-1, 1]
    shift       (b, 2, 28, 28)    where each place of the apex frame was, less the place itself
    tokens      (b, 1 + 49, 192)  class token and patches of 4 x 4
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.models.base import Classifier, check_input
from microexpr.nn.vit import VisionTransformer

ONSET = ("onset_r", "onset_g", "onset_b")
APEX = ("apex_r", "apex_g", "apex_b")
SPREAD = 0.1  # standard deviation of a keypoint's blob, in half sides of the picture
TEMPERATURE = 0.1
PATCH = 4


class SelfMe(Classifier):
    """SelfME.

    Args:
        classes: Number of classes.
        image: Side of the input in pixels, a multiple of 16.
        keypoints: Number of keypoints.
        width: Channels of the motion module.
        dim: Width of the ViT.
        depth: Its blocks.
        heads: Its heads.
        reconstruction: Weight of the reconstruction.
        contrast: Weight of the symmetric contrast.

    Raises:
        UserError: An image that 16 does not divide.
    """

    paper = "Fan et al., SelfME: Self-Supervised Motion Learning, CVPR 2023"
    standing = "reconstruction"
    uncertain = "motion module, sizes, weights of the losses, order of training"
    eats = Input((*ONSET, *APEX), 112, "tvl1", "none")
    smallest: ClassVar[dict[str, Any]] = {
        "image": 32,
        "keypoints": 2,
        "width": 4,
        "dim": 8,
        "depth": 1,
        "heads": 2,
    }

    def __init__(
        self,
        classes: int,
        image: int = 112,
        keypoints: int = 10,
        width: int = 32,
        dim: int = 192,
        depth: int = 4,
        heads: int = 3,
        reconstruction: float = 1.0,
        contrast: float = 1.0,
    ) -> None:
        super().__init__()
        if image % (4 * PATCH):
            raise UserError(f"SelfME needs an image that {4 * PATCH} divides, got {image}")
        self.classes = classes
        self.reconstruction, self.contrast = reconstruction, contrast
        self.eats = Input((*ONSET, *APEX), image, "tvl1", "none")
        self.points = _picture_net(3, width, keypoints)
        self.choice = _picture_net(3 + keypoints, width, keypoints + 1)
        self.vit = VisionTransformer(image // 4, PATCH, dim, depth, heads, channels=2)
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, 6, image, image)``, 0..255 -> logits ``(b, classes)``."""
        out: Tensor = self.head(self.vit(_units(self._shift(x)))[:, 0])
        return out

    def loss(self, x: Tensor, y: Tensor, progress: float) -> Tensor:
        """Cross-entropy, reconstruction of the apex frame, contrast of the halves."""
        shift = self._shift(x)
        tokens = self.vit(_units(shift))
        onset, apex = torch.split(x / 255, 3, dim=1)
        small = F.interpolate(apex, scale_factor=0.25, mode="area")
        rebuilt = warp(F.interpolate(onset, scale_factor=0.25, mode="area"), shift)
        total = F.cross_entropy(self.head(tokens[:, 0]), y)
        total = total + self.reconstruction * F.l1_loss(rebuilt, small)
        return total + self.contrast * symmetric_contrast(*self._halves(shift))

    def _shift(self, x: Tensor) -> Tensor:
        """``(b, 2, side / 4, side / 4)``, in half sides of the picture."""
        check_input(x, self.eats)
        onset, apex = torch.split(x / 255, 3, dim=1)
        before, after = keypoints(self.points(onset)), keypoints(self.points(apex))
        side = x.shape[-1] // 4
        blobs = blob(after, side) - blob(before, side)
        large = F.interpolate(blobs, scale_factor=4.0, mode="nearest")
        weights = self.choice(torch.cat([onset, large], dim=1)).softmax(dim=1)
        return torch.einsum("bkhw,bkc->bchw", weights[:, :-1], before - after)

    def _halves(self, shift: Tensor) -> tuple[Tensor, Tensor]:
        """Mean tokens of both halves of the face, each seen from the outside in."""
        mirrored = shift.flip(-1) * shift.new_tensor([-1.0, 1.0])[:, None, None]
        out = []
        for field in (shift, mirrored):
            tokens = self.vit(_units(field))[:, 1:]
            side = round(tokens.shape[1] ** 0.5)
            grid = tokens.view(len(tokens), side, side, -1)
            out.append(grid[:, :, : (side + 1) // 2].mean(dim=(1, 2)))
        return out[0], out[1]


def _picture_net(planes: int, width: int, out: int) -> nn.Sequential:
    """A quarter of the side, some context, `out` maps."""
    return nn.Sequential(
        nn.Conv2d(planes, width, 3, 2, 1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, 2, 1),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.Conv2d(2 * width, 2 * width, 3, 1, 1),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.Conv2d(2 * width, out, 3, 1, 1),
    )


def _units(shift: Tensor) -> Tensor:
    """Shifts as the ViT reads them: they are small next to the picture's half side."""
    return shift * 10


def _line(side: int, like: Tensor) -> Tensor:
    """Centres of a row of pixels, in half sides from the picture's centre."""
    return (torch.arange(side, device=like.device, dtype=like.dtype) * 2 + 1) / side - 1


def keypoints(maps: Tensor) -> Tensor:
    """The mean place of each map's softmax.

    Args:
        maps: ``(b, k, h, w)`` scores.

    Returns:
        ``(b, k, 2)`` x and y in [-1, 1].
    """
    shares = maps.flatten(2).softmax(dim=2).view_as(maps)
    x = (shares.sum(dim=2) * _line(maps.shape[3], maps)).sum(dim=2)
    y = (shares.sum(dim=3) * _line(maps.shape[2], maps)).sum(dim=2)
    return torch.stack([x, y], dim=2)


def blob(points: Tensor, side: int) -> Tensor:
    """``(b, k, 2)`` -> ``(b, k, side, side)``: a Gaussian around each point, 1 at its centre."""
    line = _line(side, points)
    x = torch.exp(-((line - points[:, :, :1]) ** 2) / (2 * SPREAD**2))
    y = torch.exp(-((line - points[:, :, 1:]) ** 2) / (2 * SPREAD**2))
    return y[:, :, :, None] * x[:, :, None, :]


def warp(picture: Tensor, shift: Tensor) -> Tensor:
    """The picture read at each place plus its shift, linearly, repeated past its border.

    Args:
        picture: ``(b, c, h, w)``.
        shift: ``(b, 2, h, w)`` x and y in half sides.
    """
    h, w = picture.shape[-2:]
    x = _line(w, picture) + shift[:, 0]
    y = _line(h, picture)[:, None] + shift[:, 1]
    grid = torch.stack([x, y], dim=3)
    return F.grid_sample(picture, grid, padding_mode="border", align_corners=False)


def symmetric_contrast(left: Tensor, right: Tensor) -> Tensor:
    """InfoNCE both ways between two views of the clips of a batch.

    Args:
        left: ``(b, d)``.
        right: ``(b, d)``.
    """
    scores = F.normalize(left, dim=1) @ F.normalize(right, dim=1).T / TEMPERATURE
    own = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
