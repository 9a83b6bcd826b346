from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microexpr.preprocess.align import (
    FACE,
    STABLE,
    STABLE_AT,
    TIGHT,
    Crop,
    alignment,
    chain,
    grey,
    places,
    rigid_motion,
    similarity,
    steady_weights,
    transform,
    warp,
)
from microexpr.template import INDEX, template

angles = st.floats(-3, 3)
scales = st.floats(0.2, 5)
shifts = st.tuples(st.floats(-50, 50), st.floats(-50, 50))


def turned(angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


def mesh_at(matrix: np.ndarray) -> np.ndarray:
    """468 points of which the stable ones lie on the face that `matrix` puts in a picture."""
    points = np.zeros((468, 3), np.float32)
    points[list(STABLE), :2] = transform(matrix, STABLE_AT.astype(np.float32))
    return points


@settings(deadline=None)
@given(angles, scales, shifts)
def test_a_similarity_is_recovered(angle: float, scale: float, shift: tuple[float, float]) -> None:
    matrix = turned(angle, scale, shift)
    moved = STABLE_AT @ matrix[:, :2].T + matrix[:, 2]
    assert similarity(STABLE_AT, moved) == pytest.approx(matrix, abs=1e-6)


@settings(deadline=None)
@given(st.integers(0, 99))
def test_a_similarity_has_the_least_squared_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(2, 7, 2))
    found = similarity(source, target)

    def error(matrix: np.ndarray) -> float:
        return float(((source @ matrix[:, :2].T + matrix[:, 2] - target) ** 2).sum())

    for _ in range(10):
        a, b, c, d = 0.01 * rng.normal(size=4)
        assert error(found) <= error(found + np.array([[a, -b, c], [b, a, d]])) + 1e-9


@settings(deadline=None)
@given(angles, scales, shifts, angles, scales, shifts)
def test_chaining_is_doing_one_after_the_other(a, b, c, d, e, f) -> None:
    first, then = turned(a, b, c), turned(d, e, f)
    points = np.array([[0, 0], [3, -7]], np.float32)
    by_hand = transform(then, transform(first, points))
    assert transform(chain(first, then), points) == pytest.approx(by_hand, rel=1e-3, abs=1e-2)


@settings(deadline=None)
@given(angles, st.floats(20, 200), shifts)
def test_the_eyes_come_to_their_place(angle: float, iod: float, shift: tuple[float, float]) -> None:
    points = mesh_at(turned(angle, iod, shift))
    aligned = transform(alignment(points, FACE, 224), points[list(STABLE), :2])
    scale = 224 / (FACE.right - FACE.left)
    expected = (STABLE_AT - [FACE.left, FACE.top]) * scale - 0.5
    assert aligned == pytest.approx(expected, abs=0.01)


def test_the_tight_crop_is_that_of_the_published_images() -> None:
    eyes = transform(
        alignment(mesh_at(turned(0, 100, (300, 200))), TIGHT, 28),
        np.float32([[250, 200], [350, 200]]),
    )
    assert eyes[:, 1] == pytest.approx(7, abs=0.7)
    assert eyes[:, 0] == pytest.approx([5.5, 22], abs=0.7)
    mouth = (template()[INDEX["mouth_corner"], 0, 1] - TIGHT.top) / (TIGHT.bottom - TIGHT.top) * 28
    assert 17 <= mouth <= 20


def test_warping_a_smooth_picture_is_exact() -> None:
    y, x = np.mgrid[:120, :160].astype(np.float32)
    matrix = turned(0.3, 0.7, (5, -3))
    seen = warp(2 * x + y, matrix, 40)
    back = transform(cv2.invertAffineTransform(matrix), np.float32([[20, 10], [5, 30]]))
    expected = [2 * point[0] + point[1] for point in back]
    assert [seen[10, 20], seen[30, 5]] == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("times", [2, 3, 7])
def test_shrinking_averages_and_keeps_the_place(times: int) -> None:
    x = np.tile(np.arange(280, dtype=np.float32), (280, 1))
    noise = np.random.default_rng(0).normal(0, 30, x.shape).astype(np.float32)
    matrix = np.array([[1 / times, 0, 0.3], [0, 1 / times, -0.2]])
    inner = (slice(5, 25), slice(5, 25))
    columns = np.tile(np.arange(5, 25), (20, 1))
    assert warp(x, matrix, 30)[inner] == pytest.approx((columns - 0.3) * times, abs=0.05)
    assert warp(noise, matrix, 30)[inner].std() < 1.3 * 30 / times
    assert warp(np.zeros((280, 280, 3), np.uint8), matrix, 30).dtype == np.uint8


def test_a_face_beyond_the_picture_is_black() -> None:
    image = np.full((50, 60, 3), 200, np.uint8)
    assert warp(image, np.array([[0.3, 0, -500.0], [0, 0.3, 0]]), 32).max() == 0
    assert warp(image, np.array([[0.01, 0, 10.0], [0, 0.01, 10]]), 32).shape == (32, 32, 3)


def test_grey_weighs_the_colours() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert grey(colours).tolist() == [[76, 150, 29]]
    assert np.array_equal(grey(grey(colours)), grey(colours))


SIZE = 64


def head(crop: Crop, shift: tuple[float, float], grow: float, turn: float) -> np.ndarray:
    """Flow of a rigid motion given in IOD."""
    x, y = places(crop, SIZE)
    u, v = shift[0] + grow * x - turn * y, shift[1] + turn * x + grow * y
    unit = (SIZE / (crop.right - crop.left), SIZE / (crop.bottom - crop.top))
    return np.stack([u * unit[0], v * unit[1]], axis=-1).astype(np.float32)


@pytest.mark.parametrize("crop", [FACE, TIGHT])
@settings(deadline=None)
@given(st.tuples(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1)), st.floats(-0.05, 0.05), angles)
def test_head_motion_is_removed_and_expressions_stay(crop, shift, grow, angle) -> None:
    rigid = head(crop, shift, grow, 0.02 * angle)
    x, y = places(crop, SIZE)
    smile = np.zeros_like(rigid)
    for side in (-1, 1):
        blob = np.exp(-0.5 * ((x - side * 0.42) ** 2 + (y - 1.04) ** 2) / 0.15**2)
        smile += np.stack([side * blob, -blob], axis=-1)
    blink = np.where(((np.abs(x) - 0.5) / 0.3) ** 2 + (y / 0.2) ** 2 < 1, 4.0, 0.0)
    smile[..., 1] += blink
    found = rigid_motion(rigid + smile.astype(np.float32), crop)
    assert np.abs(found - rigid).max() < 0.03
    assert np.linalg.norm((rigid + smile - found)[..., 0] - smile[..., 0]) < 1


def test_many_fields_are_fitted_as_one_at_a_time() -> None:
    fields = np.random.default_rng(0).normal(size=(2, 3, SIZE, SIZE, 2)).astype(np.float32)
    one = np.array([[rigid_motion(field) for field in row] for row in fields])
    assert rigid_motion(fields) == pytest.approx(one, abs=1e-5)


def test_eyes_have_no_say_in_head_motion() -> None:
    weights = steady_weights(FACE, 130)
    x, y = places(FACE, 130)
    at_eyes = (np.abs(np.abs(x) - 0.5) < 0.15) & (np.abs(y) < 0.1)
    nose = (np.abs(x) < 0.08) & (np.abs(y - 0.2) < 0.1)
    assert weights[at_eyes].max() == 0
    assert weights[nose].min() == 1
    assert (weights >= 0).all()
    assert weights[0, 0] == 0
