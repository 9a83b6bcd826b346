from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.nn.sparse import choose_windows, cut_windows, masked, window_scores
from microexpr.nn.ssd import SelfAttention
from microexpr.nn.vssd import Level, Reduction, Sparsity, Stem, make_levels


def level(mixers: Sequence[str] = ("ssd", "ssd", "ssd", "attention"), dim: int = 8) -> Level:
    torch.manual_seed(0)
    made = Level(dim, list(mixers), 2, 2.0, [0.0] * len(mixers), None, 4).double()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return made


def block_twin(block: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    """A block on a map ``(b, c, h, w)`` whose tokens outside the mask do not exist."""

    def conv(x: Tensor, layer: nn.Conv2d) -> Tensor:
        return F.conv2d(x * mask, layer.weight, layer.bias, padding=1, groups=x.shape[1]) * mask

    def per_token(x: Tensor, layer: nn.Module) -> Tensor:
        return layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def mix(x: Tensor) -> Tensor:
        rows = []
        for one, present in zip(x, mask[:, 0] > 0, strict=True):
            tokens = one.permute(1, 2, 0)[present][None]  # only those that exist, (1, n, c)
            if isinstance(mixer, SelfAttention):
                q, k, v = (
                    mixer.to_qkv(tokens)
                    .view(1, -1, 3, mixer.heads, dim // mixer.heads)
                    .permute(2, 0, 3, 1, 4)
                )
                weights = (q @ k.mT / (dim // mixer.heads) ** 0.5).softmax(-1)
                found = mixer.to_out((weights @ v).transpose(1, 2).reshape(1, -1, dim))
            else:
                found = scanned(one, present)
            full = torch.zeros_like(one).permute(1, 2, 0)
            full[present] = found[0]
            rows.append(full.permute(2, 0, 1))
        return torch.stack(rows)

    def scanned(one: Tensor, present: Tensor) -> Tensor:
        flat = mixer.in_proj(one.permute(1, 2, 0)) * present[..., None]
        z, xbc, dt = flat.split(mixer.parts, dim=2)
        xbc = F.silu(mixer.conv2d(xbc.permute(2, 0, 1)[None]))[0].permute(1, 2, 0)
        z, xbc, dt = z[present], xbc[present], dt[present]
        x, B, C = xbc.split((mixer.inner, mixer.d_state, mixer.d_state), dim=1)
        each = mixer.inner // len(mixer.A_log)
        step = (F.softplus(dt + mixer.dt_bias) * mixer.A_log.exp()).repeat_interleave(each, dim=1)
        memory = sum(torch.outer(B[t], (x * step)[t]) for t in range(len(x)))
        y = C @ memory + x * mixer.D.repeat_interleave(each)
        return mixer.out_proj(mixer.norm(y) * z)[None]

    mixer, dim = block.attn, x.shape[1]
    x = x + conv(x, block.cpe1)
    x = x + mix(per_token(x, block.norm1))
    x = x + conv(x, block.cpe2)
    return x + per_token(per_token(x, block.norm2), block.mlp)


def level_twin(whole: Level, x: Tensor, ratios: Sequence[float]) -> Tensor:
    """Pairs of blocks, each on the windows that its ratio keeps of the scores at the start."""
    b, _, h, w = x.shape
    windows = cut_windows(h, w)
    scores = window_scores(x.flatten(2).transpose(1, 2), windows)
    for pair, ratio in enumerate(ratios):
        chosen = choose_windows(scores, ratio)
        mask = torch.ones(b, 1, h, w, dtype=x.dtype)
        if chosen is not None:
            valid = masked(chosen, windows, x.dtype).valid
            assert valid is not None
            mask = valid.transpose(1, 2).reshape(b, 1, h, w)
        inner = x
        for block in list(whole.blocks)[2 * pair : 2 * pair + 2]:
            inner = block_twin(block, inner, mask)
        x = torch.where(mask > 0, inner, x)
    return x


RATIOS = [(0.5, 0.3), (0.8, 0.8), (0.1, 0.0)]


@pytest.mark.parametrize("gathered", [True, False])
@pytest.mark.parametrize("ratios", RATIOS)
@pytest.mark.parametrize("side", [8, 7, 14])
@torch.no_grad()
def test_equals_a_level_in_which_dropped_tokens_do_not_exist(
    side: int, ratios: tuple[float, float], gathered: bool
) -> None:
    whole = level()
    x = torch.randn(2, 8, side, side, dtype=torch.float64)
    found = whole(x, Sparsity(ratios, "exact", gathered))
    torch.testing.assert_close(found, level_twin(whole, x, ratios))
    torch.testing.assert_close(whole(x), level_twin(whole, x, (0.0, 0.0)))


def gradients(whole: Level, x: Tensor, weight: Tensor, sparsity: Sparsity) -> list[Tensor]:
    torch.manual_seed(5)
    x = x.clone().requires_grad_()
    whole.zero_grad()
    y = whole(x, sparsity)
    (y * weight).sum().backward()
    assert x.grad is not None
    return [y.detach(), x.grad, *(p.grad.clone() for p in whole.parameters() if p.grad is not None)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("side", [12, 10])
def test_gathered_equals_masked_in_value_and_gradient(side: int, training: bool) -> None:
    """To rounding in double precision; in single to 1e-5 of the largest number. Drop path too."""
    torch.manual_seed(1)
    mixers = ["ssd", "ssd", "ssd", "attention", "ssd"]
    whole = Level(16, mixers, 2, 2.0, [0.5] * 5, None, 8).train(training)
    x, weight = torch.randn(2, 4, 16, side, side)
    ratios = (0.5, 0.2, 0.7)
    for dtype, close in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        whole, x, weight = whole.to(dtype), x.to(dtype), weight.to(dtype)
        one = gradients(whole, x, weight, Sparsity(ratios, "exact", True))
        other = gradients(whole, x, weight, Sparsity(ratios, "exact", False))
        assert len(one) == len(other) == 2 + len(list(whole.parameters()))
        largest = max(float(g.abs().max()) for g in other[2:])  # of any parameter's gradient
        for a, b, scale in zip(one, other, [1.0, 1.0, *[largest] * len(one)], strict=False):
            assert float((a - b).abs().max()) <= close * max(scale, float(b.abs().max()))


@torch.no_grad()
def test_paper_multiplies_once_before_each_block_and_copies_back() -> None:
    whole = level()
    x = torch.randn(2, 8, 8, 8, dtype=torch.float64)
    windows = cut_windows(8, 8)
    scores = window_scores(x.flatten(2).transpose(1, 2), windows)
    expected, everything = x, torch.ones(2, 1, 8, 8, dtype=x.dtype)
    for pair, ratio in enumerate((0.5, 0.25)):
        chosen = choose_windows(scores, ratio)
        assert chosen is not None
        valid = masked(chosen, windows, x.dtype).valid
        assert valid is not None
        mask = valid.transpose(1, 2).reshape(2, 1, 8, 8)
        inner = expected
        for block in list(whole.blocks)[2 * pair : 2 * pair + 2]:
            inner = block_twin(block, inner * mask, everything)
        expected = torch.where(mask > 0, inner, expected)
    found = whole(x, Sparsity((0.5, 0.25), "paper"))
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, whole(x, Sparsity((0.5, 0.25), "exact")))


@torch.no_grad()
def test_equal_ratios_share_one_mask() -> None:
    """Two pairs of one ratio are one run of four blocks on the same tokens."""
    whole = level()
    x = torch.randn(1, 8, 8, 8, dtype=torch.float64)
    one = whole(x, Sparsity((0.5, 0.5)))
    torch.testing.assert_close(one, level_twin(whole, x, (0.5, 0.5)))


def test_wrong_number_of_ratios() -> None:
    with pytest.raises(UserError, match="2 pairs of blocks, got 3 ratios"):
        level()(torch.randn(1, 8, 8, 8).double(), Sparsity((0.1, 0.2, 0.3)))


@pytest.mark.parametrize(("stride", "sides"), [(4, (7, 8)), (2, (14, 15)), (1, (28, 29))])
def test_stem_and_reduction_round_up(stride: int, sides: tuple[int, int]) -> None:
    stem, reduction = Stem(2, 8, stride), Reduction(8, 16)
    for image, side in zip((28, 29), sides, strict=True):
        maps = stem(torch.randn(2, 2, image, image))
        assert maps.shape == (2, 8, side, side)
        assert reduction(maps).shape == (2, 16, -(-side // 2), -(-side // 2))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"widths": [8]}, "two or more stages"),
        ({"widths": [8, 16, 32]}, "two or more stages"),
        ({"mixers": [["ssd"], []]}, "at least 1"),
        ({"widths": [8, 9]}, "widths must be even"),
    ],
)
def test_bad_layouts(settings: dict[str, Any], says: str) -> None:
    given = {"widths": [8, 16], "mixers": [["ssd"], ["ssd"]], **settings}
    with pytest.raises(UserError, match=says):
        make_levels(given["widths"], given["mixers"], 8, 2.0, 0.0)
