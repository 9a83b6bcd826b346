"""Drawn people: found by the face models, themselves again, built as they are told."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from microexpr.film.drawn import EYES, drawn_portrait
from microexpr.film.people import _rebuilt, drawn_person
from microexpr.preprocess.face import detect, load_face_models, mesh
from microexpr.simulation import build
from microexpr.template import INDEX, from_mesh, template


def test_people_differ_and_stay_the_same() -> None:
    people = [drawn_person(0, number, template()).image for number in range(3)]
    np.testing.assert_array_equal(people[1], drawn_person(0, 1, template()).image)
    for one, other in combinations([*people, drawn_person(1, 0, template()).image], 2):
        assert np.abs(one.astype(float) - other).mean() > 3


def test_a_shift_moves_the_landmark_and_what_is_drawn_there() -> None:
    plain = drawn_portrait(2)
    shift = np.zeros_like(plain.landmarks)
    mouth = [i for name, i in INDEX.items() if "mouth" in name or "lip" in name]
    shift[mouth] = (0, 8)
    image, (landmarks, lids) = _rebuilt(plain, shift)
    moved = landmarks - plain.landmarks
    assert 4 < moved[INDEX["lip_upper"], :, 1].mean() < 8.5
    assert np.abs(moved[INDEX["brow_inner"]]).max() < 0.5
    assert np.abs(lids - plain.lids).max() < 0.5
    models = load_face_models()

    def mouth_row(picture: object) -> float:
        found = mesh(models, picture, detect(models, picture)[0])  # type: ignore[arg-type]
        points = from_mesh(found.points[:, :2])
        row: float = points[INDEX["lip_upper"], :, 1].mean() - points[INDEX["eye_inner"], 0, 1]
        return row

    assert 3 < mouth_row(image) - mouth_row(plain.image) < 12


def test_everyone_is_found_where_the_landmarks_say() -> None:
    models = load_face_models()
    rng = np.random.default_rng(3)
    form = rng.standard_normal((4, 5))
    jitter = rng.standard_normal((4, *template().shape))
    for number, landmarks in enumerate(build(form, jitter)):
        person = drawn_person(2, number, landmarks)
        box = detect(models, person.image)[0]
        points = from_mesh(mesh(models, person.image, box).points[:, :2])
        eyes = [INDEX["eye_inner"], INDEX["eye_outer"]]
        off = np.hypot(*(points[eyes] - person.landmarks[eyes]).reshape(-1, 2).T)
        assert off.mean() < 0.12 * EYES
