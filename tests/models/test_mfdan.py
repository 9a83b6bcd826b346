from __future__ import annotations

import pytest
import torch

from microexpr.errors import UserError
from microexpr.models.mfdan import Mfdan, _Level
from microexpr.nn.targets import focal_loss


@torch.no_grad()
def test_queries_are_the_flows_keys_and_values_the_images() -> None:
    torch.manual_seed(0)
    level = _Level(6, 2, 0.0).double().eval()
    image, flow = torch.randn(2, 1, 5, 6, dtype=torch.float64)
    query = level.query(level.norm_flow(flow))[0]
    key, value = level.key_value(level.norm_image(image))[0].split(6, dim=1)
    mixed = torch.zeros(5, 6, dtype=torch.float64)
    for h in (slice(0, 3), slice(3, 6)):
        for i in range(5):
            scores = torch.stack([query[i, h] @ key[j, h] for j in range(5)]) / 3**0.5
            for j, weight in enumerate(scores.softmax(dim=0)):
                mixed[i, h] += weight * value[j, h]
    wanted = image[0] + level.proj(mixed)
    wanted = wanted + level.mlp(level.norm(wanted))
    torch.testing.assert_close(level(image, flow)[0], wanted)


def test_drop_key_acts_in_training_only_and_never_fails() -> None:
    torch.manual_seed(0)
    level = _Level(4, 2, 0.9)  # with 3 tokens most queries lose every key
    image, flow = torch.randn(2, 8, 3, 4)
    assert bool(level(image, flow).isfinite().all())
    assert not torch.equal(level(image, flow), level(image, flow))
    level.eval()
    assert torch.equal(level(image, flow), level(image, flow))


def test_loss_is_focal_and_flow_and_image_both_matter() -> None:
    torch.manual_seed(0)
    model = Mfdan(3, **Mfdan.smallest).eval()
    assert model.eats.channels == ("u", "v", "m", "apex_r", "apex_g", "apex_b")
    x, y = torch.rand(4, 6, 32, 32) * 255, torch.tensor([0, 1, 2, 0])
    torch.testing.assert_close(model.loss(x, y, 0.0), focal_loss(model(x), y, 2.0))
    for planes in (slice(0, 3), slice(3, 6)):
        other = x.clone()
        other[:, planes] = other[:, planes].flip(-1)
        assert not torch.allclose(model(other), model(x))


def test_bad_settings() -> None:
    with pytest.raises(UserError, match="heads that divide dim"):
        Mfdan(3, dim=10)
