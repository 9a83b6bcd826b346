from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from microexpr.errors import UserError
from microexpr.models.micronbert import MicroAttention, MicronBert, patches, pictures


@torch.no_grad()
def test_micro_attention_is_the_diagonal_of_a_whole_softmax() -> None:
    torch.manual_seed(0)
    att = MicroAttention(6).double()
    current, reference = torch.randn(2, 1, 5, 6, dtype=torch.float64)
    q, k, v = att.to_q(current)[0], att.to_k(reference)[0], att.to_v(current)[0]
    rows = []
    for i in range(5):
        scores = torch.stack([q[i] @ k[j] for j in range(5)]) / 6**0.5
        rows.append(scores.softmax(dim=0)[i] * v[i])
    torch.testing.assert_close(att(current, reference)[0], att.proj(torch.stack(rows)))


def test_patches_pixel_by_pixel_and_back() -> None:
    x = torch.randn(2, 3, 8, 8)
    cut = patches(x, 4)
    assert cut.shape == (2, 4, 48)
    for r in range(8):
        for c in range(8):
            place, inside = 2 * (r // 4) + c // 4, 4 * (r % 4) + c % 4
            assert torch.equal(cut[:, place, 3 * inside : 3 * inside + 3], x[:, :, r, c])
    assert torch.equal(pictures(cut, 4), x)


def test_names_sizes_and_fixed_positions() -> None:
    model = MicronBert(3, depth=1)
    assert model.backbone.pos_embed.shape == (1, 785, 512)
    assert not model.backbone.pos_embed.requires_grad
    names = set(model.state_dict())
    assert {"backbone.blocks.0.attn.qkv.weight", "att.to_q.weight", "head.bias"} <= names
    assert not [
        name
        for name in MicronBert(3, depth=1, reconstruction=0.0).state_dict()
        if "decoder" in name
    ]


def test_reconstruction_sees_the_onset_in_the_replaced_patches() -> None:
    torch.manual_seed(0)
    x, y = torch.rand(2, 6, 32, 32) * 255, torch.tensor([0, 1])
    model = MicronBert(3, replaced=1.0, **MicronBert.smallest).eval()
    onset, apex = model._frames(x)
    tokens = model.backbone(onset)[:, 1:]
    rebuilt = model.decoder(model.att(tokens, tokens))
    wanted = F.cross_entropy(model(x), y) + F.mse_loss(rebuilt, patches(apex, 8))
    torch.testing.assert_close(model.loss(x, y, 0.0), wanted)


def test_bad_settings() -> None:
    with pytest.raises(UserError, match="replaced must be in"):
        MicronBert(3, replaced=1.5)
    with pytest.raises(UserError, match="do not divide an image of 30"):
        MicronBert(3, image=30)
