from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from microexpr.errors import UserError
from microexpr.models.sssnet import SssNet


def test_parameters() -> None:
    with torch.device("meta"):
        model = SssNet(3)
    assert sum(p.numel() for p in model.parameters()) == 1_349_251


@pytest.mark.parametrize("image", [16, 28, 64])
@torch.no_grad()
def test_equals_its_twin(image: int) -> None:
    torch.manual_seed(0)
    model = SssNet(4, image=image).double().eval()
    for norm in (model.bn1, model.bn2):
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 3, image, image, dtype=torch.float64)
    y = x
    for conv, norm, size in ((model.conv1, model.bn1, 3), (model.conv2, model.bn2, 2)):
        y = F.conv2d(y, conv.weight, conv.bias).clamp(min=0)
        y = y.unfold(2, size, size).unfold(3, size, size).amax(dim=(4, 5))
        mean, var = norm.running_mean[:, None, None], norm.running_var[:, None, None]
        y = (y - mean) / (var + 1e-5).sqrt()
    y = (y.reshape(2, -1) @ model.fc1.weight.T + model.fc1.bias).clamp(min=0)
    torch.testing.assert_close(model(x), y @ model.fc.weight.T + model.fc.bias)


def test_too_small() -> None:
    with pytest.raises(UserError, match="at least 16 pixels, got 15"):
        SssNet(3, image=15)
