"""Small layers that several networks share: drop path, MLP, residual blocks, initialisation.

Names of the parameters are those of the published MambaVision code, so that its weights load.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from microexpr.nn.dense import Dense, dense


class DropPath(nn.Module):
    """Drops a whole residual branch for single samples (stochastic depth, Huang et al. 2016).

    Args:
        probability: Of dropping, in [0, 1). The kept ones are scaled up to keep the mean.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x; the first axis is the batch."""
        if not self.training or self.probability == 0.0:
            return x
        keep = 1.0 - self.probability
        mask = torch.rand((len(x),) + (1,) * (x.ndim - 1), device=x.device) < keep
        return x * (mask.to(x.dtype) / keep)


class Mlp(nn.Module):
    """Linear, GELU, Linear, each followed by dropout.

    Args:
        dim: Width outside.
        ratio: Width inside over `dim`.
        dropout: Probability.
    """

    def __init__(self, dim: int, ratio: float, dropout: float) -> None:
        super().__init__()
        hidden = int(dim * ratio)
        self.fc1 = Dense(dim, hidden)
        self.fc2 = Dense(hidden, dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., dim)`` -> ``(..., dim)``."""
        inner = dense(x, self.fc1.weight, self.fc1.bias, gelu=True)
        out: Tensor = self.drop(self.fc2(self.drop(inner)))
        return out


class Block(nn.Module):
    """Two pre-norm residual branches: a mixer of tokens, then an MLP.

    ``x + drop(gamma_1 * mixer(norm(x)))``, then ``x + drop(gamma_2 * mlp(norm(x)))``.

    Args:
        dim: Width.
        mixer: Maps ``(b, tokens, dim)`` to the same shape.
        mlp_ratio: See `Mlp`.
        dropout: See `Mlp`.
        drop_path: See `DropPath`.
        layer_scale: Initial value of both gammas; 0 leaves them out.
    """

    def __init__(
        self,
        dim: int,
        mixer: nn.Module,
        *,
        mlp_ratio: float,
        dropout: float,
        drop_path: float,
        layer_scale: float,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.mixer = mixer
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, mlp_ratio, dropout)
        self.drop_path = DropPath(drop_path)
        self.gamma_1 = nn.Parameter(torch.full((dim,), layer_scale)) if layer_scale else None
        self.gamma_2 = nn.Parameter(torch.full((dim,), layer_scale)) if layer_scale else None

    def forward(self, x: Tensor) -> Tensor:
        """``(b, tokens, dim)`` -> ``(b, tokens, dim)``."""
        x = x + self._branch(self.mixer(self.norm1(x)), self.gamma_1)
        return x + self._branch(self.mlp(self.norm2(x)), self.gamma_2)

    def _branch(self, x: Tensor, gamma: Tensor | None) -> Tensor:
        out: Tensor = self.drop_path(x if gamma is None else gamma * x)
        return out


class ConvBlock(nn.Module):
    """A residual block of two 3x3 convolutions with batch norm, GELU between (MambaVision).

    Args:
        dim: Channels.
        drop_path: See `DropPath`.
    """

    def __init__(self, dim: int, drop_path: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(dim)
        self.act1 = nn.GELU(approximate="tanh")
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, dim, h, w)`` -> ``(b, dim, h, w)``."""
        inner = self.act1(self.norm1(self.conv1(x)))
        out: Tensor = x + self.drop_path(self.norm2(self.conv2(inner)))
        return out


class ConvLevel(nn.Module):
    """Convolution blocks, then a downsampling: MambaVision's levels 1 and 2, MERba's stage 1.

    Args:
        dim: Channels before.
        drop_paths: One probability for each block.
        out: Channels after.
    """

    def __init__(self, dim: int, drop_paths: Sequence[float], out: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ConvBlock(dim, p) for p in drop_paths)
        self.downsample = Downsample(dim, out)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, dim, h, w)`` -> ``(b, out, ceil(h / 2), ceil(w / 2))``."""
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.downsample(x)
        return out


class PatchEmbed(nn.Module):
    """Two overlapping 3x3 convolutions with batch norm and ReLU (MambaVision's stem).

    Args:
        channels: Planes of the input.
        inner: Channels between.
        dim: Channels after.
        stride: Of both together: 1, 2 or 4.
    """

    def __init__(self, channels: int, inner: int, dim: int, stride: int) -> None:
        super().__init__()
        first, second = {1: (1, 1), 2: (2, 1), 4: (2, 2)}[stride]
        self.conv_down = nn.Sequential(
            nn.Conv2d(channels, inner, 3, first, 1, bias=False),
            nn.BatchNorm2d(inner, eps=1e-4),
            nn.ReLU(),
            nn.Conv2d(inner, dim, 3, second, 1, bias=False),
            nn.BatchNorm2d(dim, eps=1e-4),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(b, channels, h, w)`` -> ``(b, dim, ceil(h / stride), ceil(w / stride))``."""
        out: Tensor = self.conv_down(x)
        return out


class Downsample(nn.Module):
    """A 3x3 convolution of stride 2, no bias, no norm (MambaVision).

    Args:
        dim: Channels before.
        out: Channels after.
    """

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.reduction = nn.Sequential(nn.Conv2d(dim, out, 3, 2, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """``(b, dim, h, w)`` -> ``(b, out, ceil(h / 2), ceil(w / 2))``."""
        out: Tensor = self.reduction(x)
        return out


def init_linear(module: nn.Module) -> None:
    """Truncated normal of deviation .02 for the weights of every Linear, zero for its bias.

    For ``model.apply``. This is what the published MambaVision does, and it reaches the mixers'
    ``dt_proj`` too: the bias that Mamba draws there is zeroed, so every step size starts near
    softplus(0) = .69. `microexpr.nn.mixers.init_steps` undoes that.
    """
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
