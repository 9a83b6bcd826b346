from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.labels import SCHEMES
from microexpr.models import create_model
from microexpr.models.merba import DFME7_COARSE, SIZES, Merba
from microexpr.nn.mixers import Mixer
from microexpr.nn.scan import use_backend
from microexpr.nn.windows import cut


def parameters(**settings: Any) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in Merba(**settings).parameters())


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 99_807_559),
        ({"head": "dgcm"}, 99_808_584),
        ({"share_mixers": False}, 118_976_839),
        ({"share_mixers": False, "head": "dgcm"}, 118_977_864),
    ],
)
def test_parameters_of_base(settings: dict[str, Any], count: int) -> None:
    assert parameters(classes=7, **settings) == count


def test_parameters_of_the_other_sizes() -> None:
    millions = {size: parameters(classes=7, size=size) / 1e6 for size in ("small", "tiny", "nano")}
    assert millions["small"] == pytest.approx(18.3, abs=0.1)
    assert millions["tiny"] == pytest.approx(2.5, abs=0.1)
    assert 0.08 < millions["nano"] < 0.13
    ratio = parameters(classes=7, mixer="conv") / 99_807_559
    assert ratio == pytest.approx(1, abs=0.002)


def test_shapes_of_table_one() -> None:
    with torch.device("meta"):
        model = Merba(7)
    sides = [224 // 4]
    for level in model.levels[1:]:
        sides.append(sides[-1] // 2)
        extractor = level.extractors.blocks[0].mixer
        assert extractor.regions == cut(sides[-1], sides[-1], 7)
        assert {r.height for r in extractor.regions} == {7}
    assert sides == [56, 28, 14, 7]
    assert [len(level.extractors.blocks) for level in model.levels[1:]] == [2, 6, 4]
    assert [len(level.attentions.blocks) for level in model.levels[1:]] == [2, 2, 2]
    assert len(model.levels[0].blocks) == 3


@pytest.fixture
def nano() -> Iterator[Merba]:
    torch.manual_seed(0)
    with use_backend("blocked"):
        yield Merba(3, size="nano", **{"depths": [1, 1, 1]})


ABLATIONS: list[dict[str, Any]] = [
    {},
    {"share_mixers": False},
    {"extractor": "global"},
    {"attention": "local"},
    {"extractor": "global", "attention": "local"},
    {"extractor": "local", "attention": "local", "stem_stride": 1, "mixer": "conv"},
    {"orders": ["a"]},
    {"orders": ["a", "b"]},
    {"orders": ["c", "d"]},
    {"orders": ["a", "a_bi", "b", "b_bi"]},
    {"orders": ["a", "a_sy", "b", "b_sy"]},
    {"mixer": "conv"},
    {"dt_init": "mamba"},
    {"layer_scale": 1e-5},
    {"head": "dgcm", "coarse": [0, 1, 0]},
    {"stem_stride": 4, "image": 70},
    {"channels": ["u", "v"], "normalisation": "relative"},
    {"attentions": [0, 1]},
]


@pytest.mark.parametrize("settings", ABLATIONS, ids=str)
def test_every_setting_learns(settings: dict[str, Any]) -> None:
    """Forward, loss and a gradient for every parameter."""
    torch.manual_seed(1)
    model = create_model("merba", 3, **{**Merba.smallest, "image": 28, **settings})
    eats = model.eats
    x = torch.randn(4, len(eats.channels), eats.size, eats.size)
    y = torch.tensor([0, 1, 2, 0])
    model.loss(x, y, 0.5).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    labels, probabilities = model.eval().predict(x)
    assert labels.shape == (4,)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(4))


def stage_twin(stage: nn.Module, x: Tensor, window: int) -> Tensor:
    """One stage, slowly: windows cut by hand, blocks spelled out, attention over all tokens."""
    b, d, side, _ = x.shape
    grid = x.permute(0, 2, 3, 1)
    for block in stage.extractors.blocks:
        mixed = torch.empty_like(grid)
        for r in range(0, side, window):
            for c in range(0, side, window):
                piece = block.norm1(grid[:, r : r + window, c : c + window])
                alone = Mixer(d, cut(*piece.shape[1:3], window), ["a", "b", "c", "d"]).to(x.dtype)
                alone.load_state_dict(block.mixer.state_dict())
                out = alone(piece.reshape(b, -1, d)).view(piece.shape)
                mixed[:, r : r + window, c : c + window] = out
        grid = grid + mixed
        grid = grid + block.mlp(block.norm2(grid))
    tokens = grid.reshape(b, -1, d)
    for block in stage.attentions.blocks:
        normed = block.norm1(tokens)
        heads = block.mixer.heads
        q, k, v = (
            part.view(b, -1, heads, d // heads).transpose(1, 2)
            for part in block.mixer.qkv(normed).split(d, dim=2)
        )
        weights = (q @ k.transpose(2, 3) / (d // heads) ** 0.5).softmax(dim=3)
        joined = (weights @ v).transpose(1, 2).reshape(b, -1, d)
        tokens = tokens + block.mixer.proj(joined)
        tokens = tokens + block.mlp(block.norm2(tokens))
    return stage.downsample(tokens.transpose(1, 2).reshape(b, d, side, side))


@pytest.mark.parametrize("image", [28, 56, 36])
@torch.no_grad()
def test_whole_net_equals_its_twin(image: int) -> None:
    """Maps of 14 and 7, of 28 and 14, and of 18, 9 and 5, which windows do not divide."""
    torch.manual_seed(2)
    settings = {**Merba.smallest, "image": image, "stem_stride": 1, "dropout": 0.0}
    model = Merba(3, **settings).double().eval()
    for p in model.parameters():
        p.copy_(p + 0.3 * torch.randn_like(p))
    x = torch.randn(2, 3, image, image, dtype=torch.float64)
    y = model.levels[0](model.patch_embed(x))
    for stage in model.levels[1:]:
        y = stage_twin(stage, y, 7)
    features = model.norm(y).flatten(2).mean(dim=2)
    expected = features @ model.head.weight.T + model.head.bias
    torch.testing.assert_close(model(x), expected, rtol=1e-9, atol=1e-9)


def logits_and_gradients(model: Merba, x: Tensor, backend: str) -> list[Tensor]:
    model.zero_grad()
    with use_backend(backend):
        logits = model(x)
        F.cross_entropy(logits, torch.arange(len(x)) % model.classes).backward()
    return [logits.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


def assert_backends_agree(model: Merba, x: Tensor) -> None:
    """Logits, and the gradient of each parameter, to 1e-5 of the largest of its numbers."""
    found = logits_and_gradients(model, x, "blocked")
    wanted = logits_and_gradients(model, x, "reference")
    assert len(found) == len(wanted) == 1 + len(list(model.parameters()))
    for one, other in zip(found, wanted, strict=True):
        assert float((one - other).abs().max()) <= 1e-5 * float(other.abs().max())


def test_backends_agree_on_nano() -> None:
    torch.manual_seed(3)
    model = Merba(
        3, size="nano"
    ).eval()  # batch norm in training makes some gradients mere rounding
    assert_backends_agree(model, torch.randn(4, 3, 28, 28))


@pytest.mark.slow
def test_backends_agree_on_base_at_224() -> None:
    """The paper's own net runs forward and backward on a CPU."""
    torch.manual_seed(4)
    model = Merba(7, layer_scale=1.0).eval()
    assert_backends_agree(model, torch.randn(1, 3, 224, 224))


def test_state_dict_round_trip(nano: Merba) -> None:
    x = torch.randn(2, 3, 28, 28)
    twin = Merba(3, size="nano", depths=[1, 1, 1])
    twin.load_state_dict(nano.state_dict())
    assert torch.equal(nano.eval()(x), twin.eval()(x))
    assert not any("order" in key or key.endswith("back") for key in nano.state_dict())


def test_dgcm_of_seven_classes(nano: Merba) -> None:
    assert SCHEMES["dfme7"].coarse_indices() == DFME7_COARSE
    model = Merba(7, **Merba.smallest, head="dgcm").eval()
    x = torch.randn(5, 3, 28, 28)
    logits = model(x)
    assert logits.shape == (5, 8)
    y = torch.tensor([0, 1, 4, 6, 3])
    torch.testing.assert_close(model.loss(x, y, 0.2), model.head.loss(logits, y, 0.2))
    labels, probabilities = model.predict(x)
    wanted = model.head.predict(logits)
    assert torch.equal(labels, wanted[0])
    torch.testing.assert_close(probabilities, wanted[1])


def test_linear_head_takes_target_mass(nano: Merba) -> None:
    x, y = torch.randn(3, 3, 28, 28), torch.tensor([0, 2, 1])
    nano.eval()
    torch.testing.assert_close(nano.loss(x, y, 0.0), nano.loss(x, F.one_hot(y, 3).float(), 0.9))


def test_eval_is_deterministic_and_drop_path_is_not(nano: Merba) -> None:
    x = torch.randn(4, 3, 28, 28)
    assert torch.equal(nano.eval()(x), nano(x))
    model = Merba(3, size="nano", drop_path=0.9, dropout=0.0)
    assert not torch.equal(model.train()(x), model(x))


def test_warm_start_copies_stem_stage_one_and_downsampling() -> None:
    with torch.device("meta"):
        keys = {k: v.shape for k, v in Merba(7).state_dict().items()}
    source = {k: torch.full(s, 0.5) for k, s in keys.items() if "patch_embed" in k}
    model = Merba(3, **Merba.smallest)
    state = {k: torch.full_like(v, 0.25) for k, v in model.state_dict().items()}
    before = model.head.weight.clone()
    copied = model.warm_start(state)
    assert {key.split(".")[0] for key in copied} == {"patch_embed", "levels"}
    assert all(torch.equal(model.state_dict()[key], state[key]) for key in copied)
    assert "levels.0.blocks.0.conv1.weight" in copied
    assert "levels.1.downsample.reduction.0.weight" in copied
    assert torch.equal(model.head.weight, before)
    with pytest.raises(UserError, match=r"cannot warm-start.*patch_embed\.conv_down\.0\.weight"):
        model.warm_start(source)
    del state["levels.0.blocks.0.conv1.weight"]
    with pytest.raises(UserError, match="found nothing"):
        model.warm_start(state)


def test_warm_start_from_a_mambavision_of_the_same_width() -> None:
    official = create_model("mambavision", 5, dim=16, image=32)
    model = Merba(3, size="nano", widths=[16, 32, 64, 128], depths=[3, 1, 1, 1], attentions=[1] * 3)
    model.warm_start(official.state_dict())
    for key in ("patch_embed.conv_down.3.weight", "levels.2.downsample.reduction.0.weight"):
        assert torch.equal(model.state_dict()[key], official.state_dict()[key])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": "bass"}, "unknown size 'bass': did you mean 'base'"),
        ({"head": "dgm"}, "unknown head 'dgm': did you mean 'dgcm'"),
        ({"head": "dgcm"}, "give coarse, a list of 3 numbers"),
        ({"head": "dgcm", "coarse": [0, 1]}, "give coarse"),
        ({"extractor": "lokal"}, "unknown extractor"),
        ({"attention": "none"}, "unknown attention"),
        ({"mixer": "mamba"}, "unknown mixer"),
        ({"dt_init": "zero"}, "unknown dt_init"),
        ({"orders": ["e"]}, "unknown scan order 'e'"),
        ({"orders": []}, "at least one scan order"),
        ({"stem_stride": 3}, "stem_stride must be 1, 2 or 4, got 3"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"drop_path": -0.1}, "drop_path must be"),
        ({"widths": [8, 16]}, "one number for each stage"),
        ({"widths": [8, 15, 16]}, "widths must be even"),
        ({"image": 0}, "size and frames must be at least 1"),
        ({"channels": ["u", "w"]}, "unknown channel 'w'"),
        ({"ordres": ["a"]}, "no setting 'ordres': did you mean 'orders'"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_model("merba", 3, **{**Merba.smallest, **settings})


def test_bad_input(nano: Merba) -> None:
    with pytest.raises(UserError, match=r"3x28x28 \(u, v, m\), got .*\(2, 3, 56, 56\)"):
        nano(torch.randn(2, 3, 56, 56))


def test_presets_describe_whole_nets() -> None:
    for size in SIZES.values():
        assert len(size.widths) == len(size.depths) == len(size.attentions) + 1


def test_trains_in_mixed_precision(nano: Merba) -> None:
    x, y = torch.randn(4, 3, 28, 28), torch.tensor([0, 1, 2, 0])
    full = nano.eval().loss(x, y, 0.0)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = nano.loss(x, y, 0.0)
        assert nano(x).dtype == torch.bfloat16
    mixed.backward()
    assert all(torch.isfinite(p.grad).all() for p in nano.parameters() if p.grad is not None)
    assert float((mixed - full).abs().detach()) < 0.02
