from __future__ import annotations

import pytest
import torch
from torch import nn

from microexpr.nn.layers import (
    Block,
    ConvBlock,
    ConvLevel,
    DropPath,
    PatchEmbed,
    init_linear,
)


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.25)
    out = drop(torch.ones(4000, 3, 2))
    values = out.flatten(1)
    assert torch.equal(values.min(dim=1).values, values.max(dim=1).values)
    kept = values[:, 0] != 0
    torch.testing.assert_close(values[kept, 0], torch.full((int(kept.sum()),), 1 / 0.75))
    assert abs(float(out.mean()) - 1) < 0.05
    x = torch.randn(2, 3)
    assert drop.eval()(x) is x
    assert DropPath(0.0)(x) is x


@torch.no_grad()
def test_block_is_two_scaled_residual_branches() -> None:
    mixer = nn.Linear(6, 6)
    options = {"mlp_ratio": 2.0, "dropout": 0.0, "drop_path": 0.0}
    block = Block(6, mixer, layer_scale=0.5, **options).double()
    x = torch.randn(2, 5, 6, dtype=torch.float64)

    def norm(v: torch.Tensor) -> torch.Tensor:
        return (v - v.mean(-1, keepdim=True)) / (
            v.var(-1, keepdim=True, unbiased=False) + 1e-5
        ) ** 0.5

    def mlp(v: torch.Tensor) -> torch.Tensor:
        v = v @ block.mlp.fc1.weight.T + block.mlp.fc1.bias
        v = v * 0.5 * (1 + torch.erf(v / 2**0.5))
        return v @ block.mlp.fc2.weight.T + block.mlp.fc2.bias

    y = x + 0.5 * mixer(norm(x))
    torch.testing.assert_close(block(x), y + 0.5 * mlp(norm(y)))
    plain = Block(6, mixer, layer_scale=0.0, **options)
    assert plain.gamma_1 is None
    assert "gamma_1" in block.state_dict()
    assert "gamma_1" not in plain.state_dict()


@pytest.mark.parametrize(("stride", "side"), [(1, 27), (2, 14), (4, 7)])
def test_patch_embed_strides(stride: int, side: int) -> None:
    stem = PatchEmbed(3, 4, 8, stride)
    assert stem(torch.randn(2, 3, 27, 27)).shape == (2, 8, side, side)
    assert stem.conv_down[1].eps == 1e-4


def test_conv_level_and_block_shapes() -> None:
    level = ConvLevel(4, [0.0, 0.1], 6)
    assert level(torch.randn(2, 4, 9, 9)).shape == (2, 6, 5, 5)
    block = ConvBlock(4, 0.0).eval()
    x = torch.randn(2, 4, 5, 5)
    inner = nn.functional.gelu(block.norm1(block.conv1(x)), approximate="tanh")
    torch.testing.assert_close(block(x), x + block.norm2(block.conv2(inner)))


def test_linear_start() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(300, 300)
    layer.apply(init_linear)
    assert not layer.bias.any()
    assert abs(float(layer.weight.detach().std()) - 0.02) < 0.001
