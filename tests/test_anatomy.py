"""Action units push skin where FACS says, and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microexpr.anatomy import (
    BLOB_COUNT,
    EMOTIONS,
    EXPRESSIVE,
    ONE_SIDED,
    UNIT_INDEX,
    UNITS,
    activations,
    displacement,
    place,
    splat,
)
from microexpr.labels import SCHEMES
from microexpr.template import INDEX, template

Array = NDArray[np.floating[Any]]
SIZE, IOD = 96, 40
FACE = template() * np.array([IOD, IOD], np.float32) + np.array([SIZE / 2, 22], np.float32)
LEFT, RIGHT = 0, 1

# unit, landmark, direction there on the right half of the picture (u, v; v grows downwards)
DIRECTIONS = [
    ("1", "brow_inner", (0, -1)),
    ("2", "brow_outer", (0, -1)),
    ("4", "brow_inner", (-1, 1)),
    ("5", "lid_upper", (0, -1)),
    ("6", "cheekbone", (0, -1)),
    ("7", "lid_lower", (0, -1)),
    ("9", "nose_wing", (0, -1)),
    ("10", "lip_upper_side", (0, -1)),
    ("12", "mouth_corner", (1, -1)),
    ("14", "mouth_corner", (1, 0)),
    ("15", "mouth_corner", (0, 1)),
    ("17", "chin_boss", (0, -1)),
    ("20", "mouth_corner", (1, 0)),
    ("23", "mouth_corner", (-1, 0)),
    ("24", "lip_lower", (0, -1)),
    ("25", "lip_lower", (0, 1)),
    ("26", "chin", (0, 1)),
    ("45", "lid_upper", (0, 1)),
]
UPPER_FACE = ("1", "2", "4", "5", "7", "45")
LOWER_FACE = ("12", "14", "15", "17", "20", "23", "24", "25", "26")


def field(units: dict[str, float | tuple[float, float]], points: Array = FACE) -> Array:
    return displacement(points, activations(units), SIZE, SIZE)


def at(flow: Array, name: str, side: int = RIGHT, points: Array = FACE) -> Array:
    x, y = points[INDEX[name], side]
    return flow[:, int(y), min(int(x), SIZE - 1)]


def test_the_units_are_those_promised() -> None:
    promised = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 25, 26)
    assert tuple(map(str, promised)) == EXPRESSIVE
    assert {unit for unit, _, _ in DIRECTIONS} == set(UNITS)


@pytest.mark.parametrize(("unit", "landmark", "direction"), DIRECTIONS)
def test_a_unit_pulls_its_landmark_its_way(
    unit: str, landmark: str, direction: tuple[int, int]
) -> None:
    motion = at(field({unit: 1.0}), landmark) / IOD * 100
    assert 0.3 < np.hypot(*motion) < 4  # hundredths of IOD: 0.2 to 2.5 mm
    for component, sign in zip(motion, direction, strict=True):
        if sign:
            assert component * sign > 0.2
        else:
            assert abs(component) < 0.5 * np.abs(motion).max()


@pytest.mark.parametrize("unit", UPPER_FACE)
def test_units_of_the_upper_face_leave_the_mouth_alone(unit: str) -> None:
    flow = field({unit: 1.0})
    below = int(FACE[INDEX["nose_wing"], RIGHT, 1])
    assert np.abs(flow[:, below:]).max() < 0.03 * np.abs(flow).max()


@pytest.mark.parametrize("unit", LOWER_FACE)
def test_units_of_the_lower_face_leave_the_brows_alone(unit: str) -> None:
    flow = field({unit: 1.0})
    above = int(FACE[INDEX["lid_upper"], RIGHT, 1])
    assert np.abs(flow[:, :above]).max() < 0.03 * np.abs(flow).max()


@pytest.mark.parametrize("unit", UNITS)
def test_both_sides_together_are_symmetric(unit: str) -> None:
    u, v = field({unit: 1.0})
    np.testing.assert_allclose(u[:, ::-1], -u, atol=1e-4)
    np.testing.assert_allclose(v[:, ::-1], v, atol=1e-4)


@given(st.sampled_from(EXPRESSIVE), st.floats(0, 1, width=32), st.floats(0, 1, width=32))
@settings(max_examples=40)
def test_the_mirrored_face_gives_the_mirrored_field(unit: str, left: float, right: float) -> None:
    jitter = np.random.default_rng(0).standard_normal(FACE.shape).astype(np.float32)
    person = FACE + jitter
    mirrored = person[:, ::-1] * np.array([-1, 1], np.float32) + np.array([SIZE, 0], np.float32)
    u, v = field({unit: (left, right)}, person)
    mirror_u, mirror_v = field({unit: (right, left)}, mirrored)
    np.testing.assert_allclose(mirror_u, -u[:, ::-1], atol=1e-4)
    np.testing.assert_allclose(mirror_v, v[:, ::-1], atol=1e-4)


@given(st.sampled_from(EXPRESSIVE), st.floats(0.1, 1), st.floats(1.1, 3))
@settings(max_examples=30)
def test_more_of_a_unit_moves_more(unit: str, strength: float, factor: float) -> None:
    weak, strong = field({unit: strength}), field({unit: strength * factor})
    np.testing.assert_allclose(strong, weak * factor, rtol=1e-3, atol=1e-5)


def test_one_sided_units_stay_on_their_side() -> None:
    flow = field({"12": (0.0, 1.0)})
    assert np.hypot(*at(flow, "mouth_corner", RIGHT)) > 5 * np.hypot(
        *at(flow, "mouth_corner", LEFT)
    )


def test_units_add_up() -> None:
    both = field({"6": 0.4, "12": (0.3, 0.9)})
    np.testing.assert_allclose(both, field({"6": 0.4}) + field({"12": (0.3, 0.9)}), atol=1e-5)


def test_a_field_of_another_size_is_the_same_field() -> None:
    large = displacement(FACE * 2, activations({"4": 1.0}), 2 * SIZE, 2 * SIZE)
    pooled = large.reshape(2, SIZE, 2, SIZE, 2).mean(axis=(2, 4)) / 2
    np.testing.assert_allclose(pooled, field({"4": 1.0}), atol=0.01 * np.abs(pooled).max() + 2e-3)


def test_pictures_need_not_be_square_and_batches_are_rows() -> None:
    points = np.stack([FACE, FACE + 3])
    active = np.stack([activations({"12": 1.0}), activations({"1": 0.5})])
    flow = displacement(points, active, 80, 64)
    assert flow.shape == (2, 2, 80, 64)
    assert flow.dtype == np.float32
    np.testing.assert_array_equal(flow[1], displacement(points[1], active[1], 80, 64))


def test_the_product_form_equals_the_sum_of_gaussians() -> None:
    blobs = place(FACE, activations({"12": 0.8, "4": (0.2, 0.6), "17": 1.0}))
    assert blobs.centre.shape == (BLOB_COUNT, 2)
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    twin = np.zeros((2, SIZE, SIZE))
    for (cx, cy), (sx, sy), motion in zip(*blobs, strict=True):
        bump = np.exp(-((x - cx) ** 2) / (2 * sx**2) - (y - cy) ** 2 / (2 * sy**2))
        twin += motion[:, None, None] * bump
    np.testing.assert_allclose(splat(blobs, SIZE, SIZE), twin, atol=1e-4)


def test_every_emotion_is_shown_by_known_units() -> None:
    assert set(EMOTIONS) == set(SCHEMES["dfme7"].labels)
    for mixes in EMOTIONS.values():
        for mix in mixes:
            assert mix.weight > 0
            assert set(mix.units) <= set(EXPRESSIVE)
    used = {unit for mixes in EMOTIONS.values() for mix in mixes for unit in mix.units}
    assert used == set(EXPRESSIVE)
    assert set(ONE_SIDED) <= used
    assert list(UNIT_INDEX) == list(UNITS)
