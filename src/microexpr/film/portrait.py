"""The faces that films are made of: a photograph, or a drawing where there is none."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from microexpr.errors import UserError
from microexpr.preprocess.face import detect, load_face_models, mesh
from microexpr.template import INDEX, from_mesh
from microexpr.video import Image, read_picture

Array = NDArray[np.float32]

# Indices in the 468-point mesh along the upper and the lower lid, corner to corner: the eye on the
# left of the picture (the person's right), then the other.
LIDS = (
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)),
    ((362, 398, 384, 385, 386, 387, 388, 466, 263), (362, 382, 381, 380, 374, 373, 390, 249, 263)),
)
LEVEL = 0.4  # how far down in a film the eyes are, of its height


@dataclass(frozen=True, slots=True)
class Portrait:
    """A picture of a face and where its parts are.

    Attributes:
        image: uint8 RGB ``(height, width, 3)``.
        landmarks: Float32 ``(landmarks, 2, 2)`` as `microexpr.template.template`, pixels; whole
            numbers are the centres of pixels.
        lids: Float32 ``(2, 2, 9, 2)``: eye (0 on the left of the picture), upper and lower lid,
            from the left corner to the right one, x and y in pixels.
    """

    image: Image
    landmarks: Array
    lids: Array


def read_portrait(path: Path | str) -> Portrait:
    """The largest face of a photograph.

    Raises:
        UserError: The picture cannot be read, shows no face, or the face models are missing.
    """
    image = read_picture(Path(path))
    models = load_face_models()
    faces = detect(models, image)
    if not faces:
        raise UserError(f"{path} shows no face that could be found; take a frontal portrait")
    first = mesh(models, image, faces[0])
    points = mesh(models, image, first.points).points[:, :2]
    return Portrait(image, from_mesh(points), points[np.array(LIDS)])


def find_astronaut() -> Path | None:
    """The portrait of Eileen Collins (NASA, public domain) that scikit-image carries; or None.

    It is found but never imported; the extra ``demo`` installs it.
    """
    try:
        files = importlib.metadata.files("scikit-image") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = (Path(str(file.locate())) for file in files if file.name == "astronaut.png")
    return next((path for path in found if path.is_file()), None)


def framed(portrait: Portrait, width: int, height: int, eyes: float) -> Portrait:
    """The portrait as a camera sees it: the eyes that far apart, the face in the middle.

    Where the picture ends too soon it is mirrored.

    Args:
        portrait: Any.
        width: Pixels of the result.
        height: Pixels of the result.
        eyes: Distance between the eye centres, pixels.
    """
    centres = portrait.landmarks[[INDEX["eye_inner"], INDEX["eye_outer"]]].mean(axis=0)
    scale = eyes / max(float(np.hypot(*(centres[1] - centres[0]))), 1e-6)
    image = portrait.image
    if scale < 1:  # the mean over what a pixel covers: no texture finer than it
        size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    before = np.array(image.shape[1::-1]) / portrait.image.shape[1::-1]
    shift = np.array([width / 2, LEVEL * height]) - scale * (centres.mean(axis=0) + 0.5)
    rest = scale / before
    matrix = np.hstack([np.diag(rest), (shift + (rest - 1) / 2)[:, None]])
    picture = cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    landmarks, lids = (
        (scale * (points + 0.5) + shift - 0.5).astype(np.float32)
        for points in (portrait.landmarks, portrait.lids)
    )
    return Portrait(np.asarray(picture, np.uint8), landmarks, lids)
