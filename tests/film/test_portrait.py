"""Portraits: the drawn face, photographs, and how a camera frames them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from microexpr.errors import UserError
from microexpr.film.drawn import EYES, drawn_portrait
from microexpr.film.portrait import LIDS, Portrait, find_astronaut, framed, read_portrait
from microexpr.template import INDEX


def eye_centres(portrait: Portrait) -> np.ndarray:
    return portrait.landmarks[[INDEX["eye_inner"], INDEX["eye_outer"]]].mean(axis=0)


def dotted() -> Portrait:
    """A black picture with a white blot at the centre of each eye."""
    face = drawn_portrait()
    image = np.zeros_like(face.image)
    for x, y in eye_centres(face):
        cv2.circle(image, (round(x * 16), round(y * 16)), 6 * 16, (255,) * 3, -1, cv2.LINE_AA, 4)
    return Portrait(image, face.landmarks, face.lids)


def centre_of_mass(image: np.ndarray) -> tuple[float, float]:
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    mass = image[..., 0].astype(np.float64)
    return float((x * mass).sum() / mass.sum()), float((y * mass).sum() / mass.sum())


@pytest.mark.parametrize("eyes", [40.0, 97.3, 150.0, 260.0])
def test_a_frame_puts_the_eyes_where_they_belong(eyes: float) -> None:
    seen = framed(dotted(), 600, 400, eyes)
    left, right = eye_centres(seen)
    assert seen.image.shape == (400, 600, 3)
    assert np.hypot(*(right - left)) == pytest.approx(eyes, rel=1e-4)
    assert ((left + right) / 2 + 0.5).tolist() == pytest.approx([300, 160], abs=0.01)
    for point in (left, right):
        low, high = np.round(point - eyes / 3).astype(int), np.round(point + eyes / 3).astype(int)
        found = centre_of_mass(seen.image[low[1] : high[1] + 1, low[0] : high[0] + 1])
        assert (low + found).tolist() == pytest.approx(point.tolist(), abs=0.1)


def test_a_drawn_face_is_found_where_it_is_drawn(tmp_path: Path) -> None:
    for person in range(3):
        drawn = drawn_portrait(person)
        path = tmp_path / f"{person}.png"
        cv2.imwrite(str(path), drawn.image[..., ::-1])
        found = read_portrait(path)
        away = np.linalg.norm(found.landmarks - drawn.landmarks, axis=-1) / EYES
        assert away.mean() < 0.05
        assert np.linalg.norm(found.lids - drawn.lids, axis=-1).max() < 0.1 * EYES


def test_persons_differ_and_stay_themselves() -> None:
    one, again, other = drawn_portrait(1), drawn_portrait(1), drawn_portrait(2)
    assert np.array_equal(one.image, again.image)
    assert not np.array_equal(one.image, other.image)
    assert not np.array_equal(one.landmarks, other.landmarks)


def test_lids_run_from_corner_to_corner() -> None:
    for eye in LIDS:
        assert eye[0][0] == eye[1][0]
        assert eye[0][-1] == eye[1][-1]
    lids = drawn_portrait().lids
    assert np.allclose(lids[:, 0, [0, -1]], lids[:, 1, [0, -1]])
    assert (lids[:, 0, 1:-1, 1] < lids[:, 1, 1:-1, 1]).all()  # the upper one above


def test_a_photograph(shared_data: Path) -> None:
    found = read_portrait(shared_data / "clips" / "single_face.jpg")
    left, right = eye_centres(found)
    assert np.hypot(*(right - left)) == pytest.approx(83.7, abs=3)
    assert (found.lids[0, ..., 0] < found.lids[1, ..., 0].min()).all()


def test_a_picture_without_a_face_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wall.png"
    cv2.imwrite(str(path), np.full((200, 200, 3), 128, np.uint8))
    with pytest.raises(UserError, match=r"wall.png shows no face"):
        read_portrait(path)


def test_the_astronaut_is_found_or_not() -> None:
    path = find_astronaut()
    assert path is None or path.name == "astronaut.png"
