from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from microexpr.errors import UserError
from microexpr.models.offapexnet import OffApexNet


def count(**settings: object) -> int:
    with torch.device("meta"):
        model = OffApexNet(3, **settings)  # type: ignore[arg-type]
    return sum(p.numel() for p in model.parameters())


def test_parameters() -> None:
    stream = 5 * 5 * 6 + 6 + 5 * 5 * 6 * 16 + 16
    assert count() == 2 * stream + 1568 * 1024 + 1024 + 1024**2 + 1024 + 1024 * 3 + 3 == 2_664_475
    assert count(form="meb") == 114 + 880 + 784 * 1024 + 1024 + 1024 * 3 + 3 == 807_909


@torch.no_grad()
def test_each_plane_has_its_own_stream() -> None:
    torch.manual_seed(0)
    model = OffApexNet(3).double().eval()
    x = torch.randn(2, 2, 28, 28, dtype=torch.float64)
    parts = []
    for plane in range(2):
        y = x[:, plane : plane + 1]
        state = model.streams[plane].state_dict()
        for conv in ("0", "3"):
            y = F.conv2d(F.pad(y, (2, 2, 2, 2)), state[f"{conv}.weight"], state[f"{conv}.bias"])
            y = y.clamp(min=0).unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(4, 5))
        parts.append(y.reshape(2, -1))
    y = torch.cat(parts, dim=1)
    state = model.head.state_dict()
    for layer in ("0", "3"):
        y = (y @ state[f"{layer}.weight"].T + state[f"{layer}.bias"]).clamp(min=0)
    torch.testing.assert_close(model(x), y @ state["6.weight"].T + state["6.bias"])


def test_bad_form() -> None:
    with pytest.raises(UserError, match="unknown form 'papre': did you mean 'paper'"):
        OffApexNet(3, form="papre")
