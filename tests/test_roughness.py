"""What TV-L1 makes of a field: patches, bursts, a repeated rim, outliers; the same at any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from microexpr.encoding import resample
from microexpr.roughness import ROUGH, ROUGH_UNIFORM, bursts, outliers, patched, streaked

Array = NDArray[np.floating[Any]]


def chance(count: int, seed: int = 0) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    numbers: dict[str, Array] = {
        key: random.standard_normal((count, *shape), np.float32) for key, shape in ROUGH.items()
    }
    return numbers | {
        key: random.random((count, *shape), np.float32) for key, shape in ROUGH_UNIFORM.items()
    }


def kurtosis(values: Array) -> float:
    centred = values - values.mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2)


def smooth(count: int, size: int) -> Array:
    grid = np.random.default_rng(1).standard_normal((count, 2, 4, 4)).astype(np.float32)
    return resample(grid, size)


def test_patches_make_jumps_and_keep_the_motion() -> None:
    field, numbers = smooth(16, 56), chance(16)
    rough = patched(field, numbers)
    assert rough.shape == field.shape
    likeness = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(rough, field, strict=True)]
    assert min(likeness) > 0.8
    steps = [
        kurtosis(np.diff(fields, axis=-1).ravel()) for fields in (field, patched(field, numbers))
    ]
    assert steps[1] > 2 * steps[0]


def test_a_uniform_motion_has_no_patches() -> None:
    field = np.ones((3, 2, 28, 28), np.float32)
    np.testing.assert_allclose(patched(field, chance(3)), 1, atol=1e-6)


def test_the_rim_is_repeated() -> None:
    numbers = chance(2)
    numbers["rim"][:] = 1.0
    rough = patched(smooth(2, 60), numbers)
    np.testing.assert_array_equal(rough[..., :6, 30], np.repeat(rough[..., 6:7, 30], 6, axis=-1))
    numbers["rim"][:] = 0.0
    assert np.abs(np.diff(patched(smooth(2, 60), numbers)[..., :6, 30])).max() > 0


@pytest.mark.parametrize("size", [112, 224])
def test_any_size_is_the_same_field(size: int) -> None:
    numbers = chance(6)
    small, large = (patched(smooth(6, n), numbers) for n in (56, size))
    off = np.abs(resample(large, 56) - small).mean() / np.abs(small).mean()
    assert off < 0.25  # borders between patches lie half a pixel elsewhere
    small, large = (outliers(numbers, n) for n in (56, size))
    assert np.abs(resample(large, 56) - small).mean() < 0.1 * np.abs(small).mean()


def test_errors_come_in_bursts() -> None:
    numbers = chance(32)
    local = bursts(numbers, 28)
    assert local.shape == (32, 1, 28, 28)
    assert (local > 0).all()
    calm, wild = numbers["bursting"].argmin(), numbers["bursting"].argmax()
    assert np.log(local[wild]).std() > np.log(local[calm]).std()


def test_streaks_lie_across() -> None:
    noise = np.random.default_rng(0).standard_normal((64, 2, 24, 24)).astype(np.float32)
    u, v = np.moveaxis(streaked(noise), 1, 0)
    np.testing.assert_array_equal(u, noise[:, 0])
    assert v.std() == pytest.approx(1, abs=0.02)
    across, down = (np.diff(v, axis=axis).var() for axis in (-1, -2))
    assert across == pytest.approx(down / 2, rel=0.1)


def test_a_clip_does_not_depend_on_those_beside_it() -> None:
    numbers, field = chance(5), smooth(5, 28)
    one = {key: value[3:4] for key, value in numbers.items()}
    np.testing.assert_array_equal(patched(field, numbers)[3:4], patched(field[3:4], one))
    np.testing.assert_allclose(outliers(numbers, 28)[3:4], outliers(one, 28), atol=1e-7)
