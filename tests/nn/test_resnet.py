from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from microexpr.errors import UserError
from microexpr.nn.resnet import ResNet18


def test_parameters_and_torchvision_names() -> None:
    with torch.device("meta"):
        whole, part = ResNet18(), ResNet18(layers=3)
    assert sum(p.numel() for p in whole.parameters()) == 11_689_512 - (512 * 1000 + 1000)
    assert sum(p.numel() for p in part.parameters()) == 2_782_784
    state = {key: tuple(value.shape) for key, value in whole.state_dict().items()}
    wanted = {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_mean": (64,),
        "layer1.0.conv1.weight": (64, 64, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer2.0.downsample.1.weight": (128,),
        "layer4.1.bn2.num_batches_tracked": (),
    }
    assert {key: state[key] for key in wanted} == wanted
    assert len(state) == 120
    assert not [key for key in state if key.startswith("layer1.0.downsample")]


def twin(net: ResNet18, x: Tensor) -> Tensor:
    """The net once more from its state dict alone, by functions."""
    state = net.state_dict()

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        scale = state[f"{name}.weight"] / (var + 1e-5).sqrt()
        return (x - mean[:, None, None]) * scale[:, None, None] + state[f"{name}.bias"][
            :, None, None
        ]

    x = norm(F.conv2d(x, state["conv1.weight"], stride=2, padding=3), "bn1").clamp(min=0)
    x = F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2)  # not negative, so zeros do for padding
    for k in range(1, net.layers + 1):
        for i in range(2):
            at = f"layer{k}.{i}"
            stride = 2 if k > 1 and i == 0 else 1
            inner = F.conv2d(x, state[f"{at}.conv1.weight"], stride=stride, padding=1)
            inner = norm(inner, f"{at}.bn1").clamp(min=0)
            inner = norm(F.conv2d(inner, state[f"{at}.conv2.weight"], padding=1), f"{at}.bn2")
            if stride == 2:
                x = norm(
                    F.conv2d(x, state[f"{at}.downsample.0.weight"], stride=2), f"{at}.downsample.1"
                )
            x = (x + inner).clamp(min=0)
    return x


@torch.no_grad()
def test_equals_its_twin() -> None:
    torch.manual_seed(0)
    net = ResNet18(channels=2, width=4).double().eval()
    for name, value in net.state_dict().items():
        if name.endswith(("running_var", "bn1.weight", "bn2.weight")):
            value.uniform_(0.5, 2)
        elif name.endswith(("running_mean", "bias")):
            value.uniform_(-1, 1)
    x = torch.randn(2, 2, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(net(x), twin(net, x))
    assert net(x).shape == (2, net.width, 2, 2) == (2, 32, 2, 2)
    assert ResNet18(layers=3, width=4, pool=False)(torch.randn(1, 3, 64, 64)).shape[2:] == (8, 8)


def test_weights_of_the_whole_net_load_into_a_part() -> None:
    whole, part = ResNet18(width=4), ResNet18(layers=2, width=4)
    state = {**whole.state_dict(), "fc.weight": torch.zeros(9, 32), "fc.bias": torch.zeros(9)}
    part.load_torchvision({"state_dict": state})
    assert torch.equal(part.layer2[1].conv2.weight, whole.layer2[1].conv2.weight)
    del state["layer1.0.bn1.weight"]
    with pytest.raises(UserError, match=r"ResNet-18 up to layer 2: 1 missing .first: layer1.0.bn1"):
        part.load_torchvision(state)


def test_bad_settings() -> None:
    with pytest.raises(UserError, match="1 to 4 layers"):
        ResNet18(layers=5)
