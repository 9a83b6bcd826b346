"""Mixers of the tokens inside windows: MambaVision's, several of it, and a convolution instead.

Symbols (MERba, section III-A2; MambaVision, section 3.2):

    d   width of a token                     h   d / 2: one half is scanned, the other is not
    k   scan orders                          n   d_state = 8, numbers of state per channel
    x   scanned half, z its companion        r   ceil(d / 16), rank of the step sizes

    x, z = halves of in_proj(s)              (one Linear, no bias)
    x = SiLU(conv(x)),  z = SiLU(conv(z))    (depthwise, kernel 3, along the walk, no bias)
    dt, B, C = x_proj(x);  delta = softplus(dt_proj(dt));  A = -exp(A_log)
    y = selective scan of x                  (no gate)
    out_proj([y, z])                         (one Linear, no bias)

MERba walks each window in k orders and moves out_proj behind the sum over them (Eq. 2 to 4). What
does not depend on the walk is computed once: in_proj per token, and the sum over orders of z.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.nn.dense import Dense, dense
from microexpr.nn.orders import scan_orders
from microexpr.nn.scan import order_conv, window_scan
from microexpr.nn.windows import Region, join, windows_of

D_STATE = 8


class Mixer(nn.Module):
    """MambaVision's mixer over windows, summed over scan orders that share its weights.

    Args:
        dim: Width, even.
        regions: The windows of the map (`microexpr.nn.windows.cut`).
        orders: Names of scan orders (`microexpr.nn.orders.ORDERS`).
        project: Whether to end with the output projection.

    Raises:
        UserError: An odd width, or an unknown order.
    """

    def __init__(
        self, dim: int, regions: Sequence[Region], orders: Sequence[str], project: bool = True
    ) -> None:
        super().__init__()
        if dim % 2:
            raise UserError(f"a mixer needs an even width, got {dim}")
        half, rank = dim // 2, math.ceil(dim / 16)
        self.regions = tuple(regions)
        for i, r in enumerate(self.regions):
            walks = scan_orders(orders, r.height, r.width)
            self.register_buffer(f"orders_{i}", walks, persistent=False)
        self.in_proj = Dense(dim, dim, bias=False)
        self.conv1d_x = nn.Conv1d(half, half, 3, padding=1, groups=half, bias=False)
        self.conv1d_z = nn.Conv1d(half, half, 3, padding=1, groups=half, bias=False)
        self.x_proj = Dense(half, rank + 2 * D_STATE, bias=False)
        self.dt_proj = Dense(rank, half)
        rates = torch.arange(1.0, D_STATE + 1).log().repeat(half, 1)
        self.A_log = nn.Parameter(rates)
        self.D = nn.Parameter(torch.ones(half))
        self.out_proj = Dense(dim, dim, bias=False) if project else nn.Identity()
        for parameter in (self.A_log, self.D, self.dt_proj.bias):
            parameter.no_weight_decay = True  # type: ignore[attr-defined]

    def forward(self, x: Tensor) -> Tensor:
        """``(b, tokens, dim)`` in window order -> the same."""
        xz = self.in_proj(x)
        mixed = [self._mix(windows_of(xz, r), i) for i, r in enumerate(self.regions)]
        out: Tensor = self.out_proj(join(mixed, x.shape[0]))
        return out

    def _mix(self, xz: Tensor, region: int) -> Tensor:
        """``(w, l, dim)`` projected tokens of one region's windows -> ``(w, l, dim)``, [y, z]."""
        orders = self.get_buffer(f"orders_{region}")
        x, z = (half.contiguous() for half in xz.chunk(2, dim=2))
        u = order_conv(x, self.conv1d_x.weight.transpose(0, 1), orders, summed=False)
        z = order_conv(z, self.conv1d_z.weight.transpose(0, 1), orders, summed=True)
        steps = (self.dt_proj.in_features, D_STATE, D_STATE)
        dt, B, C = self.x_proj(u).split(steps, dim=3)
        dt = dense(dt, self.dt_proj.weight)  # its bias is added inside the scan
        rates = self.A_log.float() if self.A_log.itemsize < 4 else self.A_log
        A = -rates.exp().unsqueeze(0)
        y = window_scan(u, dt, A, B, C, self.D[None], self.dt_proj.bias[None], orders)
        return torch.cat([y, z], dim=2)


class SeparateMixers(nn.Module):
    """One whole `Mixer` for each scan order, summed, then one output projection.

    Args:
        dim: Width, even.
        regions: See `Mixer`.
        orders: See `Mixer`.
    """

    def __init__(self, dim: int, regions: Sequence[Region], orders: Sequence[str]) -> None:
        super().__init__()
        self.mixers = nn.ModuleList(Mixer(dim, regions, [name], project=False) for name in orders)
        self.out_proj = Dense(dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, tokens, dim)`` in window order -> the same."""
        out: Tensor = self.out_proj(sum(mixer(x) for mixer in self.mixers))
        return out


class ConvMixer(nn.Module):
    """A gated depthwise convolution inside each window, in place of convolution and scan.

    Same halves, same projections and about the same number of parameters as `Mixer`:
    ``z = SiLU(conv3x3(z))``, ``y = conv KxK(x) * z``, ``out_proj([y, z])``. K is the largest odd
    kernel that costs no more than the scan's own parameters (5 at widths 32 and 64, 7 at 256, 9 at
    512, 11 at 1024). Like the scan, it sees nothing beyond its window.

    Args:
        dim: Width, even.
        regions: See `Mixer`.

    Raises:
        UserError: An odd width.
    """

    def __init__(self, dim: int, regions: Sequence[Region]) -> None:
        super().__init__()
        if dim % 2:
            raise UserError(f"a mixer needs an even width, got {dim}")
        half, kernel = dim // 2, conv_kernel(dim)
        self.regions = tuple(regions)
        self.in_proj = Dense(dim, dim, bias=False)
        self.conv_x = nn.Conv2d(half, half, kernel, padding=kernel // 2, groups=half)
        self.conv_z = nn.Conv2d(half, half, 3, padding=1, groups=half)
        self.out_proj = Dense(dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, tokens, dim)`` in window order -> the same."""
        xz = self.in_proj(x)
        out: Tensor = self.out_proj(join([self._mix(xz, r) for r in self.regions], x.shape[0]))
        return out

    def _mix(self, xz: Tensor, region: Region) -> Tensor:
        windows = windows_of(xz, region).transpose(1, 2)
        x, z = windows.reshape(*windows.shape[:2], region.height, region.width).chunk(2, dim=1)
        z = F.silu(self.conv_z(z))
        return torch.cat([self.conv_x(x) * z, z], dim=1).flatten(2).transpose(1, 2)


def conv_kernel(dim: int) -> int:
    """Side of `ConvMixer`'s large kernel: as many parameters per channel as the scan, at most.

    >>> [conv_kernel(dim) for dim in (32, 64, 256, 512, 1024)]
    [5, 5, 7, 9, 11]
    """
    rank = math.ceil(dim / 16)
    scan = 3 + 3 + (rank + 2 * D_STATE) + (rank + 1) + D_STATE + 1
    side = math.isqrt(scan - (3 * 3 + 2))
    return side if side % 2 else side - 1


@torch.no_grad()
def init_steps(module: nn.Module) -> None:
    """Mamba's own start of the step sizes, for ``model.apply``: delta log-uniform in [.001, .1].

    Weights of ``dt_proj`` uniform in +-rank^-1/2, its bias the inverse softplus of the drawn delta
    (Gu and Dao 2023, section 3.6). The published MambaVision overwrites this by accident.
    """
    if isinstance(module, Mixer):
        bound = module.dt_proj.in_features**-0.5
        nn.init.uniform_(module.dt_proj.weight, -bound, bound)
        low, high = math.log(0.001), math.log(0.1)
        delta = torch.empty_like(module.dt_proj.bias).uniform_(low, high).exp_()
        module.dt_proj.bias.copy_(delta + torch.log(-torch.expm1(-delta)))
