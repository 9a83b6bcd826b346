from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from microexpr.nn.sparse import (
    choose_windows,
    convolve,
    cut_windows,
    gather,
    kept,
    kept_count,
    masked,
    put_back,
    window_scores,
)

sides = st.integers(1, 13)
ratios = st.sampled_from([0.1, 0.3, 0.5, 0.8])


def score_twin(x: Tensor, height: int, width: int) -> Tensor:
    """Eq. 4, one window at a time, over the tokens it really has."""
    image = x.view(len(x), height, width, -1)
    scores = [
        [
            float(piece[i : i + 4, j : j + 4].norm())
            / math.sqrt(piece[i : i + 4, j : j + 4, 0].numel())
            for i in range(0, height, 4)
            for j in range(0, width, 4)
        ]
        for piece in image
    ]
    return torch.tensor(scores)


@settings(max_examples=30, deadline=None)
@given(height=sides, width=sides)
def test_windows_cover_each_token_once(height: int, width: int) -> None:
    windows = cut_windows(height, width)
    tokens = windows.inside.flatten()
    real = tokens[tokens < height * width]
    assert real.sort().values.tolist() == list(range(height * width))
    assert windows.even == (tokens.numel() == height * width)
    assert int(windows.sizes.sum()) == height * width
    rim = windows.around.view(-1, 6, 6)
    assert torch.equal(rim[:, 1:5, 1:5].flatten(1), windows.inside)


@settings(max_examples=20, deadline=None)
@given(height=sides, width=sides, seed=st.integers(0, 99))
def test_scores_equal_their_twin(height: int, width: int, seed: int) -> None:
    x = torch.randn(2, height * width, 3, generator=torch.Generator().manual_seed(seed))
    scores = window_scores(x, cut_windows(height, width))
    torch.testing.assert_close(scores, score_twin(x, height, width), rtol=1e-4, atol=1e-5)


def test_full_windows_are_ordered_as_by_the_l2_norm_of_the_paper() -> None:
    x = torch.randn(3, 64, 5)
    image = x.view(3, 2, 4, 2, 4, 5).transpose(2, 3).reshape(3, 4, -1)
    found = window_scores(x, cut_windows(8, 8))
    assert torch.equal(found.argsort(1), image.norm(dim=2).argsort(1))
    torch.testing.assert_close(4 * found, image.norm(dim=2))


@given(windows=st.integers(1, 300), percent=st.integers(0, 80))
def test_the_part_that_is_kept(windows: int, percent: int) -> None:
    """Whole arithmetic knows no rounding: 10 windows at .8 are 2, not int(1.9999999999999996)."""
    assert kept_count(windows, percent / 100) == max(1, windows * (100 - percent) // 100)


def test_the_highest_scores_are_chosen() -> None:
    scores = torch.tensor([[3.0, 1.0, 4.0, 1.5, 9.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    chosen = choose_windows(scores, 0.4)
    assert chosen is not None
    assert chosen.tolist() == [[0, 2, 4], [2, 3, 4]]
    assert choose_windows(scores, 0.0) is None
    assert choose_windows(scores[:, :1], 0.8) is None


@settings(max_examples=40, deadline=None)
@given(height=sides, width=sides, ratio=ratios, seed=st.integers(0, 99))
def test_kept_tokens_convolved_alone_equal_the_map_with_the_others_zeroed(
    height: int, width: int, ratio: float, seed: int
) -> None:
    torch.manual_seed(seed)
    x = torch.randn(3, height * width, 4, dtype=torch.float64, requires_grad=True)
    conv = nn.Conv2d(4, 4, 3, padding=1, groups=4).double()
    windows = cut_windows(height, width)
    chosen = choose_windows(window_scores(x, windows), ratio)
    if chosen is None:
        return
    part, view = kept(chosen, windows, x.dtype), masked(chosen, windows, x.dtype)
    assert view.valid is not None
    wanted = put_back(x, convolve(x, conv, view), view)
    found = put_back(x, convolve(gather(x, part), conv, part), part)
    zeroed = (x * view.valid).transpose(1, 2).reshape(3, 4, height, width)
    plain = torch.where(view.valid > 0, conv(zeroed).flatten(2).transpose(1, 2), x)
    torch.testing.assert_close(found, plain)
    torch.testing.assert_close(wanted, plain)
    weight = torch.randn_like(x)
    one, other = (torch.autograd.grad((y * weight).sum(), x)[0] for y in (found, plain))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 10)])
def test_dropped_tokens_keep_their_value(height: int, width: int) -> None:
    x = torch.randn(2, height * width, 3)
    windows = cut_windows(height, width)
    chosen = choose_windows(window_scores(x, windows), 0.5)
    assert chosen is not None
    part, view = kept(chosen, windows, x.dtype), masked(chosen, windows, x.dtype)
    assert view.valid is not None
    changed = put_back(x, gather(x, part) + 1, part)
    assert torch.equal(changed, x + view.valid)
    assert torch.equal(put_back(x, x + 1, view), changed)
    assert (part.valid is None) == windows.even


def test_tables_made_without_gradients_serve_with_them() -> None:
    with torch.inference_mode():
        windows = cut_windows(9, 11)
    x = torch.randn(1, 99, 2, requires_grad=True)
    chosen = choose_windows(window_scores(x, windows), 0.5)
    assert chosen is not None
    part = kept(chosen, windows, x.dtype)
    put_back(x, gather(x, part) ** 2, part).sum().backward()
    assert x.grad is not None
