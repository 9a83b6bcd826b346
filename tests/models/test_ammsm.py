from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from microexpr.errors import UserError
from microexpr.models import create_model
from microexpr.models.ammsm import ALPHAS, RATIOS, Ammsm
from microexpr.nn.pictures import imagenet
from microexpr.nn.ssd import SelfAttention
from microexpr.nn.vssd import Sparsity
from microexpr.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

SMALL: dict[str, Any] = Ammsm.smallest


def parameters(**settings: Any) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in Ammsm(3, **settings).parameters())


def made(**settings: Any) -> Ammsm:
    torch.manual_seed(0)
    model = create_model("ammsm", 3, **{**SMALL, **settings})
    assert isinstance(model, Ammsm)
    return model


def batch(model: Ammsm, n: int = 4) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, len(model.eats.channels), model.eats.size, model.eats.size)
    x[:, model.planes :] = 255 * torch.rand_like(x[:, model.planes :])
    return x, torch.arange(n) % 3


UNET, SPATIAL = 17_263_042, 683_072 + 256 * 128 + 2 * 128


def test_parameters_at_full_size() -> None:
    """VSSD-T (24 270 724), three blocks that scan in stage 4 and one in stage 3 that attends."""
    scan = {
        d: d * (4 * d + 128 + d // 32) + 10 * (2 * d + 128) + 3 * (d // 32) + 4 * d + 2 * d * d
        for d in (256, 512)
    }
    attend = {d: 4 * d * d + d for d in (256, 512)}
    vssd = 24_270_724 + 3 * (scan[512] - attend[512]) - (scan[256] - attend[256])
    trunk = vssd - 997 * 513 - 32 * 9  # three classes and two planes instead of 1000 and three
    assert parameters(magnifier=False, spatial=False) == trunk == 25_419_255
    assert parameters(spatial=False) == trunk + UNET
    assert parameters() == trunk + UNET + SPATIAL == 43_398_393
    assert parameters(sparsity=False) == parameters()
    assert parameters(fusion="add") == parameters() - 128 * 128
    assert parameters(magnifier=False, spatial=False, backbone="transformer") == 22_120_195


def test_stages_of_the_paper() -> None:
    with torch.device("meta"):
        model = Ammsm(3)
    assert [len(level.blocks) for level in model.layers] == [2, 4, 8, 4]
    assert [level.blocks[0].norm1.normalized_shape[0] for level in model.layers] == [
        64,
        128,
        256,
        512,
    ]
    attends = [[isinstance(b.attn, SelfAttention) for b in level.blocks] for level in model.layers]
    assert attends == [[False] * 2, [False] * 4, [False] * 7 + [True], [False] * 3 + [True]]
    assert list(model.choices) == [
        *(
            "ratio_1_1",
            "ratio_2_1",
            "ratio_2_2",
            "ratio_3_1",
            "ratio_3_2",
            "ratio_3_3",
            "ratio_3_4",
        ),
        *("ratio_4_1", "ratio_4_2", "alpha"),
    ]
    assert model.choices["ratio_1_1"] == RATIOS == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    assert model.choices["alpha"] == ALPHAS
    assert (ALPHAS[0], ALPHAS[1], ALPHAS[-1], len(ALPHAS)) == (1.0, 1.25, 4.0, 13)
    with torch.device("meta"):
        twin = Ammsm(3, backbone="transformer")
    assert all(isinstance(b.attn, SelfAttention) for level in twin.layers for b in level.blocks)


TABLE_3 = list(product((False, True), (False, True), ("transformer", "mamba")))


@pytest.mark.parametrize(("magnifier", "sparsity", "backbone"), TABLE_3)
def test_every_row_of_table_three_learns(magnifier: bool, sparsity: bool, backbone: str) -> None:
    model = made(magnifier=magnifier, sparsity=sparsity, backbone=backbone)
    x, y = batch(model)
    for model.adapting in (True, False):
        model.zero_grad()
        model.loss(x, y, 0.3).backward()
        for name, p in model.named_parameters():
            assert p.grad is not None, name
            assert bool(p.grad.isfinite().all()), name
    assert bool(model.choices) == (magnifier or sparsity)
    assert ("alpha" in model.choices) == magnifier
    assert ("ratio_1_1" in model.choices) == sparsity


SETTINGS: list[dict[str, Any]] = [
    {"spatial": True},
    {"spatial": True, "fusion": "add", "stem_stride": 4, "image": 64},
    {"spatial": True, "stem_stride": 1, "masking": "paper"},
    {"encoding": "sinusoidal", "residual": True},
    {"gathered": False, "channels": ["u", "v", "m"], "normalisation": "relative"},
    {"ratios": [0.0, 0.8, 0.3], "depths": [2, 1, 2]},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_setting_learns(settings: dict[str, Any]) -> None:
    model = made(**settings)
    x, y = batch(model)
    model.loss(x, y, 0.5).backward()
    assert all(p.grad is not None for p in model.parameters())
    labels, probabilities = model.eval().predict(x)
    assert labels.shape == (4,)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(4))


@torch.no_grad()
@pytest.mark.parametrize("fusion", ["concat", "add"])
def test_forward_is_the_parts_in_the_order_of_figure_two(fusion: str) -> None:
    model = made(spatial=True, fusion=fusion, ratios=[0.3, 0.6, 0.1], alpha=3.0).double().eval()
    x = batch(model)[0].double()
    assert model.magnifier is not None
    assert model.spatial is not None
    assert model.fuse is not None
    maps = model.patch_embed(model.magnifier(x[:, :2], 3.0))
    first, second, third = model.layers
    maps = first.downsample(first(maps, Sparsity([0.3])))
    maps = second(maps, Sparsity([0.6]))
    onset = model.spatial(imagenet(x[:, 2:]))
    assert onset.shape == maps.shape
    maps = model.fuse(torch.cat([maps, onset], 1) if fusion == "concat" else maps + onset)
    maps = third(second.downsample(maps), Sparsity([0.1]))
    features = model.norm(maps.flatten(2).transpose(1, 2)).mean(1)
    torch.testing.assert_close(model(x), features @ model.head.weight.T + model.head.bias)


def test_equation_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """While adapting: cross-entropy, and (e_r - e) / e_r of the magnification loss."""
    model = made().eval()
    x, y = batch(model)
    monkeypatch.setattr(model, "_draw", lambda: (3.0, [0.5, 0.1, 0.8]))
    with torch.no_grad():
        magnified = model.magnify(x, 3.0)
        model.choose({"alpha": 3.0, "ratio_1_1": 0.5, "ratio_2_1": 0.1, "ratio_3_1": 0.8})
        wrong = F.cross_entropy(model(x), y)
        extra = (3.0 * x - magnified).abs().mean()
        for progress, weight in ((0.0, 1.0), (0.25, 0.75), (1.0, 0.0)):
            model.adapting = True
            torch.testing.assert_close(model.loss(x, y, progress), wrong + weight * extra)
            model.adapting = False
            torch.testing.assert_close(model.loss(x, y, progress), wrong)


def test_adapting_draws_anew_for_each_batch_from_torchs_state() -> None:
    model = made(magnifier_levels=1).eval()
    torch.manual_seed(3)
    drawn = [model._draw() for _ in range(400)]
    torch.manual_seed(3)
    assert drawn == [model._draw() for _ in range(400)]
    factors = torch.tensor([alpha for alpha, _ in drawn])
    assert 1 <= float(factors.min()) < 1.1
    assert 3.9 < float(factors.max()) <= 4
    assert abs(float(factors.mean()) - 2.5) < 0.15
    for place in range(3):
        assert {ratios[place] for _, ratios in drawn} == set(RATIOS)
    x, y = batch(model)
    model.adapting = True
    with torch.no_grad():
        losses = {float(model.loss(x, y, 0.5)) for _ in range(4)}
        assert len(losses) == 4
        assert torch.equal(model(x), model(x))  # what predicts is what is chosen
    assert model.chosen == {"ratio_1_1": 0.4, "ratio_2_1": 0.4, "ratio_3_1": 0.4, "alpha": 2.5}


def test_choosing_changes_the_net_and_is_saved(tmp_path: Path) -> None:
    model = made().eval()
    x, _ = batch(model)
    before = model(x)
    model.choose({"ratio_1_1": 0.8, "alpha": 1.25})
    assert model.chosen == {"ratio_1_1": 0.8, "ratio_2_1": 0.4, "ratio_3_1": 0.4, "alpha": 1.25}
    assert not torch.equal(before, model(x))
    save_checkpoint(tmp_path / "a.safetensors", Checkpoint(model, "ammsm", ("a", "b", "c")))
    found = load_checkpoint(tmp_path / "a.safetensors").model
    assert isinstance(found, Ammsm)
    assert found.chosen == model.chosen
    assert torch.equal(found(x), model(x))


def test_gathered_and_masked_nets_agree() -> None:
    for image in (28, 36):
        one, other = made(image=image), made(image=image, gathered=False)
        other.load_state_dict(one.state_dict())
        x, _ = batch(one)
        torch.testing.assert_close(one.eval()(x), other.eval()(x), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_large_batch_is_worked_through_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(spatial=True).eval()
    x, _ = batch(model, 7)
    whole = model(x)
    monkeypatch.setattr("microexpr.nn.pieces.PIXELS", 2 * 28 * 28)
    torch.testing.assert_close(model(x), whole, atol=1e-5, rtol=1e-5)
    model.train()  # batch norm needs the whole batch
    before = model.patch_embed.conv1.norm.num_batches_tracked.clone()
    model(x)
    assert int(model.patch_embed.conv1.norm.num_batches_tracked) == int(before) + 1


def test_magnify_takes_any_size_and_a_map() -> None:
    model = made().eval()
    flow = torch.randn(1, 2, 40, 24)
    with torch.no_grad():
        assert model.magnify(flow).shape == flow.shape
        assert torch.equal(model.magnify(flow), model.magnify(flow, 2.5))
        target = torch.ones(1, 1, 40, 24)
        target[..., :20, :] = 4.0
        assert not torch.equal(model.magnify(flow, target), model.magnify(flow, 1.0))
    assert made(magnifier=False).magnify(flow) is flow


def test_weights_of_torchvision_go_into_the_spatial_stream() -> None:
    with torch.device("meta"):
        spatial = Ammsm(3).spatial
    assert spatial is not None
    shapes = {key: tuple(value.shape) for key, value in spatial.state_dict().items()}
    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    assert shapes["layer2.0.downsample.0.weight"] == (128, 64, 1, 1)
    assert not [key for key in shapes if key.startswith("layer3")]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"size": "base", "ratios": [0.1, 0.2]},
            r"each pair of blocks, 9 here \(1 \+ 2 \+ 4 \+ 2\), got 2",
        ),
        ({"sparsity": False, "ratios": [0.5]}, r"0 here \(no sparsity\), got 1"),
        ({"ratios": [0.1, 0.9, 0.1]}, r"a ratio must be in \[0, 0.8\], got 0.9"),
        ({"ratios": [0.1, -0.1, 0.1]}, r"a ratio must be in \[0, 0.8\], got -0.1"),
        ({"alpha": 5.0}, r"alpha must be in \[1, 4\], got 5.0"),
        ({"alpha": 0.5}, r"alpha must be in \[1, 4\], got 0.5"),
        ({"backbone": "mambo"}, "unknown backbone 'mambo': did you mean 'mamba'"),
        ({"masking": "exakt"}, "did you mean 'exact'"),
        ({"fusion": "sum"}, "unknown fusion 'sum'"),
        ({"encoding": "sine"}, "unknown alpha encoding 'sine'"),
        ({"size": "huge"}, "unknown size 'huge'"),
        ({"stem_stride": 3}, "stem_stride must be 1, 2 or 4, got 3"),
        ({"normalisation": "minmax8"}, "have no zero"),
        ({"channels": ["u", "onset_r"]}, "spatial = true adds the onset"),
        ({"image": 12}, "a magnifier of 3 levels: the image must be at least 16 pixels, got 12"),
        ({"magnifier": False, "image": 8}, "3 stages: the image must be at least 9 pixels, got 8"),
    ],
)
def test_bad_settings(settings: dict[str, Any], says: str) -> None:
    given = settings if "size" in settings else {**SMALL, **settings}
    with torch.device("meta"), pytest.raises(UserError, match=says):
        Ammsm(3, **given)


def test_bad_choices() -> None:
    model = made()
    with pytest.raises(
        UserError, match="nothing to choose called 'ratio_9_9': did you mean 'ratio_"
    ):
        model.choose({"ratio_9_9": 0.1})
    with pytest.raises(UserError, match=r"ratio_1_1 must be in \[0, 0.8\], got 0.85"):
        model.choose({"ratio_1_1": 0.85})
    with pytest.raises(UserError, match=r"alpha must be in \[1, 4\], got 4.25"):
        model.choose({"alpha": 4.25})
    with pytest.raises(UserError, match="nothing to choose called 'alpha'"):
        made(magnifier=False).choose({"alpha": 2.0})
    with pytest.raises(UserError, match="expected a batch of 2x28x28"):
        model(torch.randn(1, 5, 28, 28))
