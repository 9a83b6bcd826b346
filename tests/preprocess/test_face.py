from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from microexpr.errors import UserError
from microexpr.preprocess.align import transform
from microexpr.preprocess.face import (
    MENDED_BY,
    FaceModels,
    detect,
    load_face_models,
    mesh,
    model_files,
)
from microexpr.template import INDEX, from_mesh
from microexpr.video import read_picture


@pytest.fixture(scope="module")
def models() -> FaceModels:
    return load_face_models()


@pytest.fixture(scope="module")
def portrait(shared_data: Path) -> np.ndarray:
    return read_picture(shared_data / "clips" / "single_face.jpg")


def points(models: FaceModels, image: np.ndarray) -> np.ndarray:
    first = mesh(models, image, detect(models, image)[0])
    second = mesh(models, image, first.points)
    assert second.presence > 0.9
    return second.points


def eye_distance(found: np.ndarray) -> float:
    return float(np.hypot(*(found[[33, 133], :2].mean(0) - found[[263, 362], :2].mean(0))))


def test_one_face_is_found(models: FaceModels, portrait: np.ndarray) -> None:
    (box,) = detect(models, portrait)
    assert box.score > 0.7
    right_eye, left_eye, nose, mouth = box.points[:4]
    assert right_eye[0] < nose[0] < left_eye[0]  # the person's right is the picture's left
    assert right_eye[1] < nose[1] < mouth[1]


def test_several_faces_come_largest_first(models: FaceModels, shared_data: Path) -> None:
    boxes = detect(models, read_picture(shared_data / "clips" / "multi_face.jpg"))
    areas = [box.size[0] * box.size[1] for box in boxes]
    assert len(boxes) == 5
    assert areas == sorted(areas, reverse=True)


def test_the_mesh_agrees_with_the_detector(models: FaceModels, portrait: np.ndarray) -> None:
    (box,) = detect(models, portrait)
    found = points(models, portrait)
    eyes = np.array([found[[33, 133], :2].mean(0), found[[263, 362], :2].mean(0)])
    assert np.abs(eyes - box.points[:2]).max() < 0.15 * eye_distance(found)
    assert np.hypot(*(found[1, :2] - box.points[2])) < 0.3 * eye_distance(found)


def test_tight_crops_are_padded(models: FaceModels, portrait: np.ndarray) -> None:
    whole = points(models, portrait)
    low, high = whole[:, :2].min(0), whole[:, :2].max(0)
    rim = 0.06 * (high - low)  # the outline of the face is cut off
    low, high = (low + rim).astype(int), (high - rim).astype(int)
    tight = portrait[low[1] : high[1], low[0] : high[0]]
    assert detect(models, tight, borders=(0.0,)) == []
    found = points(models, tight)
    moved = np.abs(found[:, :2] + low - whole[:, :2]).mean()
    assert moved < 0.03 * eye_distance(whole)


@pytest.mark.parametrize("degrees", [-25, 20])
def test_a_tilted_face_has_tilted_points(
    models: FaceModels, portrait: np.ndarray, degrees: float
) -> None:
    height, width = portrait.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    tilted = cv2.warpAffine(portrait, matrix, (width, height))
    expected = transform(matrix, points(models, portrait)[:, :2])
    away = np.linalg.norm(points(models, tilted)[:, :2] - expected, axis=1).mean()
    assert away < 0.03 * eye_distance(expected)


def test_a_mirrored_face_has_mirrored_points(models: FaceModels, portrait: np.ndarray) -> None:
    plain = from_mesh(points(models, portrait)[:, :2])
    mirrored = from_mesh(points(models, np.ascontiguousarray(portrait[:, ::-1]))[:, :2])
    back = np.stack([portrait.shape[1] - 1 - mirrored[..., 0], mirrored[..., 1]], -1)[:, ::-1]
    iod = np.linalg.norm(np.diff(plain[INDEX["eye_inner"]], axis=0)) / 0.56
    assert np.linalg.norm(back - plain, axis=-1).mean() < 0.03 * iod


def test_a_large_picture_gives_the_same_points(models: FaceModels, portrait: np.ndarray) -> None:
    large = cv2.resize(portrait, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    small = points(models, portrait)[:, :2]
    away = np.linalg.norm((points(models, large)[:, :2] - 1.5) / 4 - small, axis=1).mean()
    assert away < 0.01 * eye_distance(small)


def test_noise_holds_no_face(models: FaceModels) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    assert detect(models, noise) == []
    guess = np.random.default_rng(1).uniform(20, 100, (468, 3)).astype(np.float32)
    assert mesh(models, noise, guess).presence < 0.5


def test_missing_models_name_the_command_that_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(UserError, match=re.escape(MENDED_BY)):
        load_face_models()


def test_the_model_files_are_those_of_the_package() -> None:
    files = model_files()
    assert files["face_landmark.tflite"].stat().st_size > 2_000_000
    assert files["face_detection_full_range.tflite"].stat().st_size > 1_000_000
