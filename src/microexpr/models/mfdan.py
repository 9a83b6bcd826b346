"""MFDAN: Multi-level Flow-Driven Attention Network. A reconstruction.

Cai, Zhao, Yi, Yu, Duan, Pan and Liu, IEEE Transactions on Circuits and Systems for Video Technology
34 (2024). No code is public.

Known, from the abstract: two branches; an optical flow encoding module; an image coding module, a
Transformer whose attention is driven by the flow and so finds the regions that move; this at
several levels; DropKey (Li et al., CVPR 2023) and focal loss.

Chosen here, and why
- Flow-driven attention: queries come from the flow, keys and values from the image. It is the plain
  reading of "locate the interest region in the image according to the position of flow".
- Four levels. Both branches stay on one grid of 16 x 16 pixels a token, so that every level's flow
  meets the image's tokens place by place; the flow gets a residual convolution block a level.
- The apex frame is the image; width 192, 3 heads (ViT-Tiny's, for so few clips).
- DropKey masks each key of each query on its own with probability .1, as its authors do.
- The head reads the means of both branches. Focal loss with gamma 2, its authors' value.

Glossary (symbol: shape at 224 pixels)

    flow        (b, 3, 224, 224)  u, v, m onset to apex
    image       (b, 3, 224, 224)  the apex frame
    f_l         (b, 192, 14, 14)  the flow's map at level l
    x_l         (b, 196, 192)     the image's tokens at level l
    logits      (b, classes)
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
from microexpr.nn.layers import ConvBlock, Mlp
from microexpr.nn.pictures import imagenet
from microexpr.nn.targets import focal_loss

APEX = ("apex_r", "apex_g", "apex_b")
PATCH = 16
GAMMA = 2.0


class Mfdan(Classifier):
    """MFDAN.

    Args:
        classes: Number of classes.
        flow: Planes of the flow.
        image: Side of the input in pixels, a multiple of 16.
        normalisation: Of the flow; see `microexpr.inputs.Input`.
        dim: Width.
        levels: Number of levels.
        heads: Of each level.
        drop_key: Probability that a query does not see a key, in [0, 1).

    Raises:
        UserError: A setting out of its range.
    """

    paper = "Cai et al., MFDAN: Multi-Level Flow-Driven Attention Network, TCSVT 2024"
    standing = "reconstruction"
    uncertain = "everything but the plan: two branches, flow-driven attention, DropKey, focal loss"
    eats = Input(("u", "v", "m", *APEX), 224, "tvl1", "robust")
    smallest: ClassVar[dict[str, Any]] = {"image": 32, "dim": 8, "levels": 1, "heads": 2}

    def __init__(
        self,
        classes: int,
        flow: Sequence[str] = ("u", "v", "m"),
        image: int = 224,
        normalisation: str = "robust",
        dim: int = 192,
        levels: int = 4,
        heads: int = 3,
        drop_key: float = 0.1,
    ) -> None:
        super().__init__()
        if image % PATCH or dim % heads or not 0 <= drop_key < 1 or levels < 1:
            raise UserError(
                f"MFDAN needs an image that {PATCH} divides, heads that divide dim, one level or "
                f"more and drop_key in [0, 1): {image}, {heads} of {dim}, {levels}, {drop_key}"
            )
        self.classes, self.planes = classes, len(flow)
        self.eats = Input((*flow, *APEX), image, "tvl1", normalisation)
        self.flow_embed = nn.Conv2d(len(flow), dim, PATCH, PATCH)
        self.image_embed = nn.Conv2d(3, dim, PATCH, PATCH)
        self.positions = nn.Parameter(0.02 * torch.randn(1, (image // PATCH) ** 2, dim))
        self.flow_levels = nn.ModuleList(ConvBlock(dim, 0.0) for _ in range(levels))
        self.image_levels = nn.ModuleList(_Level(dim, heads, drop_key) for _ in range(levels))
        self.norm = nn.LayerNorm(2 * dim)
        self.head = nn.Linear(2 * dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, channels, image, image)``, pictures 0..255 -> logits ``(b, classes)``."""
        check_input(x, self.eats)
        flow = self.flow_embed(x[:, : self.planes])
        tokens = _tokens(self.image_embed(imagenet(x[:, self.planes :]))) + self.positions
        for encode, attend in zip(self.flow_levels, self.image_levels, strict=True):
            flow = encode(flow)
            tokens = attend(tokens, _tokens(flow) + self.positions)
        means = torch.cat([tokens.mean(dim=1), flow.mean(dim=(2, 3))], dim=1)
        out: Tensor = self.head(self.norm(means))
        return out

    def loss(self, x: Tensor, y: Tensor, progress: float) -> Tensor:
        """Focal loss."""
        return focal_loss(self(x), y, GAMMA)


class _Level(nn.Module):
    """Attention whose queries are the flow's, and an MLP; both with shortcuts."""

    def __init__(self, dim: int, heads: int, drop_key: float) -> None:
        super().__init__()
        self.heads, self.drop_key = heads, drop_key
        self.norm_image, self.norm_flow = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4.0, 0.0)

    def forward(self, image: Tensor, flow: Tensor) -> Tensor:
        """Two times ``(b, tokens, dim)`` -> the image's ``(b, tokens, dim)``."""
        query = self._split(self.query(self.norm_flow(flow)))
        key, value = self.key_value(self.norm_image(image)).chunk(2, dim=2)
        key, value = self._split(key), self._split(value)
        mixed = F.scaled_dot_product_attention(query, key, value, self._mask(query))
        image = image + self.proj(mixed.transpose(1, 2).flatten(2))
        out: Tensor = image + self.mlp(self.norm(image))
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def _mask(self, query: Tensor) -> Tensor | None:
        """DropKey: a large negative number added to the scores of dropped keys."""
        if not self.training or not self.drop_key:
            return None
        b, heads, tokens, _ = query.shape
        dropped = torch.rand(b, heads, tokens, tokens, device=query.device) < self.drop_key
        return dropped.to(query.dtype) * -1e9


def _tokens(maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2)
