"""What the camera and TV-L1 add: bounded, mirrored with the face, the same at any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from microexpr.anatomy import UNIT_INDEX, UNITS, activations
from microexpr.encoding import resample
from microexpr.simulation import (
    CLIP,
    CLIP_UNIFORM,
    PERSON,
    PERSON_UNIFORM,
    disturbed,
    render,
)

Array = NDArray[np.floating[Any]]
PIXELS_PER_IOD = 0.5  # of the side, about


def chance(count: int, seed: int = 0, quiet: bool = False) -> dict[str, Array]:
    """Random numbers of `count` clips; `quiet`: the mean of every Gaussian, no spikes."""
    random = np.random.default_rng(seed)
    numbers: dict[str, Array] = {}
    for shapes in (PERSON, CLIP):
        for key, shape in shapes.items():
            drawn = random.standard_normal((count, *shape), np.float32)
            numbers[key] = drawn * 0 if quiet else drawn
    for shapes in (PERSON_UNIFORM, CLIP_UNIFORM):
        for key, shape in shapes.items():
            drawn = random.random((count, *shape), np.float32)
            numbers[key] = drawn * 0 + 0.5 if quiet else drawn
    return numbers


def acting(count: int, **units: float) -> Array:
    one = activations({name.removeprefix("au"): value for name, value in units.items()})
    return np.repeat(one[None], count, axis=0)


def test_a_quiet_face_at_rest_does_not_move() -> None:
    assert not render(acting(2), chance(2, quiet=True), 28).any()


def test_a_quiet_smile_goes_out_and_up() -> None:
    (u, v) = render(acting(1, au12=1.0), chance(1, quiet=True), 56)[0]
    half = 28
    assert u[:, half:].sum() > 0 > u[:, :half].sum()
    assert v.sum() < 0
    row, column = np.unravel_index(np.hypot(u, v)[:, half:].argmax(), (56, half))
    assert row > 28  # in the lower face,
    assert 5 < column < 25  # beside the mouth
    np.testing.assert_allclose(u, -u[:, ::-1], atol=1e-4)
    np.testing.assert_allclose(v, v[:, ::-1], atol=1e-4)


@pytest.mark.parametrize("size", [112, 224])
def test_any_size_is_the_same_field_scaled(size: int) -> None:
    numbers = chance(8)
    small = render(acting(8, au4=0.8, au12=0.6), numbers, 56)
    large = resample(render(acting(8, au4=0.8, au12=0.6), numbers, size), 56) * 56 / size
    off = np.abs(large - small).mean() / np.abs(small).mean()
    assert off < 0.05


def test_fields_are_as_large_as_micro_expressions_are() -> None:
    rest = render(acting(64), chance(64), 56) / (56 * PIXELS_PER_IOD)
    smile = render(acting(64, au12=0.7), chance(64), 56) / (56 * PIXELS_PER_IOD)
    for flow in (rest, smile):
        flow -= np.median(flow, axis=(2, 3), keepdims=True)
    at_rest = np.hypot(rest[:, 0], rest[:, 1])
    smiling = np.hypot(smile[:, 0], smile[:, 1])
    assert 0.002 < np.median(at_rest.mean(axis=(1, 2))) < 0.008
    assert 0.015 < np.median(np.percentile(smiling, 95, axis=(1, 2))) < 0.05
    assert np.isfinite(smile).all()


def test_stronger_units_move_more() -> None:
    numbers = chance(16, quiet=True)
    moved = [np.abs(render(acting(16, au15=s), numbers, 28)).mean() for s in (0, 0.3, 0.6, 1)]
    assert moved == sorted(moved)
    assert moved[0] < moved[1] < moved[3]


def test_what_is_beside_the_face_stays() -> None:
    numbers = chance(4, quiet=True)
    numbers["framing"][:, 2] = 1.0  # the widest crop, 0.1 IOD beyond the cheeks
    numbers["head"][:, 0] = 1.0  # a drift to the right
    (u, _) = render(acting(4), numbers, 56)[0]
    assert u[25, 28] > 0.05
    assert abs(u[-1, 0]) < 0.05 * u[25, 28]


def test_a_clip_does_not_depend_on_those_beside_it() -> None:
    numbers = chance(6)
    active = np.random.default_rng(1).random((6, len(UNITS), 2)).astype(np.float32)
    alone = render(active[4:5], {key: value[4:5] for key, value in numbers.items()}, 28)
    assert np.array_equal(render(active, numbers, 28)[4], alone[0])
    assert UNIT_INDEX["1"] == 0


def test_disturbed_recordings_have_larger_errors_and_are_else_the_same() -> None:
    numbers = chance(32)
    same = disturbed(numbers, 1.0)
    assert all(same[key] is numbers[key] for key in numbers)
    still = {**numbers, "crop": numbers["crop"] * 0, "framing": numbers["framing"] * 0 + 0.5}
    calm, worse = (render(acting(32), n, 28) for n in (still, disturbed(still, 2.0)))
    np.testing.assert_allclose(worse, 2 * calm, rtol=1e-3, atol=1e-4)  # nothing but errors moves
    placed = disturbed(numbers, 2.0)["framing"] - 0.5
    np.testing.assert_allclose(placed, 2 * (numbers["framing"] - 0.5), atol=1e-6)
    np.testing.assert_array_equal(disturbed(numbers, 2.0)["blob"], numbers["blob"])
