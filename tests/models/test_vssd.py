from __future__ import annotations

from pathlib import Path

import pytest
import torch

from microexpr.errors import UserError
from microexpr.models import create_model
from microexpr.models.vssd import Vssd
from microexpr.nn.ssd import SelfAttention


@pytest.fixture(scope="module")
def official() -> Vssd:
    with torch.device("meta"):
        return Vssd(1000)


def test_parameters(official: Vssd) -> None:
    assert sum(p.numel() for p in official.parameters()) == 24_270_724


def test_keys_and_shapes_are_the_official_ones(official: Vssd, shared_data: Path) -> None:
    path = shared_data.parent / "facts" / "keys" / "vssd_tiny.txt"
    if not path.is_file():
        pytest.skip("the list of official keys is not here")
    wanted = dict(line.split(" ", 1) for line in path.read_text().splitlines())
    assert {k: str(tuple(v.shape)) for k, v in official.state_dict().items()} == wanted


def test_a_handful_of_official_keys(official: Vssd) -> None:
    state = {key: tuple(value.shape) for key, value in official.state_dict().items()}
    assert len(state) == 421
    wanted = {
        "patch_embed.conv1.conv.weight": (32, 3, 3, 3),
        "patch_embed.conv2.1.norm.running_var": (32,),
        "patch_embed.conv3.1.conv.weight": (64, 256, 1, 1),
        "layers.0.blocks.0.attn.in_proj.weight": (386, 64),
        "layers.0.downsample.conv.2.conv.bias": (128,),
        "layers.1.downsample.conv.1.conv.weight": (1024, 1, 3, 3),
        "layers.2.blocks.7.attn.conv2d.bias": (640,),
        "layers.2.blocks.7.attn.dt_bias": (8,),
        "layers.2.blocks.7.attn.norm.weight": (512,),
        "layers.3.blocks.0.attn.to_qkv.weight": (1536, 512),
        "layers.3.blocks.3.attn.to_out.bias": (512,),
        "layers.3.blocks.3.cpe2.weight": (512, 1, 3, 3),
        "norm.weight": (512,),
        "head.weight": (1000, 512),
    }
    assert {key: state[key] for key in wanted} == wanted
    assert not [key for key in state if key.startswith("layers.3.downsample")]


def test_depths_heads_and_where_it_attends(official: Vssd) -> None:
    kinds = [[isinstance(b.attn, SelfAttention) for b in level.blocks] for level in official.layers]
    assert kinds == [[False] * 2, [False] * 4, [False] * 8, [True] * 4]
    assert [len(level.blocks[0].attn.A_log) for level in list(official.layers)[:3]] == [2, 4, 8]
    assert official.layers[3].blocks[0].attn.heads == 16
    rates = [b.drop_path.probability for level in official.layers for b in level.blocks]
    assert rates[0] == 0
    assert rates[-1] == pytest.approx(0.2)
    assert rates == sorted(rates)


def test_load_official_takes_files_and_nested_dicts(tmp_path: Path) -> None:
    source = create_model("vssd", 5, **Vssd.smallest)
    target = create_model("vssd", 5, **Vssd.smallest)
    assert isinstance(target, Vssd)
    path = tmp_path / "vssd.pth"
    torch.save({"model": source.state_dict(), "epoch": 300}, path)
    assert target.load_official(path) is target
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(source.eval()(x), target.eval()(x))
    assert torch.equal(
        Vssd(5, **Vssd.smallest).load_official(source.state_dict()).eval()(x), target(x)
    )


def test_mismatched_weights_are_refused() -> None:
    state = create_model("vssd", 5, **Vssd.smallest).state_dict()
    with pytest.raises(
        UserError, match=r"VSSD-T with 3 classes and 3 channels: 2 of another shape"
    ):
        Vssd(3, **Vssd.smallest).load_official(state)
    with pytest.raises(UserError, match=r"2 channels: 1 of another shape .first: patch_embed"):
        Vssd(5, channels=["u", "v"], **Vssd.smallest).load_official(state)
    del state["norm.weight"]
    with pytest.raises(UserError, match=r"1 missing \(first: norm.weight\)"):
        Vssd(5, **Vssd.smallest).load_official(state)


def test_bad_settings_and_input() -> None:
    with pytest.raises(UserError, match="dim must be a multiple of 4, got 10"):
        Vssd(3, dim=10)
    with pytest.raises(UserError, match="expected a batch of 3x32x32"):
        Vssd(3, **Vssd.smallest)(torch.randn(1, 3, 28, 28))
