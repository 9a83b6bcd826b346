"""The pictures of a movement: every one of them shows what its caption says."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest

from microexpr.app import pictures
from microexpr.app.pictures import LEAST_GREY, Pictures, draw
from microexpr.drawing import flow_to_rgb
from microexpr.preprocess.align import FACE, placement
from microexpr.preprocess.closeup import SIZE, Closeup, magnification, pixels_per_iod
from microexpr.video import open_video

PULL = 0.02  # IOD by which the mouth's right corner goes up


def pull() -> np.ndarray:
    """The movement at its greatest, ``(224, 224, 2)`` pixels."""
    y, x = np.mgrid[:SIZE, :SIZE]
    away = (x - corner()[0]) ** 2 + (y - corner()[1]) ** 2
    up = -PULL * pixels_per_iod() * np.exp(-0.5 * away / 18**2)
    return np.stack([np.zeros_like(up), up], axis=-1).astype(np.float32)


@pytest.fixture(scope="module")
def seen() -> Closeup:
    """A texture of which one place is pulled up and comes back."""
    noise = np.random.default_rng(0).random((SIZE, SIZE, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    texture = 30 + 180 * (smooth - smooth.min()) / np.ptp(smooth)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    course = np.concatenate([np.linspace(0, 1, 7), np.linspace(1, 0, 7)[1:]]).astype(np.float32)
    faces = [cv2.remap(texture, x, y - c * pull()[..., 1], cv2.INTER_CUBIC) for c in course]
    shown = np.clip(np.round(faces), 0, 255).astype(np.uint8)
    return Closeup(np.arange(13), np.arange(13) / 50, shown, shown, 0, 6, 12)


def corner() -> np.ndarray:
    """Where the mouth's right corner is, pixels."""
    return placement(FACE, SIZE) @ np.array([0.45, 1.0, 1.0])


@pytest.fixture(scope="module")
def drawn(seen: Closeup) -> Pictures:
    return draw(seen)


def picture(uri: str) -> np.ndarray:
    kind, data = uri.split(",", 1)
    assert kind in ("data:image/jpeg;base64", "data:image/png;base64")
    raw = np.frombuffer(base64.b64decode(data), np.uint8)
    return cv2.imdecode(raw, cv2.IMREAD_COLOR)[..., ::-1]


def around(image: np.ndarray, reach: int = 8) -> np.ndarray:
    x, y = np.round(corner()).astype(int)
    return image[y - reach : y + reach, x - reach : x + reach]


def test_the_faces_are_those_of_onset_and_apex(seen: Closeup, drawn: Pictures) -> None:
    for uri, at in ((drawn.onset, seen.onset), (drawn.apex, seen.apex)):
        shown = picture(uri).astype(float)
        assert shown.shape == (SIZE, SIZE, 3)
        assert np.abs(shown - seen.faces[at])[20:-20, 20:-20].mean() < 4


def test_the_flow_points_up_where_the_skin_was_pulled(drawn: Pictures) -> None:
    upwards = flow_to_rgb(np.zeros((1, 1)), np.full((1, 1), -1.0), 1.0)[0, 0]
    there = around(picture(drawn.flow), 4).reshape(-1, 3).mean(axis=0)
    assert np.abs(there - upwards).max() < 60
    assert drawn.full_flow == pytest.approx(100 * PULL, rel=0.3)


def test_the_difference_is_at_the_movement_and_blind_to_light(
    seen: Closeup, drawn: Pictures
) -> None:
    darker = seen.faces.copy()
    darker[seen.apex] -= 8
    first, apex = seen.faces[seen.onset], darker[seen.apex]
    image, full = pictures._difference(first, apex)
    assert full == pytest.approx(drawn.full_grey, rel=0.1)
    image = image.astype(float)
    colour = image.max(axis=-1) - image.min(axis=-1)
    assert around(colour).mean() > 4 * np.median(colour)
    assert drawn.full_grey >= LEAST_GREY


def test_nothing_is_drawn_beside_the_face(seen: Closeup) -> None:
    """The wall behind a head that was put back moves, and says nothing."""
    moved = seen.faces.copy()
    moved[seen.apex, :, :12] = np.roll(moved[seen.apex, :, :12], 3, axis=0)
    shown = draw(Closeup(seen.numbers, seen.times, moved, moved, 0, 6, 12))
    assert (picture(shown.flow)[:150, :12] == 255).all()
    difference = picture(shown.difference)[:, :12].astype(int)
    assert np.ptp(difference.reshape(-1, 3), axis=0).max() == 0
    arrows = picture(shown.arrows)
    plain = cv2.resize(moved[0], None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    assert np.abs(arrows[:, :20].astype(int) - plain[:, :20]).mean() < 6


def test_arrows_stand_at_the_movement_and_are_as_long_as_told(
    seen: Closeup, drawn: Pictures
) -> None:
    arrows = picture(drawn.arrows).astype(int)
    yellow = (arrows[..., 0] > 180) & (arrows[..., 1] > 150) & (arrows[..., 2] < 90)
    rows, columns = np.nonzero(yellow)
    x, y = 2 * corner()
    assert np.hypot(columns - x, rows - y).max() < 110
    assert drawn.longer * PULL * pixels_per_iod() == pytest.approx(1.6 * 14, rel=0.35)


def test_the_loop_runs_slowly_beside_its_magnification(
    drawn: Pictures, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kind, data = drawn.loop.split(",", 1)
    assert kind == "data:video/mp4;base64"
    path = tmp_path_factory.mktemp("loop") / "loop.mp4"
    path.write_bytes(base64.b64decode(data))
    video = open_video(path)
    assert (video.width, video.height, video.codec) == (3 * SIZE, SIZE, "h264")
    assert video.duration == pytest.approx(4.0, abs=0.4)
    assert drawn.slower == pytest.approx(4 / (12 / 50))
    assert drawn.factor == pytest.approx(magnification(pull()), rel=0.3)


def test_a_face_at_rest_is_drawn_as_rest(seen: Closeup) -> None:
    still = np.repeat(seen.faces[:1], 13, axis=0)
    shown = draw(Closeup(seen.numbers, seen.times, still, still, 0, 6, 12))
    assert (picture(shown.flow)[:150] == 255).all()
    assert shown.full_flow == pytest.approx(0.4)
    assert shown.full_grey == LEAST_GREY
