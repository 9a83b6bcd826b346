from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from microexpr.errors import UserError
from microexpr.models.htnet import HtNet, mosaic


@pytest.fixture(scope="module")
def official() -> HtNet:
    with torch.device("meta"):
        return HtNet(3)


def test_parameters(official: HtNet) -> None:
    assert sum(p.numel() for p in official.parameters()) == 139_582_982
    with torch.device("meta"):
        drawn = HtNet(3, form="as_drawn")
    assert sum(p.numel() for p in drawn.parameters()) == 139_582_982 + 6


def test_keys_and_shapes_are_the_official_ones(official: HtNet, shared_data: Path) -> None:
    path = shared_data.parent / "facts" / "keys" / "htnet.txt"
    if not path.is_file():
        pytest.skip("the list of official keys is not here")
    wanted = dict(line.split(" ", 1) for line in path.read_text().splitlines())
    assert {k: str(tuple(v.shape)) for k, v in official.state_dict().items()} == wanted


def norm(x: Tensor, g: Tensor, b: Tensor) -> Tensor:
    spread = ((x - x.mean()) ** 2).mean()
    return (x - x.mean()) / (spread + 1e-5).sqrt() * g.flatten() + b.flatten()


def attend(tokens: list[Tensor], module: torch.nn.Module) -> list[Tensor]:
    """Full self-attention, head by head and token by token."""
    inner = module.to_out[0].in_channels
    width = inner // module.heads
    qkv = [module.to_qkv.weight[:, :, 0, 0] @ token for token in tokens]
    out = [torch.zeros(inner, dtype=torch.float64) for _ in tokens]
    for h in range(module.heads):
        q, k, v = ([t[i * inner + h * width :][:width] for t in qkv] for i in range(3))
        for i in range(len(tokens)):
            scores = torch.stack([q[i] @ k[j] for j in range(len(tokens))]) / width**0.5
            weights = scores.softmax(dim=0)
            for j in range(len(tokens)):
                out[i][h * width : (h + 1) * width] += weights[j] * v[j]
    last = module.to_out[0]
    return [last.weight[:, :, 0, 0] @ t + last.bias for t in out]


def block_twin(pair: torch.nn.ModuleList, tokens: list[Tensor]) -> list[Tensor]:
    attention, feed = pair
    normed = [norm(t, attention.norm.g, attention.norm.b) for t in tokens]
    mixed = attend(normed, attention.fn)
    tokens = [t + m for t, m in zip(tokens, mixed, strict=True)]
    out = []
    for token in tokens:
        inner = norm(token, feed.norm.g, feed.norm.b)
        first, second = feed.fn.net[0], feed.fn.net[3]
        inner = torch.nn.functional.gelu(first.weight[:, :, 0, 0] @ inner + first.bias)
        out.append(token + second.weight[:, :, 0, 0] @ inner + second.bias)
    return out


def twin(model: HtNet, x: Tensor) -> Tensor:
    """One clip, slowly: grids are dicts of token vectors by (row, column)."""
    picture = mosaic(x, model.published)[0]
    patch = model.to_patch_embedding[1]
    grid = {}
    for r in range(4):
        for c in range(4):
            pixels = picture[:, 7 * r : 7 * r + 7, 7 * c : 7 * c + 7].permute(1, 2, 0).flatten()
            grid[r, c] = patch.weight[:, :, 0, 0] @ pixels + patch.bias
    for level, (blocks, down) in enumerate(model.layers):
        side = 4 >> level
        area = 1 if model.published or level == 2 else 2
        for top in range(0, side, area):
            for left in range(0, side, area):
                places = [(top + i, left + j) for i in range(area) for j in range(area)]
                tokens = [grid[p] + e for p, e in zip(places, blocks.pos_emb, strict=True)]
                for pair in blocks.layers:
                    tokens = block_twin(pair, tokens)
                grid.update(zip(places, tokens, strict=True))
        if level < 2:
            rows = [torch.stack([grid[r, c] for c in range(side)], 1) for r in range(side)]
            y = down(torch.stack(rows, 1)[None])[0]
            grid = {(r, c): y[:, r, c] for r in range(side // 2) for c in range(side // 2)}
    head_norm, _, head = model.mlp_head
    return head.weight @ norm(grid[0, 0], head_norm.g, head_norm.b) + head.bias


@pytest.mark.parametrize("form", ["as_published", "as_drawn"])
@torch.no_grad()
def test_equals_its_twin(form: str) -> None:
    torch.manual_seed(0)
    model = HtNet(3, form=form, dim=14, heads=3, depths=[2, 1, 2]).double().eval()
    for name, p in model.named_parameters():
        if name.endswith((".g", ".b")):
            p.uniform_(-1, 1)
    x = torch.rand(1, 3, 28, 28, dtype=torch.float64) * 255
    torch.testing.assert_close(model(x)[0], twin(model, x))


def test_queries_and_keys_have_no_effect_as_published() -> None:
    torch.manual_seed(0)
    for form, alive in (("as_published", False), ("as_drawn", True)):
        model = HtNet(3, form=form, **HtNet.smallest)
        x, y = torch.rand(4, 3, 28, 28) * 255, torch.tensor([0, 1, 2, 0])
        torch.autograd.backward(model.loss(x, y, 0.0))
        grad = model.layers[0][0].layers[0][0].fn.to_qkv.weight.grad
        assert bool(grad[:24].any()) is alive
        assert bool(grad[24:].any())


def test_the_mosaic_pixel_by_pixel() -> None:
    x = torch.arange(28 * 28.0).view(1, 1, 28, 28)
    published, drawn = mosaic(x, True)[0, 0], mosaic(x, False)[0, 0]
    # x of the right eye is 21: as published its crop ends at the last row, as drawn at the last
    # column; the left eye's crop starts at row 2, column 4, or at row 4, column 2.
    assert published[0, 0] == 28 * 2 + 4
    assert published[13, 14] == 28 * 27 + 3
    assert drawn[0, 0] == 28 * 4 + 2
    assert drawn[0, 27] == 28 * 3 + 27
    assert drawn[27, 27] == 28 * 27 + 26
    assert published[27, 27] == 28 * 26 + 27


def test_dropout_acts_on_the_attention_of_one_token() -> None:
    torch.manual_seed(0)
    model = HtNet(3, dropout=0.9, **HtNet.smallest)
    x = torch.rand(2, 3, 28, 28) * 255
    assert not torch.equal(model(x), model(x))
    assert torch.equal(model.eval()(x), model(x))


def test_load_official(tmp_path: Path) -> None:
    source, target = HtNet(3, **HtNet.smallest), HtNet(3, **HtNet.smallest)
    torch.save(source.state_dict(), tmp_path / "sub01.pth")
    assert target.load_official(tmp_path / "sub01.pth") is target
    assert torch.equal(source.mlp_head[2].weight, target.mlp_head[2].weight)
    with pytest.raises(UserError, match="weights of HTNet with 5 classes: 2 of another shape"):
        HtNet(5, **HtNet.smallest).load_official(source.state_dict())


def test_bad_settings_and_input() -> None:
    with pytest.raises(UserError, match="unknown form 'drawn'"):
        HtNet(3, form="drawn")
    with pytest.raises(UserError, match="three depths"):
        HtNet(3, dim=12, depths=[1, 1])
    with pytest.raises(UserError, match=r"3x28x28 \(u, v, strain\)"):
        HtNet(3, **HtNet.smallest)(torch.zeros(1, 3, 14, 14))
