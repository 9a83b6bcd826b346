"""Micron-BERT: BERT-based Facial Micro-Expression Recognition. A reconstruction.

Nguyen, Duong, Li, Gauch, Seo and Luu, CVPR 2023; code uark-cviu/Micron-BERT (the net and its
losses; not its data, its training and its classifier).

Known, from that code: a ViT of 4 blocks, 4 heads, width 512 on patches of 8 pixels with fixed
positions; one head of attention with queries and values from one frame and keys from the other,
whose diagonal says how little a place has changed (Diagonal Micro-Attention); patches of the
current frame replaced by those of the other one, and a decoder of the same size that must give back
the current frame.

Chosen here, and why
- The frames are onset (reference) and apex (current): the paper swaps between frames of the 8
  million of CAS(ME)^3, which nobody else has.
- The features of a clip are the mean of the attended tokens and the apex frame's class token; the
  paper's patches of interest are described, not published.
- Reconstruction is part of one loss with weight `reconstruction`, not a training of its own; a
  recipe with several phases can put it first. Half of the patches are replaced.
- The DINO branch is left out (the public code has it as an option).

Glossary (symbol: shape at 224 pixels)

    onset, apex (b, 3, 224, 224)  colour pictures
    k, q, v     (b, 784, 512)     from tokens of onset, apex, apex
    a           (b, 784)          diagonal of softmax(q k^T / sqrt(512)), one number a place
    z           (b, 784, 512)     proj(a v)
    decoded     (b, 784, 192)     pixels of each patch
    logits      (b, classes)      fully connected on (mean of z, class token of the apex)
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.models.base import Classifier, check_input
from microexpr.nn.pictures import imagenet
from microexpr.nn.vit import EncoderBlock, VisionTransformer, sincos_positions

ONSET = ("onset_r", "onset_g", "onset_b")
APEX = ("apex_r", "apex_g", "apex_b")


class MicronBert(Classifier):
    """Micron-BERT.

    Args:
        classes: Number of classes.
        image: Side of the input in pixels, a multiple of `patch`.
        patch: Side of a patch.
        dim: Width, a multiple of 4.
        depth: Blocks of the encoder, and of the decoder.
        heads: Of each block.
        replaced: Share of the patches that are replaced for the reconstruction, in [0, 1].
        reconstruction: Weight of the reconstruction; 0: there is no decoder.

    Raises:
        UserError: A setting out of its range.
    """

    paper = "Nguyen et al., Micron-BERT, CVPR 2023"
    standing = "reconstruction"
    uncertain = "pre-training data, patches of interest and classifier are not public"
    eats = Input((*ONSET, *APEX), 224, "tvl1", "none")
    smallest: ClassVar[dict[str, Any]] = {"image": 32, "dim": 8, "depth": 1, "heads": 2}

    def __init__(
        self,
        classes: int,
        image: int = 224,
        patch: int = 8,
        dim: int = 512,
        depth: int = 4,
        heads: int = 4,
        replaced: float = 0.5,
        reconstruction: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 <= replaced <= 1 or reconstruction < 0:
            raise UserError(
                "replaced must be in [0, 1] and reconstruction not negative, got "
                f"{replaced} and {reconstruction}"
            )
        self.classes, self.patch = classes, patch
        self.replaced, self.reconstruction = replaced, reconstruction
        self.eats = Input((*ONSET, *APEX), image, "tvl1", "none")
        positions = sincos_positions(image // patch, dim)
        self.backbone = VisionTransformer(image, patch, dim, depth, heads)
        self.backbone.pos_embed.requires_grad_(False)
        self.backbone.pos_embed[:, :1] = 0.0
        self.backbone.pos_embed[:, 1:] = positions
        self.att = MicroAttention(dim)
        self.decoder = _Decoder(positions, patch, depth, heads) if reconstruction else None
        self.head = nn.Linear(2 * dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, 6, image, image)``, 0..255 -> logits ``(b, classes)``."""
        onset, apex = self._frames(x)
        before, after = self.backbone(onset), self.backbone(apex)
        attended = self.att(after[:, 1:], before[:, 1:]).mean(dim=1)
        out: Tensor = self.head(torch.cat([attended, after[:, 0]], dim=1))
        return out

    def loss(self, x: Tensor, y: Tensor, progress: float) -> Tensor:
        """Cross-entropy, plus the squared error of the apex frame rebuilt from replaced patches."""
        main = F.cross_entropy(self(x), y)
        if self.decoder is None:
            return main
        onset, apex = (patches(frame, self.patch) for frame in self._frames(x))
        swapped = torch.rand(onset.shape[:2], device=x.device) < self.replaced
        mixed = torch.where(swapped[:, :, None], onset, apex)
        tokens = self.backbone(pictures(mixed, self.patch))[:, 1:]
        reference = self.backbone(pictures(onset, self.patch))[:, 1:]
        rebuilt = self.decoder(self.att(tokens, reference))
        return main + self.reconstruction * F.mse_loss(rebuilt, apex)

    def _frames(self, x: Tensor) -> tuple[Tensor, Tensor]:
        check_input(x, self.eats)
        onset, apex = torch.split(x, 3, dim=1)
        return imagenet(onset), imagenet(apex)


class MicroAttention(nn.Module):
    """Diagonal Micro-Attention: each value times how much it attends to its own place.

    Args:
        dim: Width.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, current: Tensor, reference: Tensor) -> Tensor:
        """Two times ``(b, tokens, dim)`` -> ``(b, tokens, dim)``."""
        q, k = self.to_q(current) / current.shape[2] ** 0.5, self.to_k(reference)
        # the diagonal of a softmax needs its diagonal scores and each row's sum, no n x n softmax
        total = torch.matmul(q, k.transpose(1, 2)).logsumexp(dim=2)
        diagonal = torch.exp((q * k).sum(dim=2) - total)
        out: Tensor = self.proj(diagonal[:, :, None] * self.to_v(current))
        return out


class _Decoder(nn.Module):
    """Tokens back to the pixels of their patches."""

    positions: Tensor

    def __init__(self, positions: Tensor, patch: int, depth: int, heads: int) -> None:
        super().__init__()
        dim = positions.shape[1]
        self.register_buffer("positions", positions, persistent=False)
        self.embed = nn.Linear(dim, dim)
        self.blocks = nn.Sequential(*(EncoderBlock(dim, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pred = nn.Linear(dim, 3 * patch**2)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(b, tokens, dim)`` -> ``(b, tokens, 3 patch^2)``."""
        out: Tensor = self.pred(self.norm(self.blocks(self.embed(tokens) + self.positions)))
        return out


def patches(x: Tensor, patch: int) -> Tensor:
    """``(b, 3, h, w)`` -> ``(b, h w / patch^2, 3 patch^2)``, channels inmost."""
    b, c, h, w = x.shape
    x = x.reshape(b, c, h // patch, patch, w // patch, patch)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(b, -1, c * patch**2)


def pictures(x: Tensor, patch: int) -> Tensor:
    """What `patches` made, back to ``(b, 3, side, side)``."""
    n = round(x.shape[1] ** 0.5)
    x = x.reshape(len(x), n, n, patch, patch, 3)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(len(x), 3, n * patch, n * patch)
