"""A movement from near: flow without the head, what models eat, magnification."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from microexpr.encoding import encode
from microexpr.inputs import Input
from microexpr.preprocess.align import FACE, TIGHT, grey
from microexpr.preprocess.closeup import (
    SIZE,
    STRONGEST,
    Closeup,
    magnification,
    magnified,
    model_input,
    pixels_per_iod,
    region_shift,
    split_flow,
)
from microexpr.preprocess.flow import FLOWS
from microexpr.preprocess.motion import REGIONS


def texture(seed: int = 0) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).random((SIZE, SIZE, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    low, high = smooth.min(), smooth.max()
    return np.round(255 * (smooth - low) / (high - low)).astype(np.uint8)


def bump(right: float, down: float, row: int = 150) -> NDArray[np.float32]:
    """A blob of motion below the middle of the picture, pixels."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    shape = np.exp(-((x - SIZE / 2) ** 2 + (y - row) ** 2) / (2 * 20**2))
    return np.stack([right * shape, down * shape], axis=-1)


def moved(picture: NDArray[np.uint8], field: NDArray[np.float32]) -> NDArray[np.uint8]:
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    source = x - field[..., 0], y - field[..., 1]
    return cv2.remap(picture, *source, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


@pytest.fixture(scope="module")
def seen() -> Closeup:
    first = texture()
    faces = np.stack([first, moved(first, bump(1.0, -1.0)), moved(first, bump(2.0, -2.0)), first])
    times = np.arange(4) / 50
    return Closeup(np.arange(4) + 10, times, faces, faces, onset=0, apex=2, offset=3)


def test_the_flow_splits_into_face_and_head(seen: Closeup) -> None:
    own, head = split_flow(seen.faces, 0, 2, "dis", FACE)
    whole = FLOWS["dis"](grey(seen.faces[0]), grey(seen.faces[2]))
    np.testing.assert_allclose(own + head, whole, atol=1e-5)
    assert np.hypot(own[150, 112, 0] - 2, own[150, 112, 1] + 2) < 0.6  # DIS smooths
    assert np.abs(head).max() < 0.3


def test_region_shift_reads_the_field_at_the_regions() -> None:
    constant = np.broadcast_to(np.array([2.0, -1.0], np.float32), (SIZE, SIZE, 2))
    expected = np.array([2.0, -1.0]) / pixels_per_iod()
    np.testing.assert_allclose(region_shift(constant), np.tile(expected, (len(REGIONS), 1)), 1e-5)
    strength = np.linalg.norm(region_shift(bump(0, -3, row=157)), axis=1)
    assert REGIONS[int(strength.argmax())].landmark in {"lip_lower", "lip_upper"}


def test_model_input_is_the_encoded_flow_of_the_tight_crop(seen: Closeup) -> None:
    wants = Input(("u", "v", "m"), 28, "dis", "relative")
    own, _ = split_flow(seen.tight, 0, 2, "dis", TIGHT)
    has = Input(("u", "v"), SIZE, "dis", "none")
    expected = encode(np.moveaxis(own, -1, 0), has, wants)
    np.testing.assert_array_equal(model_input(seen, wants, 0, 2), expected)


def test_model_input_with_pictures_and_several_frames(seen: Closeup) -> None:
    pictures = model_input(seen, Input(("u", "onset_r", "apex_b"), 56, "dis", "robust"), 0, 2)
    assert pictures.shape == (3, 56, 56)
    red = seen.tight[0, ..., 0].astype(np.float32).reshape(56, 4, 56, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(pictures[1], red, atol=1e-3)
    several = model_input(seen, Input(("u", "v", "grey"), 28, "dis", "robust", frames=4), 0, 2)
    assert several.shape == (4, 3, 28, 28)
    assert np.abs(several[0, :2]).max() < np.abs(several[2, :2]).max()


def test_magnification_takes_the_motion_to_its_target() -> None:
    assert magnification(np.zeros((SIZE, SIZE, 2), np.float32)) == STRONGEST
    assert magnification(bump(200, 0)) == 1.0
    assert 1 < magnification(bump(3, 0)) < STRONGEST


def test_magnified_faces_move_further(seen: Closeup) -> None:
    same, fields = magnified(seen, 1.0)
    assert np.abs(same.astype(int) - seen.faces).max() <= 1
    assert fields.shape == (4, SIZE, SIZE, 2)
    larger, _ = magnified(seen, 3.0)
    flow = FLOWS["dis"](grey(seen.faces[0]), grey(larger[2]))
    assert flow[150, 112, 0] == pytest.approx(6, abs=1.5)
    assert flow[150, 112, 1] == pytest.approx(-6, abs=1.5)
