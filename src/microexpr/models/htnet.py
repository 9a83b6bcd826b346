"""HTNet: Hierarchical Transformer Network.

Wang, Zhang, Luo and Sankaranarayana, Neurocomputing 602 (2024), arXiv 2307.14637.

Glossary (symbol: shape with base settings)

    x           (b, 3, 28, 28)    flow u, v and strain, each stretched to 0..255
    mosaic      (b, 3, 28, 28)    four crops of 14 x 14 around landmarks, two by two
    patches     (b, 4, 4, 147)    7 x 7 pixels, channels last
    level 1     (b, 4, 4, 256)    2 blocks, 3 heads of 85
    level 2     (b, 2, 2, 512)    2 blocks, 6 heads; before it convolution, norm, maximum 3 x 3 / 2
    level 3     (b, 1, 1, 1024)   10 blocks, 12 heads
    logits      (b, classes)      norm, fully connected

What the public code does, and `form="as_published"` with it (139 582 982 parameters)
- Every level cuts its map into as many areas as it has tokens, so self-attention always acts on one
  token: its softmax is 1, queries and keys have no effect and get no gradient, and the transformer
  is an MLP at each position. Whatever mixes positions is the convolution between the levels. Here
  only the values are computed; weights and results are the same.
- The crops take the landmark's x for the row and its y for the column. With the landmarks it falls
  back on, this turns the four areas about the diagonal: what the code names left lips lies below
  the left eye because point 1, the right eye, is read transposed. The mosaic holds point 0 beside
  point 1, over point 3 beside point 4 (eyes, then mouth corners; 2 is the nose).
- Landmarks come from MTCNN on the apex face at 28 pixels, which finds none in 172 of the 442 clips;
  those use fixed ones. Here all clips use the fixed ones (`LANDMARKS`), clamped to [7, 21] and cut
  to whole pixels as there.
- The reported scores pick the epoch on the held-out person; that is no matter of this file.

`form="as_drawn"` is what the paper describes: rows are rows, the eyes stand over the mouth corners,
attention of level 1 joins the four tokens of each facial area, that of level 2 the four areas.
Only the position embeddings differ in size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.models.base import Classifier, check_input, check_setting
from microexpr.nn.weights import load_strict, read_state_dict

FORMS = ("as_published", "as_drawn")
LANDMARKS = ((9, 11), (21, 10), (10, 21), (20, 21))
"""(x, y) of left eye, right eye, left and right mouth corner (of the picture) at 28 pixels."""
SIDE, CROP, PATCH = 28, 14, 7


class HtNet(Classifier):
    """HTNet.

    Args:
        classes: Number of classes.
        form: ``as_published`` or ``as_drawn``.
        channels: Three planes.
        normalisation: See `microexpr.inputs.Input`.
        dim: Width of level 1; it doubles from level to level.
        heads: Of level 1; they double too. Each is ``dim // heads`` wide.
        depths: Blocks of the three levels.
        dropout: Probability.

    Raises:
        UserError: An unknown form, no three depths, or more heads than channels.
    """

    paper = "Wang et al., HTNet for micro-expression recognition, Neurocomputing 2024"
    uncertain = "fixed landmarks for every clip; published scores pick the epoch on the test person"
    eats = Input(("u", "v", "strain"), SIDE, "tvl1", "minmax8")
    smallest: ClassVar[dict[str, Any]] = {"dim": 12, "depths": [1, 1, 1]}

    def __init__(
        self,
        classes: int,
        form: str = "as_published",
        channels: Sequence[str] = ("u", "v", "strain"),
        normalisation: str = "minmax8",
        dim: int = 256,
        heads: int = 3,
        depths: Sequence[int] = (2, 2, 10),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_setting("form", form, FORMS)
        if len(depths) != 3 or min(depths) < 0 or not 1 <= heads <= dim:
            raise UserError(
                f"HTNet has three depths and at most dim heads, got {list(depths)}, {heads}"
            )
        self.classes = classes
        self.eats = Input(tuple(channels), SIDE, "tvl1", normalisation)
        self.published = form == "as_published"
        patch = nn.Conv2d(len(channels) * PATCH**2, dim, 1)
        self.to_patch_embedding = nn.Sequential(nn.Identity(), patch)
        self.layers = nn.Sequential()
        for level, depth in enumerate(depths):
            width = dim * 2**level
            seen = 1 if self.published or level == 2 else 4
            blocks = _Transformer(width, heads * 2**level, depth, seen, dropout)
            down = _aggregation(width) if level < 2 else nn.Identity()
            self.layers.append(nn.Sequential(blocks, down))
        # the last map is 1 x 1, so its mean over positions is itself
        head = nn.Linear(4 * dim, classes)
        self.mlp_head = nn.Sequential(_ChannelNorm(4 * dim), nn.Flatten(), head)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, 3, 28, 28)`` -> logits ``(b, classes)``."""
        check_input(x, self.eats)
        maps = self.to_patch_embedding(_patches(mosaic(x, self.published)))
        out: Tensor = self.mlp_head(self.layers(maps))
        return out

    def load_official(self, source: str | Path | Mapping[str, Any]) -> HtNet:
        """Loads weights saved by the public code, strictly (for ``as_published``).

        Returns:
            This model.

        Raises:
            UserError: No such file, or keys or shapes that differ.
        """
        load_strict(self, read_state_dict(source), f"HTNet with {self.classes} classes")
        return self


def mosaic(x: Tensor, published: bool) -> Tensor:
    """Four crops of 14 x 14 pixels around the landmarks, two by two.

    Args:
        x: ``(b, c, 28, 28)``.
        published: Landmark x as row, point 0 beside 1 over 3 beside 4; else x as column, eyes over
            mouth corners. Both put left eye, right eye, left corner, right corner row by row.

    Returns:
        ``(b, c, 28, 28)``.
    """
    half = CROP // 2
    crops = []
    for point in LANDMARKS:
        row, column = point if published else point[::-1]
        crops.append(x[:, :, row - half : row + half, column - half : column + half])
    return torch.cat([torch.cat(crops[:2], dim=3), torch.cat(crops[2:], dim=3)], dim=2)


def _patches(x: Tensor) -> Tensor:
    """``(b, c, 28, 28)`` -> ``(b, 49 c, 4, 4)``, pixels of a patch row by row, channels inmost."""
    b, c, h, w = x.shape
    x = x.reshape(b, c, h // PATCH, PATCH, w // PATCH, PATCH)
    return x.permute(0, 3, 5, 1, 2, 4).reshape(b, -1, h // PATCH, w // PATCH)


class _ChannelNorm(nn.Module):
    """Layer norm over the channels of each position."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, dim, 1, 1))
        self.b = nn.Parameter(torch.zeros(1, dim, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        var, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
        return (x - mean) * torch.rsqrt(var + 1e-5) * self.g + self.b


class _Residual(nn.Module):
    """``x + fn(norm(x))``."""

    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = _ChannelNorm(dim)
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.fn(self.norm(x))
        return out


class _Attention(nn.Module):
    """Self-attention over the positions of a map; over one position it is two linear maps."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        inner = dim // heads * heads
        self.to_qkv = nn.Conv2d(dim, 3 * inner, 1, bias=False)
        self.to_out = nn.Sequential(nn.Conv2d(inner, dim, 1), nn.Dropout(dropout))
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        kernel = self.to_qkv.weight
        if h * w == 1:  # softmax over one token is 1: its value is the result
            mixed = F.conv2d(x, kernel[2 * len(kernel) // 3 :])
            if self.dropout and self.training:
                kept = F.dropout(mixed.new_ones(b, self.heads, 1), self.dropout)
                mixed = (mixed.view(b, self.heads, -1) * kept).view_as(mixed)
        else:
            q, k, v = self.to_qkv(x).view(b, 3, self.heads, -1, h * w).transpose(3, 4).unbind(1)
            dropout = self.dropout if self.training else 0.0
            mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
            mixed = mixed.transpose(2, 3).reshape(b, -1, h, w)
        out: Tensor = self.to_out(mixed)
        return out


class _FeedForward(nn.Module):
    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(dim, 4 * dim, 1),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Conv2d(4 * dim, dim, 1),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


class _Transformer(nn.Module):
    """The blocks of a level, within areas of `seen` tokens (1 or 2 x 2)."""

    def __init__(self, dim: int, heads: int, depth: int, seen: int, dropout: float) -> None:
        super().__init__()
        self.side = 1 if seen == 1 else 2
        self.pos_emb = nn.Parameter(torch.randn(seen))
        self.layers = nn.Sequential(
            *(
                nn.Sequential(
                    _Residual(dim, _Attention(dim, heads, dropout)),
                    _Residual(dim, _FeedForward(dim, dropout)),
                )
                for _ in range(depth)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(b, dim, h, w)`` -> ``(b, dim, h, w)``."""
        b, c, h, w = x.shape
        n = self.side
        x = x.view(b, c, h // n, n, w // n, n).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, n, n)
        x = self.layers(x + self.pos_emb.view(n, n))
        x = x.view(b, h // n, w // n, c, n, n).permute(0, 3, 1, 4, 2, 5)
        return x.reshape(b, c, h, w)


def _aggregation(dim: int) -> nn.Sequential:
    """Doubles the channels and halves the sides."""
    return nn.Sequential(
        nn.Conv2d(dim, 2 * dim, 3, padding=1), _ChannelNorm(2 * dim), nn.MaxPool2d(3, 2, 1)
    )
