"""The face template: plausible, symmetric, found again in a picture."""

from __future__ import annotations

import numpy as np
import pytest

from microexpr.template import INDEX, LANDMARKS, face_axes, from_mesh, template


def test_mirrored_the_template_is_itself() -> None:
    points = template()
    np.testing.assert_array_equal(points[:, ::-1] * np.array([-1, 1], np.float32), points)


def test_the_unit_is_the_distance_between_the_eye_centres() -> None:
    points = template()
    eyes = (points[INDEX["eye_inner"]] + points[INDEX["eye_outer"]]) / 2
    np.testing.assert_allclose(eyes, [[-0.5, 0], [0.5, 0]], atol=1e-6)


def test_the_face_is_in_anatomical_order() -> None:
    height = {landmark.name: landmark.y for landmark in LANDMARKS}
    down = ["forehead_inner", "brow_inner", "lid_upper", "lid_lower", "eye_bag", "nose_wing"]
    down += ["lip_upper", "mouth_corner", "lip_lower", "chin_boss", "chin"]
    assert sorted(down, key=height.__getitem__) == down
    across = {landmark.name: landmark.x for landmark in LANDMARKS}
    out = ["nose_tip", "nose_wing", "mouth_corner", "cheek", "face_side"]
    assert sorted(out, key=across.__getitem__) == out


def test_landmarks_are_read_from_a_mesh() -> None:
    mesh = np.random.default_rng(0).random((2, 468, 2)).astype(np.float32)
    points = from_mesh(mesh)
    assert points.shape == (2, len(LANDMARKS), 2, 2)
    np.testing.assert_array_equal(points[1, INDEX["mouth_corner"]], mesh[1, [61, 291]])


@pytest.mark.parametrize("angle", [0.0, 0.3, -1.2])
def test_the_axes_of_a_turned_stretched_face_are_found(angle: float) -> None:
    cos, sin = np.cos(angle), np.sin(angle)
    axes = np.array([[cos, sin], [-sin, cos]]) * [30, 25]
    np.testing.assert_allclose(face_axes(template() @ axes + [100, 80]), axes, atol=1e-4)
