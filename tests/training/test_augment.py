from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator

from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.training import augment

PIXELS = Input(("u", "v", "m"), 32, normalisation="none")
BYTES = Input(("u", "v", "strain"), 32, normalisation="minmax8")


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


@pytest.mark.parametrize("eats", [PIXELS, BYTES])
@given(seed=st.integers(0, 2**31))
def test_mirror_is_its_own_inverse(eats: Input, seed: int) -> None:
    x = torch.randint(0, 256, (2, 3, 32, 32), generator=generator(seed)).float()
    assert torch.equal(augment.mirror(augment.mirror(x, eats), eats), x)


def test_mirror_of_a_smile_is_a_smile() -> None:
    """Mouth corners that part still do so in the mirror; one that rises alone changes side."""
    x = torch.zeros(1, 3, 32, 32)
    x[0, 0, 20, 8], x[0, 0, 20, 23] = -1.0, 1.0
    x[0, 1, 20, 8] = -0.5
    mirrored = augment.mirror(x, PIXELS)
    assert mirrored[0, :2, 20, 8].tolist() == [-1, 0]
    assert mirrored[0, :2, 20, 23].tolist() == [1, -0.5]


def test_random_mirror_takes_about_half_and_leaves_the_rest() -> None:
    x = torch.randn(400, 3, 32, 32, generator=generator())
    out = augment.random_mirror(x, PIXELS, generator(1))
    same = (out == x).flatten(1).all(1)
    other = (out == augment.mirror(x, PIXELS)).flatten(1).all(1)
    assert bool((same ^ other).all())
    assert 150 < int(same.sum()) < 250


def test_rotation_turns_a_constant_field() -> None:
    x = torch.zeros(5, 3, 32, 32)
    x[:, 0] = 2.0
    x[:, 2] = 2.0
    out = augment.jitter(x, PIXELS, generator(3), shift=0, rotate=20, zoom=0)
    angle = (torch.rand(4, 5, generator=generator(3))[0] * 2 - 1) * math.radians(20)
    assert torch.allclose(out[:, 0, 16, 16], 2 * torch.cos(angle), atol=1e-5)
    assert torch.allclose(out[:, 1, 16, 16], 2 * torch.sin(angle), atol=1e-5)
    assert torch.allclose(out[:, 2], x[:, 2], atol=1e-5)


def test_rotation_moves_points_the_way_it_turns_vectors() -> None:
    """A field that points away from the centre (a zoom) stays one when picture and vectors turn."""
    rows, cols = torch.meshgrid(*[torch.arange(33.0) - 16] * 2, indexing="ij")
    eats = Input(("u", "v"), 33, normalisation="none")
    away = torch.stack([cols, rows])[None] * torch.exp(-((cols - 6) ** 2 + rows**2) / 20)
    out = augment.jitter(away.repeat(4, 1, 1, 1), eats, generator(5), shift=0, rotate=40, zoom=0)
    across = out[:, 0] * rows - out[:, 1] * cols
    along = out[:, 0] * cols + out[:, 1] * rows
    assert float(across.abs().max()) < 0.06 * float(along.abs().max())


def test_zoom_scales_pixels_but_not_relative_flow() -> None:
    scale = 1 + (torch.rand(4, 1, generator=generator(2))[1] * 2 - 1) * 0.3
    for normalisation, factor in (("none", float(scale)), ("relative", 1.0)):
        eats = Input(("u", "v", "m"), 32, normalisation=normalisation)
        out = augment.jitter(
            torch.ones(1, 3, 32, 32), eats, generator(2), shift=0, rotate=0, zoom=0.3
        )
        assert torch.allclose(out, torch.full_like(out, factor), atol=1e-5)


def test_shift_moves_by_pixels() -> None:
    x = torch.zeros(1, 3, 32, 32)
    x[0, :, 10, 12] = 1.0
    draws = torch.rand(4, 1, generator=generator(9)) * 2 - 1
    out = augment.jitter(x, PIXELS, generator(9), shift=6, rotate=0, zoom=0)[0, 0]
    rows, cols = torch.meshgrid(*[torch.arange(32.0)] * 2, indexing="ij")
    assert float((out * rows).sum() / out.sum()) == pytest.approx(
        10 + 6 * float(draws[3]), abs=1e-3
    )
    assert float((out * cols).sum() / out.sum()) == pytest.approx(
        12 + 6 * float(draws[2]), abs=1e-3
    )


def test_minmax8_cannot_be_rotated() -> None:
    with pytest.raises(UserError, match="no common scale"):
        augment.jitter(torch.ones(1, 3, 32, 32), BYTES, generator(), shift=0, rotate=5, zoom=0)


@given(alpha=st.floats(0.05, 4), seed=st.integers(0, 1000))
def test_mixup_keeps_the_mass(alpha: float, seed: int) -> None:
    x, y = torch.randn(6, 3, 4, 4), torch.eye(3).repeat(2, 1)
    mixed_x, mixed_y = augment.mixup(x, y, alpha, generator(seed))
    assert torch.allclose(mixed_y.sum(1), torch.ones(6), atol=1e-6)
    assert torch.allclose(mixed_x.sum(0), x.sum(0), atol=1e-4)


def test_noise_has_the_asked_strength() -> None:
    x = (
        torch.randn(50, 3, 32, 32, generator=generator())
        * torch.tensor([1.0, 5, 20])[:, None, None]
    )
    added = augment.add_noise(x, 0.1, generator(1)) - x
    ratio = added.std(dim=(0, 2, 3)) / x.std(dim=(0, 2, 3))
    assert torch.allclose(ratio, torch.full((3,), 0.1), rtol=0.05)


@pytest.mark.parametrize("eats", [PIXELS, BYTES])
def test_all_frames_of_a_clip_are_treated_alike(eats: Input) -> None:
    """A clip of three frames moves as each frame alone moves under the same draws."""
    x = torch.randint(0, 256, (4, 3, 3, 32, 32), generator=generator()).float()
    rotate = 0.0 if eats is BYTES else 10.0
    moved = augment.jitter(x, eats, generator(1), shift=2, rotate=rotate, zoom=0.1)
    mirrored = augment.random_mirror(x, eats, generator(2))
    for t in range(3):
        one = augment.jitter(x[:, t], eats, generator(1), shift=2, rotate=rotate, zoom=0.1)
        torch.testing.assert_close(moved[:, t], one)
        assert torch.equal(augment.mirror(x, eats)[:, t], augment.mirror(x[:, t], eats))
        assert torch.equal(mirrored[:, t], augment.random_mirror(x[:, t], eats, generator(2)))
