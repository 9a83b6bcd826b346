"""Multi-head self-attention over all tokens of a map, or over the tokens of each window."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.nn.dense import Dense
from microexpr.nn.windows import Region, join, windows_of


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017), no positions: the scan knows where it is.

    Args:
        dim: Width.
        heads: Divides `dim`.
        dropout: After the output projection.
        regions: Where tokens see each other: the windows of a map in window order
            (`microexpr.nn.windows.cut`); None: every token sees every other.

    Raises:
        UserError: `heads` does not divide `dim`.
    """

    def __init__(
        self, dim: int, heads: int, dropout: float = 0.0, regions: Sequence[Region] | None = None
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise UserError(f"{heads} attention heads do not divide the width {dim}")
        self.heads = heads
        self.regions = regions
        self.qkv = Dense(dim, 3 * dim)
        self.proj = Dense(dim, dim)
        self.proj_drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, tokens, dim)`` -> ``(b, tokens, dim)``."""
        qkv = self.qkv(x)
        if self.regions is None:
            mixed = self._mix(qkv)
        else:
            mixed = join([self._mix(windows_of(qkv, r)) for r in self.regions], x.shape[0])
        out: Tensor = self.proj_drop(self.proj(mixed))
        return out

    def _mix(self, qkv: Tensor) -> Tensor:
        """``(w, t, 3 dim)`` -> ``(w, t, dim)``: values averaged by attention."""
        w, t, width = qkv.shape
        head = width // 3 // self.heads
        q, k, v = qkv.view(w, t, 3, self.heads, head).permute(2, 0, 3, 1, 4).unbind(0)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(w, t, width // 3)
