from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from microexpr.errors import UserError
from microexpr.models.convnext_tiny import ConvNextTiny


def test_parameters_and_timm_names() -> None:
    with torch.device("meta"):
        model = ConvNextTiny(1000)
        three = ConvNextTiny(3)
    assert sum(p.numel() for p in model.parameters()) == 28_589_128
    assert sum(p.numel() for p in three.parameters()) == 27_822_435
    state = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    wanted = {
        "stem.0.weight": (96, 3, 4, 4),
        "stem.1.weight": (96,),
        "stages.0.blocks.2.conv_dw.weight": (96, 1, 7, 7),
        "stages.1.downsample.0.bias": (96,),
        "stages.1.downsample.1.weight": (192, 96, 2, 2),
        "stages.2.blocks.8.mlp.fc1.weight": (1536, 384),
        "stages.3.blocks.0.gamma": (768,),
        "head.norm.weight": (768,),
        "head.fc.weight": (1000, 768),
    }
    assert {key: state[key] for key in wanted} == wanted
    assert not [key for key in state if key.startswith("stages.0.downsample")]


@torch.no_grad()
def test_equals_its_twin() -> None:
    torch.manual_seed(0)
    model = ConvNextTiny(3, **ConvNextTiny.smallest).double().eval()
    state = model.state_dict()
    for value in state.values():
        value.uniform_(-1, 1)

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        mean = x.mean(dim=1, keepdim=True)
        spread = ((x - mean) ** 2).mean(dim=1, keepdim=True)
        scale, shift = (state[f"{name}.{k}"].view(1, -1, 1, 1) for k in ("weight", "bias"))
        return (x - mean) / (spread + 1e-6).sqrt() * scale + shift

    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    y = F.conv2d(x, state["stem.0.weight"], state["stem.0.bias"], stride=4)
    y = norm(y, "stem.1")
    for k in range(4):
        if k:
            down = f"stages.{k}.downsample"
            weight, bias = state[f"{down}.1.weight"], state[f"{down}.1.bias"]
            y = F.conv2d(norm(y, f"{down}.0"), weight, bias, stride=2)
        at = f"stages.{k}.blocks.0"
        inner = F.conv2d(
            F.pad(y, (3, 3, 3, 3)),
            state[f"{at}.conv_dw.weight"],
            state[f"{at}.conv_dw.bias"],
            groups=y.shape[1],
        )
        inner = norm(inner, f"{at}.norm")
        for name, act in (("fc1", F.gelu), ("fc2", torch.clone)):
            weight = state[f"{at}.mlp.{name}.weight"][:, :, None, None]
            inner = act(F.conv2d(inner, weight, state[f"{at}.mlp.{name}.bias"]))
        y = y + state[f"{at}.gamma"].view(1, -1, 1, 1) * inner
    y = norm(y.mean(dim=(2, 3), keepdim=True), "head.norm")[:, :, 0, 0]
    torch.testing.assert_close(model(x), y @ state["head.fc.weight"].T + state["head.fc.bias"])


def test_timm_weights_load_but_for_the_classifier() -> None:
    source = ConvNextTiny(7, **ConvNextTiny.smallest)
    target = ConvNextTiny(3, **ConvNextTiny.smallest)
    before = target.head["fc"].weight.clone()
    assert target.load_backbone(source.state_dict()) is target
    assert torch.equal(source.stem[0].weight, target.stem[0].weight)
    assert torch.equal(before, target.head["fc"].weight)
    with pytest.raises(UserError, match=r"unknown .first: extra"):
        target.load_backbone({**source.state_dict(), "extra": before})


def test_bad_settings() -> None:
    with pytest.raises(UserError, match="32 pixels and four depths"):
        ConvNextTiny(3, image=28)
