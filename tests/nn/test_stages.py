from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from microexpr.nn.attention import Attention
from microexpr.nn.mixers import ConvMixer, Mixer, SeparateMixers
from microexpr.nn.stages import InWindows, Stage, StagePlan
from microexpr.nn.windows import cut

SETTINGS: dict[str, Any] = {
    "extractor": "local",
    "attention": "global",
    "mixer": "scan",
    "orders": ("a", "b", "c", "d"),
    "share_mixers": True,
    "head_width": 4,
    "mlp_ratio": 2.0,
    "dropout": 0.0,
    "layer_scale": 0.5,
}


def stage(side: int, **changes: Any) -> Stage:
    plan = StagePlan(**{**SETTINGS, **changes})
    return Stage(plan, 8, None, side, ([0.0, 0.0], [0.0])).double()


def on_grid(part: InWindows, grid: Tensor) -> Tensor:
    """``(h, w, d)`` through one half of a stage."""
    return part(grid.reshape(1, -1, grid.shape[2])).view(grid.shape)


@pytest.mark.parametrize("part", ["extractors", "attentions"])
@pytest.mark.parametrize("mixer", ["scan", "conv"])
@torch.no_grad()
def test_local_is_global_on_each_window_alone(part: str, mixer: str) -> None:
    """A map of 16 has windows of 7 x 7, 7 x 2, 2 x 7 and 2 x 2; the square ones are cut out."""
    local = stage(16, extractor="local", attention="local", mixer=mixer)
    grid = torch.randn(16, 16, 8, dtype=torch.float64)
    found = on_grid(getattr(local, part), grid)
    for place, side in (((0, 0), 7), ((7, 0), 7), ((0, 7), 7), ((7, 7), 7), ((14, 14), 2)):
        window = (slice(place[0], place[0] + side), slice(place[1], place[1] + side))
        alone = stage(side, extractor="global", attention="global", mixer=mixer)
        alone.load_state_dict(local.state_dict())
        torch.testing.assert_close(found[window], on_grid(getattr(alone, part), grid[window]))


@torch.no_grad()
def test_a_stage_is_its_two_halves_and_keeps_the_picture_upright() -> None:
    whole = stage(9)
    x = torch.randn(2, 8, 9, 9, dtype=torch.float64)
    out = whole(x)
    for one, other in zip(x, out, strict=True):
        halves = on_grid(whole.attentions, on_grid(whole.extractors, one.permute(1, 2, 0)))
        torch.testing.assert_close(other, halves.permute(2, 0, 1))


@torch.no_grad()
def test_reach() -> None:
    """A change in one window stays there in a local part and spreads in a global one."""
    x = torch.randn(14, 14, 8, dtype=torch.float64)
    y = x.clone()
    y[0, 0] += torch.randn(8)
    for kind in ("local", "global"):
        net = stage(14, extractor=kind, attention=kind)
        for part in (net.extractors, net.attentions):
            moved = (on_grid(part, x) - on_grid(part, y)).abs().amax(dim=2) > 1e-12
            assert moved[:7, :7].any()
            assert bool(moved[7:, 7:].any()) == (kind == "global")


def test_settings_choose_the_parts() -> None:
    def parts(side: int, **changes: Any) -> tuple[Any, Any]:
        net = stage(side, **changes)
        return net.extractors.blocks[0].mixer, net.attentions.blocks[0].mixer

    extractor, attention = parts(14)
    assert isinstance(extractor, Mixer)
    assert isinstance(attention, Attention)
    assert extractor.regions == cut(14, 14, 7)
    assert attention.regions is None
    assert attention.heads == 2
    extractor, attention = parts(14, extractor="global", attention="local")
    assert extractor.regions == cut(14, 14, 14)
    assert attention.regions == cut(14, 14, 7)
    assert parts(4, attention="local")[1].regions is None
    assert isinstance(parts(7, share_mixers=False)[0], SeparateMixers)
    assert isinstance(parts(7, mixer="conv")[0], ConvMixer)


def test_downsampling_doubles_and_halves() -> None:
    net = Stage(StagePlan(**SETTINGS), 8, 12, 7, ([0.0], [0.0]))
    assert net(torch.randn(3, 8, 7, 7)).shape == (3, 12, 4, 4)
