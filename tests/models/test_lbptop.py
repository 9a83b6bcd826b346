from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.svm import SVC

from microexpr.errors import UserError
from microexpr.models.lbptop import LbpTop, lbptop


def bin_of(code: int) -> int:
    """Uniform codes in ascending order, the rest last."""
    uniform = [c for c in range(16) if f"{c:04b}" not in ("0101", "1010")]
    return uniform.index(code) if code in uniform else 14


def twin(volume: np.ndarray) -> np.ndarray:
    """One clip, voxel by voxel."""
    frames, side, _ = volume.shape
    counts = np.zeros((25, 3, 15))
    for t in range(4, frames - 4):
        for r in range(1, side - 1):
            for c in range(1, side - 1):
                centre = volume[t, r, c]
                right, left = volume[t, r, c + 1], volume[t, r, c - 1]
                up, down = volume[t, r - 1, c], volume[t, r + 1, c]
                before, after = volume[t - 4, r, c], volume[t + 4, r, c]
                planes = (
                    (right, up, left, down),  # XY
                    (right, before, left, after),  # XT
                    (down, before, up, after),  # YT
                )
                block = (r * 5 // side) * 5 + c * 5 // side
                for plane, around in enumerate(planes):
                    code = sum(2**i for i, value in enumerate(around) if value >= centre)
                    counts[block, plane, bin_of(code)] += 1
    return (counts / counts.sum(axis=2, keepdims=True)).ravel()


@pytest.mark.parametrize(("frames", "side"), [(9, 10), (11, 13)])
def test_features_equal_their_twin(frames: int, side: int) -> None:
    random = np.random.default_rng(side)
    volume = random.integers(0, 4, size=(2, frames, side, side)).astype(float)  # many ties
    got = lbptop(torch.as_tensor(volume)).numpy()
    for one, clip in zip(got, volume, strict=True):
        np.testing.assert_allclose(one, twin(clip), atol=1e-12)


def test_features_do_not_know_the_light() -> None:
    x = torch.rand(2, 9, 12, 12)
    assert torch.equal(lbptop(x), lbptop(2 * x + 30))
    assert lbptop(x).shape == (2, 1125)


def test_solve_equals_libsvm_on_the_features() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (30, 9, 1, 12, 12), generator=g).float()
    y = torch.arange(30) % 3
    x[y == 1, 5:] += 80  # brightens
    x[y == 2, :, :, 6:] = 17.0  # flat below
    model = LbpTop(3, C=10.0, frames=9, image=12)
    model.solve(x, y, y, 0)
    features = lbptop(x[:, :, 0]).double().numpy()
    twin = SVC(kernel="linear", C=10.0).fit(features, y.numpy())
    assert np.array_equal(model.predict(x)[0].numpy(), twin.predict(features))
    assert float((model.predict(x)[0] == y).float().mean()) > 0.9


def test_bad_settings() -> None:
    with pytest.raises(UserError, match="at least 9 frames"):
        LbpTop(3, frames=8)
    with pytest.raises(UserError, match=r"9x1x10x10 \(grey; 9 frames\)"):
        LbpTop(3, frames=9, image=10)(torch.zeros(2, 1, 10, 10))
