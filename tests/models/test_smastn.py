from __future__ import annotations

import pytest
import torch

from microexpr.errors import UserError
from microexpr.models.smastn import SmaStn, deviation_loss, dynamic_image, segment_images


def test_dynamic_image_by_hand() -> None:
    frames = torch.rand(5, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    total = torch.zeros(3, 4, dtype=torch.float64)
    for t, weight in enumerate((-4, -2, 0, 2, 4)):
        total += weight * frames[t]
    spread = ((total - total.mean()) ** 2).sum() / 11
    torch.testing.assert_close(dynamic_image(frames), (total - total.mean()) / spread**0.5)
    assert dynamic_image(frames[:1].expand(5, -1, -1)).abs().max() < 1e-6  # nothing moves
    torch.testing.assert_close(dynamic_image(frames.flip(0)), -dynamic_image(frames))


def test_images_of_segments_and_of_their_middles() -> None:
    frames = torch.rand(2, 6, 4, 4)
    images = segment_images(frames, 2)
    assert images.shape == (2, 3, 4, 4)
    torch.testing.assert_close(images[:, 0], dynamic_image(frames[:, :3]))
    torch.testing.assert_close(images[:, 1], dynamic_image(frames[:, 3:]))
    torch.testing.assert_close(images[:, 2], dynamic_image(frames[:, [1, 4]]))


def test_deviation_loss_by_hand() -> None:
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).double()
    y = [0, 0, 1, 1, 1]
    mass = torch.eye(3)[torch.tensor(y)].double()  # class 2 is absent
    means = [z[:2].mean(dim=0), z[2:].mean(dim=0)]
    total = 0.0
    for i, k in enumerate(y):
        own, other = (float((z[i] - means[c]).norm()) for c in (k, 1 - k))
        total += max(own - other + 1.0, 0.0)
    assert float(deviation_loss(z, mass)) == pytest.approx(total / 5)


def test_one_class_alone_deviates_from_nothing() -> None:
    z = torch.randn(3, 2, requires_grad=True)
    loss = deviation_loss(z, torch.eye(3)[[1, 1, 1]])
    torch.autograd.backward(loss)
    assert loss.item() == 0.0
    assert z.grad is not None
    assert bool(z.grad.isfinite().all())


@torch.no_grad()
def test_every_place_sees_every_other() -> None:
    torch.manual_seed(0)
    model = SmaStn(3, **SmaStn.smallest).double().eval()
    block, x = model.relate, torch.randn(1, 8, 2, 3, dtype=torch.float64)
    places = [(r, c) for r in range(2) for c in range(3)]
    q, k, v = (part(x)[0] for part in (block.query, block.key, block.value))
    wanted = torch.zeros(1, 4, 2, 3, dtype=torch.float64)
    for r, c in places:
        scores = torch.stack([q[:, r, c] @ k[:, i, j] for i, j in places]).softmax(dim=0)
        for weight, (i, j) in zip(scores, places, strict=True):
            wanted[0, :, r, c] += weight * v[:, i, j]
    torch.testing.assert_close(block(x), x + block.out(wanted))


@torch.no_grad()
def test_segments_are_weighed_and_bad_settings() -> None:
    torch.manual_seed(0)
    model = SmaStn(3, **SmaStn.smallest).eval()
    x = torch.rand(1, 4, 1, 32, 32) * 255
    images = segment_images(x[:, :, 0], 2)[0]
    features = [model.relate(model.backbone(i[None, None])).mean(dim=(2, 3))[0] for i in images]
    weights = torch.stack([model.weigh(f)[0] for f in features]).softmax(dim=0)
    z = sum(w * f for w, f in zip(weights, features, strict=True))
    torch.testing.assert_close(model(x)[0], model.head(z))
    with pytest.raises(UserError, match="2 segments of 2 moments"):
        SmaStn(3, length=1)
