from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from microexpr.errors import UserError
from microexpr.models.ststnet import Ststnet


def stream_twin(conv: torch.nn.Conv2d, norm: torch.nn.BatchNorm2d, x: Tensor) -> Tensor:
    """One stream on one ``(3, 28, 28)`` picture, pixel by pixel."""
    padded = torch.zeros(3, 32, 32, dtype=x.dtype)
    padded[:, 2:30, 2:30] = x
    maps = torch.empty(len(conv.weight), 30, 30, dtype=x.dtype)
    for r in range(30):
        for c in range(30):
            patch = padded[:, r : r + 3, c : c + 3]
            maps[:, r, c] = (conv.weight * patch).sum(dim=(1, 2, 3)) + conv.bias
    maps = maps.clamp(min=0)  # ReLU comes before batch norm
    scale = norm.weight / (norm.running_var + norm.eps) ** 0.5
    maps = (maps - norm.running_mean[:, None, None]) * scale[:, None, None]
    maps = maps + norm.bias[:, None, None]
    pooled = torch.empty(len(maps), 10, 10, dtype=x.dtype)
    for r in range(10):
        for c in range(10):
            rows = slice(max(0, 3 * r - 1), 3 * r + 2)
            columns = slice(max(0, 3 * c - 1), 3 * c + 2)
            pooled[:, r, c] = maps[:, rows, columns].amax(dim=(1, 2))
    return pooled


@torch.no_grad()
def test_equals_its_twin() -> None:
    torch.manual_seed(0)
    model = Ststnet(3).double().eval()
    for norm in (model.bn1, model.bn2, model.bn3):
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
        norm.weight.uniform_(0.5, 2)
    x = torch.rand(1, 3, 28, 28, dtype=torch.float64) * 255
    streams = ((model.conv1, model.bn1), (model.conv2, model.bn2), (model.conv3, model.bn3))
    maps = torch.cat([stream_twin(conv, norm, x[0]) for conv, norm in streams])
    features = maps.view(16, 5, 2, 5, 2).mean(dim=(2, 4)).flatten()
    expected = model.fc.weight @ features + model.fc.bias
    torch.testing.assert_close(model(x)[0], expected)


def test_size_input_and_keys(shared_data: Path) -> None:
    model = Ststnet(3)
    assert sum(p.numel() for p in model.parameters()) == 1683
    assert model.eats.channels == ("strain", "v", "u")
    assert (model.eats.size, model.eats.normalisation) == (28, "minmax8")
    path = shared_data.parent / "facts" / "keys" / "ststnet.txt"
    if not path.is_file():
        pytest.skip("the list of official keys is not here")
    wanted = dict(line.split(" ", 1) for line in path.read_text().splitlines())
    assert {k: str(tuple(v.shape)) for k, v in model.state_dict().items()} == wanted


def test_load_official(tmp_path: Path) -> None:
    source, target = Ststnet(3), Ststnet(3)
    torch.save(source.state_dict(), tmp_path / "sub01.pth")
    assert target.load_official(tmp_path / "sub01.pth") is target
    assert torch.equal(source.conv3.weight, target.conv3.weight)
    with pytest.raises(UserError, match="weights of STSTNet with 5 classes: 2 of another shape"):
        Ststnet(5).load_official(source.state_dict())


def test_bad_input() -> None:
    with pytest.raises(UserError, match=r"3x28x28 \(strain, v, u\)"):
        Ststnet(3)(torch.zeros(1, 3, 27, 28))
