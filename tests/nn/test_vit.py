from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from microexpr.errors import UserError
from microexpr.nn.vit import VisionTransformer, sincos_positions


def test_parameters_and_names() -> None:
    with torch.device("meta"):
        base = VisionTransformer(224, 16, 768, 12, 12)
        large = VisionTransformer(384, 16, 768, 12, 12)
    assert sum(p.numel() for p in base.parameters()) == 85_798_656
    assert sum(p.numel() for p in large.parameters()) == 86_090_496
    state = {key: tuple(value.shape) for key, value in base.state_dict().items()}
    wanted = {
        "cls_token": (1, 1, 768),
        "pos_embed": (1, 197, 768),
        "patch_embed.proj.weight": (768, 3, 16, 16),
        "blocks.11.norm1.weight": (768,),
        "blocks.0.attn.qkv.weight": (2304, 768),
        "blocks.0.attn.proj.bias": (768,),
        "blocks.0.mlp.fc1.weight": (3072, 768),
        "norm.bias": (768,),
    }
    assert {key: state[key] for key in wanted} == wanted
    assert len(state) == 4 + 12 * 12 + 2


@torch.no_grad()
def test_equals_its_twin() -> None:
    torch.manual_seed(0)
    net = VisionTransformer(12, 4, 6, 2, 2).double().eval()
    x = torch.randn(1, 3, 12, 12, dtype=torch.float64)
    tokens = [net.cls_token[0, 0]]
    weight = net.patch_embed.proj.weight.flatten(1)
    for r in range(0, 12, 4):
        for c in range(0, 12, 4):
            patch = x[0, :, r : r + 4, c : c + 4].flatten()
            tokens.append(weight @ patch + net.patch_embed.proj.bias)
    rows = torch.stack(tokens) + net.pos_embed[0]
    for block in net.blocks:
        q, k, v = block.attn.qkv(block.norm1(rows)).split(6, dim=1)
        mixed = torch.zeros_like(rows)
        for h in (slice(0, 3), slice(3, 6)):
            weights = (q[:, h] @ k[:, h].T / math.sqrt(3)).softmax(dim=1)
            mixed[:, h] = weights @ v[:, h]
        rows = rows + block.attn.proj(mixed)
        rows = rows + block.mlp.fc2(F.gelu(block.mlp.fc1(block.norm2(rows))))
    torch.testing.assert_close(net(x)[0], F.layer_norm(rows, (6,), eps=1e-6))


def test_weights_in_timm_form_load() -> None:
    source, target = (VisionTransformer(12, 4, 6, 1, 2) for _ in range(2))
    target.load_timm({**source.state_dict(), "head.weight": torch.zeros(9, 6)})
    assert torch.equal(source.pos_embed, target.pos_embed)
    with pytest.raises(UserError, match="not the weights of this Vision Transformer: 1 of another"):
        VisionTransformer(16, 4, 6, 1, 2).load_timm(source.state_dict())


def test_fixed_positions_by_hand() -> None:
    got = sincos_positions(3, 8)
    for row in range(3):
        for column in range(3):
            wanted = [math.sin(column), math.sin(column / 100)]
            wanted += [math.cos(column), math.cos(column / 100)]
            wanted += [math.sin(row), math.sin(row / 100), math.cos(row), math.cos(row / 100)]
            assert got[3 * row + column].tolist() == pytest.approx(wanted, abs=1e-6)


def test_bad_sizes() -> None:
    with pytest.raises(UserError, match="patches of 5 pixels do not divide an image of 12"):
        VisionTransformer(12, 5, 6, 1, 2)
    with pytest.raises(UserError, match="width that 4 divides, got 6"):
        sincos_positions(2, 6)
