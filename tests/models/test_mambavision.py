from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.models import create_model
from microexpr.models.mambavision import MambaVision
from microexpr.nn.mixers import Mixer
from microexpr.nn.windows import Region


@pytest.fixture(scope="module")
def official() -> MambaVision:
    with torch.device("meta"):
        return MambaVision(1000)


def test_parameters(official: MambaVision) -> None:
    assert sum(p.numel() for p in official.parameters()) == 97_685_288


def test_keys_and_shapes_are_the_official_ones(official: MambaVision, shared_data: Path) -> None:
    path = shared_data.parent / "facts" / "keys" / "mambavision_b.txt"
    if not path.is_file():
        pytest.skip("the list of official keys is not here")
    wanted = dict(line.split(" ", 1) for line in path.read_text().splitlines())
    assert {k: str(tuple(v.shape)) for k, v in official.state_dict().items()} == wanted


def test_a_handful_of_official_keys(official: MambaVision) -> None:
    state = {key: tuple(value.shape) for key, value in official.state_dict().items()}
    assert len(state) == 356
    wanted = {
        "patch_embed.conv_down.0.weight": (64, 3, 3, 3),
        "levels.0.blocks.2.norm2.running_var": (128,),
        "levels.1.downsample.reduction.0.weight": (512, 256, 3, 3),
        "levels.2.blocks.4.mixer.A_log": (256, 8),
        "levels.2.blocks.4.mixer.conv1d_z.weight": (256, 1, 3),
        "levels.2.blocks.4.mixer.dt_proj.bias": (256,),
        "levels.2.blocks.5.mixer.qkv.bias": (1536,),
        "levels.3.blocks.2.mixer.x_proj.weight": (80, 512),
        "levels.3.blocks.4.gamma_2": (1024,),
        "norm.num_batches_tracked": (),
        "head.weight": (1000, 1024),
    }
    assert {key: state[key] for key in wanted} == wanted
    assert not [key for key in state if key.startswith("levels.3.downsample")]


def level_twin(level: nn.Module, x: Tensor) -> Tensor:
    """Level 3 or 4, slowly: padded by hand, one window at a time."""
    b, c, h, w = x.shape
    n = level.window
    rows, columns = -(-h // n) * n, -(-w // n) * n
    padded = x.new_zeros(b, rows, columns, c)
    padded[:, :h, :w] = x.permute(0, 2, 3, 1)
    out = torch.empty_like(padded)
    for i in range(0, rows, n):
        for j in range(0, columns, n):
            tokens = padded[:, i : i + n, j : j + n].reshape(b, n * n, c)
            for block in level.blocks:
                tokens = tokens + block.gamma_1 * block.mixer(block.norm1(tokens))
                tokens = tokens + block.gamma_2 * block.mlp(block.norm2(tokens))
            out[:, i : i + n, j : j + n] = tokens.view(b, n, n, c)
    return level.downsample(out[:, :h, :w].permute(0, 3, 1, 2))


@pytest.mark.parametrize("image", [32, 224, 250])
@torch.no_grad()
def test_equals_its_twin_with_and_without_padding(image: int) -> None:
    """Maps of 2 and 1 (padded to 14 and 7), of 14 and 7, and of 16 and 8 (padded to 28 and 14)."""
    torch.manual_seed(0)
    model = MambaVision(3, image=image, dim=16).double().eval()
    for name, p in model.named_parameters():
        if "gamma" in name:
            p.fill_(0.5)
    x = torch.randn(1, 3, image, image, dtype=torch.float64)
    y = model.patch_embed(x)
    for level in model.levels[:2]:
        y = level(y)
    for level in model.levels[2:]:
        y = level_twin(level, y)
    expected = model.head(F.adaptive_avg_pool2d(model.norm(y), 1).flatten(1))
    torch.testing.assert_close(model(x), expected)


def test_first_half_scans_the_rest_attends(official: MambaVision) -> None:
    kinds = [[isinstance(b.mixer, Mixer) for b in level.blocks] for level in official.levels[2:]]
    assert kinds == [[True] * 5 + [False] * 5, [True] * 3 + [False] * 2]
    assert official.levels[2].blocks[0].mixer.regions == (Region(0, 1, 14, 14),)


def test_load_official_takes_files_and_nested_dicts(tmp_path: Path) -> None:
    source = create_model("mambavision", 5, **MambaVision.smallest)
    target = create_model("mambavision", 5, **MambaVision.smallest)
    assert isinstance(target, MambaVision)
    path = tmp_path / "mambavision.pth.tar"
    torch.save({"state_dict": source.state_dict(), "epoch": 3}, path)
    assert target.load_official(path) is target
    for one, other in zip(source.parameters(), target.parameters(), strict=True):
        assert torch.equal(one, other)


def test_mismatched_weights_are_refused() -> None:
    state = create_model("mambavision", 5, **MambaVision.smallest).state_dict()
    three = MambaVision(3, **MambaVision.smallest)
    with pytest.raises(UserError, match=r"with 3 classes and 3 channels: 2 of another shape.*head"):
        three.load_official(state)
    two = MambaVision(5, channels=["u", "v"], **MambaVision.smallest)
    with pytest.raises(UserError, match=r"2 channels: 1 of another shape .first: patch_embed"):
        two.load_official(state)
    del state["norm.weight"]
    with pytest.raises(UserError, match=r"1 missing \(first: norm.weight\)"):
        MambaVision(5, **MambaVision.smallest).load_official(state)


def test_bad_settings_and_input() -> None:
    with pytest.raises(UserError, match="dim must be a multiple of 16, got 20"):
        MambaVision(3, dim=20)
    with pytest.raises(UserError, match="expected a batch of 3x32x32"):
        MambaVision(3, **MambaVision.smallest)(torch.randn(1, 3, 28, 28))
