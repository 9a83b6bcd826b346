from __future__ import annotations

import pytest
import torch

from microexpr.errors import UserError
from microexpr.models.smallcnn import SmallCnn


def test_size_and_shapes() -> None:
    assert sum(p.numel() for p in SmallCnn(3).parameters()) == 17_307
    for image in (8, 28, 33):
        model = SmallCnn(4, channels=("u", "v"), image=image)
        assert model(torch.randn(2, 2, image, image)).shape == (2, 4)


def test_learns_where_something_moves() -> None:
    torch.manual_seed(0)
    x = 0.1 * torch.randn(48, 3, 28, 28)
    y = torch.arange(48) % 3
    for i, label in enumerate(y.tolist()):
        x[i, :, 4 + 8 * label : 8 + 8 * label, 10:18] += 1
    model = SmallCnn(3)
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(15):
        optimiser.zero_grad()
        model.loss(x, y, 0.0).backward()
        optimiser.step()
    assert (model.eval().predict(x)[0] == y).all()


def test_bad_input() -> None:
    with pytest.raises(UserError, match="expected a batch of 3x28x28"):
        SmallCnn(3)(torch.zeros(1, 2, 28, 28))
