from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from microexpr.errors import UserError
from microexpr.nn.magnifier import (
    Magnifier,
    alpha_map,
    load_magnifier,
    magnification_loss,
    move_pixels,
    save_magnifier,
)


def count(**settings: Any) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in Magnifier(**settings).parameters())


def test_parameters_of_the_standard_unet() -> None:
    """The count known for the usual net with three planes in and two out."""
    assert count() == 17_263_042
    assert count(encoding="sinusoidal") == 17_263_042 + 31 * 64 * 9
    assert count(width=32) < 17_263_042 / 3.9


@pytest.mark.parametrize("side", [16, 28, 37])
@pytest.mark.parametrize("encoding", ["constant", "sinusoidal"])
def test_any_size_and_every_parameter_learns(side: int, encoding: str) -> None:
    torch.manual_seed(0)
    net = Magnifier(2, 4, 3, encoding)
    flow = torch.randn(2, 2, side, side + 3)
    out = net(flow, 2.0)
    assert out.shape == flow.shape
    magnification_loss(flow, out, 2.0).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())


@torch.no_grad()
def test_alpha_may_be_a_number_one_a_clip_or_a_map() -> None:
    torch.manual_seed(0)
    net = Magnifier(2, 4, 2).eval()
    flow = torch.randn(3, 2, 12, 12)
    by_number = net(flow, 3.0)
    torch.testing.assert_close(net(flow, torch.full((3,), 3.0)), by_number)
    torch.testing.assert_close(net(flow, torch.full((3, 1, 12, 12), 3.0)), by_number)
    alone = torch.cat([net(flow[i : i + 1], a) for i, a in enumerate((1.0, 2.0, 4.0))])
    torch.testing.assert_close(net(flow, torch.tensor([1.0, 2.0, 4.0])), alone)
    assert not torch.allclose(net(flow, 1.0), by_number)


def test_sines_and_cosines_of_the_factor() -> None:
    flow = torch.zeros(1, 2, 4, 4)
    planes = Magnifier(2, 4, 2, "sinusoidal")._encoded(alpha_map(1.5, flow))
    assert planes.shape == (1, 32, 4, 4)
    for i in range(16):
        phase = 2 * math.pi * 1.5 / 2 ** (-3 + 10 * i / 15)
        assert float(planes[0, i, 2, 1]) == pytest.approx(math.sin(phase), abs=1e-4)
        assert float(planes[0, 16 + i, 0, 3]) == pytest.approx(math.cos(phase), abs=1e-4)


def test_residual_starts_as_plain_multiplication() -> None:
    flow = torch.randn(2, 2, 16, 16)
    net = Magnifier(2, 4, 2, residual=True)
    torch.testing.assert_close(net(flow, 2.5), 2.5 * flow)
    assert magnification_loss(flow, net(flow, 2.5), 2.5).item() < 1e-6


def test_equation_one_by_hand() -> None:
    flow, made = torch.tensor([1.0, -2.0]), torch.tensor([2.5, -3.0])
    loss = magnification_loss(flow.view(1, 2, 1, 1), made.view(1, 2, 1, 1), 2.0)
    assert float(loss) == pytest.approx((0.5 + 1.0) / 2)


def test_it_learns_to_magnify() -> None:
    torch.manual_seed(0)
    net = Magnifier(2, 8, 2)
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    flow, alpha = torch.randn(8, 2, 8, 8), torch.linspace(1, 4, 8)
    losses = []
    for _ in range(60):
        loss = magnification_loss(flow, net(flow, alpha), alpha)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def bump(at: float, side: int = 48) -> Tensor:
    """A bright spot whose centre is at column `at`."""
    rows, columns = torch.meshgrid(*[torch.arange(float(side))] * 2, indexing="ij")
    return torch.exp(-((columns - at) ** 2 + (rows - 24) ** 2) / 18)[None, None]


def test_a_moved_spot_moves_further() -> None:
    """Onset at 20, apex at 21.5: three times the motion puts it at 24.5."""
    flow = torch.zeros(1, 2, 48, 48)
    flow[:, 0] = 1.5
    moved = move_pixels(bump(21.5), flow, 3 * flow)
    inner = (slice(None), slice(None), slice(8, 40), slice(8, 40))
    torch.testing.assert_close(moved[inner], bump(24.5)[inner], atol=2e-2, rtol=0)
    torch.testing.assert_close(move_pixels(bump(21.5), flow, flow), bump(21.5), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        move_pixels(bump(20.0), 0 * flow, flow)[inner], bump(21.5)[inner], atol=2e-2, rtol=0
    )


def test_an_uneven_motion_is_inverted() -> None:
    """A field that stretches: each pixel's origin p solves p + magnified(p) = pixel."""
    columns = torch.arange(48.0).expand(48, 48)
    magnified = torch.stack([0.3 * (columns - 24), torch.zeros(48, 48)])[None]
    picture = (columns * 0.1).expand(1, 1, 48, 48)
    moved = move_pixels(picture, torch.zeros_like(magnified), magnified, steps=25)
    wanted = 0.1 * ((columns - 24) / 1.3 + 24)
    torch.testing.assert_close(moved[0, 0, :, 8:40], wanted[:, 8:40], atol=1e-4, rtol=0)


def test_saved_alone_and_loaded(tmp_path: Path) -> None:
    net = Magnifier(2, 4, 2, "sinusoidal", residual=True).eval()
    with torch.no_grad():
        net.last.weight.normal_()
    path = tmp_path / "magnifier.safetensors"
    save_magnifier(net, path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    flow = torch.randn(1, 2, 20, 20)
    found = load_magnifier(path)
    assert torch.equal(found(flow, 2.0), net(flow, 2.0))
    assert found.settings == net.settings


def test_bad_files_and_settings(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no magnifier at"):
        load_magnifier(tmp_path / "none.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="holds no magnifier"):
        load_magnifier(tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x00" * 5)
    with pytest.raises(UserError, match="damaged"):
        load_magnifier(tmp_path / "cut.safetensors")
    with pytest.raises(UserError, match="did you mean 'sinusoidal'"):
        Magnifier(encoding="sinusoid")
    with pytest.raises(UserError, match="at least 1"):
        Magnifier(levels=0)
