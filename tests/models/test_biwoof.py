from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.svm import SVC
from torch import Tensor

from microexpr.encoding import optical_strain
from microexpr.errors import UserError
from microexpr.models.biwoof import BiWoof, biwoof


def fields(n: int, side: int, seed: int = 0) -> Tensor:
    random = np.random.default_rng(seed)
    u, v = random.normal(size=(2, n, side, side))
    return torch.as_tensor(np.stack([u, v, optical_strain(u, v)], axis=1))


def twin(x: Tensor) -> list[float]:
    """One clip, pixel by pixel."""
    side = x.shape[-1]
    features = []
    for top in range(5):
        for left in range(5):
            histogram, strain = [0.0] * 8, 0.0
            for r in range(side):
                for c in range(side):
                    if (r * 5 // side, c * 5 // side) != (top, left):
                        continue
                    u, v, e = x[:, r, c].tolist()
                    degrees = math.degrees(math.atan2(v, u))
                    histogram[int((degrees + 180) // 45) % 8] += math.hypot(u, v)
                    strain += e
            total = sum(histogram) or 1.0
            features += [h / total * strain for h in histogram]
    length = math.sqrt(sum(f * f for f in features)) or 1.0
    return [f / length for f in features]


@pytest.mark.parametrize("side", [5, 12, 15])
def test_features_equal_their_twin(side: int) -> None:
    x = fields(2, side)
    x[0, :, :4, :3] = 0.0  # a block without motion
    for one, row in zip(biwoof(x), x, strict=True):
        assert one.tolist() == pytest.approx(twin(row), abs=1e-12)


def test_features_know_direction_not_unit() -> None:
    x = fields(3, 15)
    torch.testing.assert_close(biwoof(7.5 * x), biwoof(x))
    turned = x * torch.tensor([-1.0, -1.0, 1.0]).view(3, 1, 1)  # the other way: four bins further
    rolled = biwoof(x).view(3, 25, 8).roll(4, dims=2).flatten(1)
    torch.testing.assert_close(biwoof(turned), rolled)
    assert biwoof(0 * x).abs().max() == 0


def test_solve_equals_libsvm_on_the_features() -> None:
    x = torch.cat([fields(20, 15, s) * (1 + s) for s in range(3)]).float()
    x[:20, 0] += 1.0
    x[20:40, 1] -= 1.0
    y = torch.arange(3).repeat_interleave(20)
    model = BiWoof(3, image=15)
    model.solve(x, y, y, 0)
    features = biwoof(x.double()).numpy()
    twin = SVC(kernel="linear", C=10_000).fit(features, y.numpy())
    labels, _ = model.predict(x)
    assert np.array_equal(labels.numpy(), twin.predict(features))
    assert float((labels == y).float().mean()) > 0.9


def test_bad_settings() -> None:
    with pytest.raises(UserError, match="minmax8 lost"):
        BiWoof(3, normalisation="minmax8")
    with pytest.raises(UserError, match="image at least 5"):
        BiWoof(3, image=4)
