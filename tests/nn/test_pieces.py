from __future__ import annotations

import torch
from torch import Tensor

from microexpr.nn.pieces import PIXELS, in_pieces


class Counted:
    """Remembers how large the batches were."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        return x.flatten(1)[:, :3] * 2


def test_pieces_are_put_together_again() -> None:
    side = 512
    count = PIXELS // side**2
    x, function = torch.randn(2 * count + 1, 1, side, side), Counted()
    with torch.no_grad():
        out = in_pieces(function, x)
    assert torch.equal(out, x.flatten(1)[:, :3] * 2)
    assert sum(function.sizes) == len(x)
    assert max(function.sizes) == max(1, count)


def test_one_call_where_gradients_are_recorded_or_the_batch_is_small() -> None:
    function = Counted()
    in_pieces(function, torch.randn(5, 1, 512, 512))
    with torch.no_grad():
        in_pieces(function, torch.randn(300, 2, 8, 8))
    assert function.sizes == [5, 300]
