from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from microexpr.errors import UserError
from microexpr.models.selfme import SelfMe, blob, keypoints, symmetric_contrast, warp


def test_keypoints_are_the_mean_place_of_a_softmax() -> None:
    maps = torch.randn(1, 2, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    for k in range(2):
        shares = {(r, c): math.exp(maps[0, k, r, c]) for r in range(3) for c in range(4)}
        total = sum(shares.values())
        x = sum(s * ((2 * c + 1) / 4 - 1) for (_, c), s in shares.items()) / total
        y = sum(s * ((2 * r + 1) / 3 - 1) for (r, _), s in shares.items()) / total
        assert keypoints(maps)[0, k].tolist() == pytest.approx([x, y])


def test_a_blob_sits_on_its_point() -> None:
    points = torch.tensor([[[0.25, -0.75]]])
    peak = int(blob(points, 4).flatten().argmax())
    assert divmod(peak, 4) == (0, 2)  # centres at -.75, -.25, .25, .75
    torch.testing.assert_close(blob(points, 4).max(), torch.tensor(1.0))
    torch.testing.assert_close(
        keypoints(blob(points, 64).log())[0, 0], points[0, 0], atol=5e-3, rtol=0
    )


def test_warp_by_whole_pixels() -> None:
    picture = torch.arange(16.0).view(1, 1, 4, 4)
    shift = torch.zeros(1, 2, 4, 4)
    torch.testing.assert_close(warp(picture, shift), picture)
    shift[:, 0] = 0.5  # one pixel of four to the right, in half sides
    torch.testing.assert_close(warp(picture, shift)[..., :3], picture[..., 1:])
    shift[:, 0], shift[:, 1] = 0.0, -1.0
    torch.testing.assert_close(warp(picture, shift)[..., 2:, :], picture[..., :2, :])


def test_contrast_by_hand() -> None:
    left, right = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    total = 0.0
    for one, other in ((left, right), (right, left)):
        for i in range(3):
            scores = [float(F.cosine_similarity(one[i], other[j], dim=0)) / 0.1 for j in range(3)]
            total -= math.log(math.exp(scores[i]) / sum(map(math.exp, scores))) / 3
    assert float(symmetric_contrast(left, right)) == pytest.approx(total / 2)


def test_a_symmetric_movement_has_equal_halves() -> None:
    torch.manual_seed(0)
    model = SelfMe(3, **SelfMe.smallest).eval()
    half = torch.randn(2, 2, 8, 4)
    mirrored = half.flip(-1) * torch.tensor([-1.0, 1.0]).view(2, 1, 1)
    left, right = model._halves(torch.cat([half, mirrored], dim=3))
    torch.testing.assert_close(left, right)
    left, right = model._halves(torch.cat([half, -mirrored], dim=3))
    assert not torch.allclose(left, right)


def test_motion_is_learned_from_pictures_alone() -> None:
    """A bright square that moves: a few steps on the reconstruction bring it nearer."""
    torch.manual_seed(0)
    onset = torch.full((1, 3, 32, 32), 20.0)
    apex = onset.clone()
    onset[:, :, 10:20, 8:18] = 230.0
    apex[:, :, 10:20, 12:22] = 230.0
    x, y = torch.cat([onset, apex], dim=1).repeat(4, 1, 1, 1), torch.tensor([0, 1, 2, 0])
    model = SelfMe(3, **{**SelfMe.smallest, "width": 8}, contrast=0.0, reconstruction=10.0)
    motion = [*model.points.parameters(), *model.choice.parameters()]
    optimiser = torch.optim.Adam(motion, lr=1e-2)
    errors = []
    for _ in range(60):
        loss = model.loss(x, y, 0.0)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        small = F.interpolate(torch.cat([onset, apex]) / 255, scale_factor=0.25, mode="area")
        with torch.no_grad():
            rebuilt = warp(small[:1], model._shift(x)[:1])
        errors.append(float((rebuilt - small[1:]).abs().mean()))
    assert errors[-1] < 0.5 * errors[0]


def test_bad_settings() -> None:
    with pytest.raises(UserError, match="an image that 16 divides, got 40"):
        SelfMe(3, image=40)
