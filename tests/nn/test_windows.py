from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from microexpr.nn.windows import cut, join, window_order, windows_of

sides = st.integers(1, 12)


@given(sides, sides, st.integers(1, 8))
def test_regions_cover_the_map_and_no_window_is_larger(h: int, w: int, window: int) -> None:
    regions = cut(h, w, window)
    assert len(regions) <= 4
    assert regions[0].start == 0
    assert [r.stop for r in regions[:-1]] == [r.start for r in regions[1:]]
    assert regions[-1].stop == h * w
    assert all(max(r.height, r.width) <= window for r in regions)
    assert sorted(window_order(h, w, window).tolist()) == list(range(h * w))


@given(sides, sides, st.integers(1, 8))
def test_each_window_is_a_rectangle_of_the_map(h: int, w: int, window: int) -> None:
    grid = torch.arange(h * w).view(h, w)
    expected = {
        tuple(grid[r : r + window, c : c + window].flatten().tolist())
        for r in range(0, h, window)
        for c in range(0, w, window)
    }
    tokens = window_order(h, w, window).view(1, -1, 1)
    found = [
        tuple(one.flatten().tolist()) for r in cut(h, w, window) for one in windows_of(tokens, r)
    ]
    assert len(found) == len(expected)
    assert set(found) == expected


def test_join_reverses_windows_of() -> None:
    x = torch.randn(3, 9 * 16, 2)
    assert torch.equal(join([windows_of(x, r) for r in cut(9, 16, 7)], 3), x)
