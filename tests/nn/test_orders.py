from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from microexpr.errors import UserError
from microexpr.nn.orders import ORDERS, scan_order, scan_orders

names = st.sampled_from(sorted(ORDERS))
bases = st.sampled_from("abcd")
sides = st.integers(1, 9)


@given(names, sides, sides)
def test_every_order_visits_every_token_once(name: str, height: int, width: int) -> None:
    assert sorted(scan_order(name, height, width)) == list(range(height * width))


@given(bases, sides, sides)
def test_base_orders_start_at_the_top_left(name: str, height: int, width: int) -> None:
    assert scan_order(name, height, width)[0] == 0


@given(st.sampled_from("cd"), st.sampled_from(["", "_bi", "_sy"]), sides, sides)
def test_zigzags_step_to_neighbours_only(base: str, kind: str, height: int, width: int) -> None:
    walk = [divmod(token, width) for token in scan_order(base + kind, height, width)]
    for (r0, c0), (r1, c1) in itertools.pairwise(walk):
        assert abs(r0 - r1) + abs(c0 - c1) == 1


@given(bases, sides, sides)
def test_reversed_is_the_walk_backwards(base: str, height: int, width: int) -> None:
    assert scan_order(f"{base}_bi", height, width) == scan_order(base, height, width)[::-1]


@given(bases, sides, sides)
def test_mirrored_walks_the_flipped_window(base: str, height: int, width: int) -> None:
    flipped = torch.arange(height * width).view(height, width).flip(1).flatten()
    assert flipped[scan_order(base, height, width)].tolist() == scan_order(
        f"{base}_sy", height, width
    )


@given(st.sampled_from([("a", "b"), ("c", "d")]), sides, sides)
def test_vertical_is_horizontal_on_the_transposed_window(
    pair: tuple[str, str], height: int, width: int
) -> None:
    transposed = torch.arange(height * width).view(height, width).t().flatten()
    walk = transposed[scan_order(pair[0], width, height)].tolist()
    assert walk == scan_order(pair[1], height, width)


def test_the_four_of_the_paper_are_neither_reversals_nor_mirror_images() -> None:
    walks = {name: scan_order(name, 7, 7) for name in ORDERS}
    for one in "abcd":
        for other in set("abcd") - {one}:
            assert walks[one] not in (
                walks[other],
                walks[f"{other}_bi"],
                walks[f"{other}_sy"],
            )


def test_stacked_orders_and_bad_names() -> None:
    orders = scan_orders(["a", "c_bi"], 3, 2)
    assert orders.tolist() == [scan_order("a", 3, 2), scan_order("c_bi", 3, 2)]
    assert orders.dtype == torch.int64
    with pytest.raises(UserError, match=r"unknown scan order 'a_b'.*a_bi"):
        scan_order("a_b", 2, 2)
    with pytest.raises(UserError, match="at least one"):
        scan_orders([], 2, 2)
