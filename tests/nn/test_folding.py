from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.nn.folding import fold_batch_norms


def trained(net: nn.Module) -> nn.Module:
    """Norms as training leaves them: nothing is zero or one."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_mean = torch.randn(module.num_features)
            module.running_var = torch.rand(module.num_features) + 0.2
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return net.eval()


@torch.no_grad()
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_same_result_by_other_weights(dims: int, affine: bool, bias: bool) -> None:
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1](4, 6, 3, padding=1, groups=2, bias=bias)
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 1](6, affine=affine)
    net = trained(nn.Sequential(conv, norm, nn.ReLU()))
    x = torch.randn(3, 4, *[8] * dims)
    before = net(x)
    assert fold_batch_norms(net, x) == 1
    assert isinstance(net[1], nn.Identity)
    torch.testing.assert_close(net(x), before, atol=1e-5, rtol=1e-5)


class Odd(nn.Module):
    """A convolution and a batch norm, with something that keeps them apart."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.how == "activation":
            return self.norm(F.gelu(y))
        if self.how == "in place":
            return self.norm(self.act(y))
        if self.how == "twice":
            return self.norm(self.norm(y))
        if self.how == "norm first":
            return self.conv(self.norm(x))
        if self.how == "two sources":
            return self.norm(y) + self.norm(x)
        return self.norm(y) + y


@torch.no_grad()
@pytest.mark.parametrize("how", ["activation", "in place", "twice", "norm first", "two sources"])
def test_what_stands_apart_stays(how: str) -> None:
    net, x = trained(Odd(how)), torch.randn(2, 3, 8, 8)
    before = net(x)
    assert fold_batch_norms(net, x) == 0
    assert torch.equal(net(x), before)


def test_a_second_reader_is_noticed() -> None:
    with pytest.raises(UserError, match="used twice"):
        fold_batch_norms(trained(Odd("read again")), torch.randn(2, 3, 8, 8))


def test_statistics_of_the_batch_cannot_be_folded() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)).eval()
    assert fold_batch_norms(net, torch.randn(2, 3, 8, 8)) == 0


def test_training_mode_is_refused() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    with pytest.raises(UserError, match="call eval"):
        fold_batch_norms(net, torch.randn(2, 3, 8, 8))


def test_one_convolution_under_two_norms_stays() -> None:
    conv = nn.Conv2d(3, 3, 1)
    net = trained(nn.Sequential(conv, nn.BatchNorm2d(3), nn.ReLU(), conv, nn.BatchNorm2d(3)))
    assert fold_batch_norms(net, torch.randn(2, 3, 8, 8)) == 0
