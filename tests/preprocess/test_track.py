from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from microexpr.errors import UserError
from microexpr.preprocess.align import STABLE
from microexpr.preprocess.face import FaceModels, Mesh, load_face_models
from microexpr.preprocess.track import (
    CHECK_EVERY,
    GAP,
    Look,
    Tracker,
    assemble,
    points_at,
    pose,
    track,
    visibility,
)
from microexpr.video import frames, open_video, read_picture
from microexpr.videowriter import write_video


@pytest.fixture(scope="module")
def models() -> FaceModels:
    return load_face_models()


def face(x: float = 0.0, y: float = 0.0, scale: float = 100.0) -> np.ndarray:
    """A mesh whose used points lie as on an upright frontal face."""
    points = np.random.default_rng(0).normal(0, 0.5, (468, 3))
    points[:, 2] *= 0.1
    pairs = {33: -0.72, 133: -0.28, 362: 0.28, 263: 0.72, 234: -1.1, 454: 1.1, 61: -0.42, 291: 0.42}
    points[[50, 280, 105, 334]] = [
        [-0.78, 0.5, 0],
        [0.78, 0.5, 0],
        [-0.65, -0.4, 0],
        [0.65, -0.4, 0],
    ]
    for index, place in pairs.items():
        points[index] = (place, 1.04 if index in (61, 291) else 0, 0)
    points[10], points[152] = (0, -1, 0), (0, 1.74, 0)
    return (points * scale + [x, y, 0]).astype(np.float32)


def turn(points: np.ndarray, axis: str, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrices = {
        "yaw": [[c, 0, -s], [0, 1, 0], [s, 0, c]],
        "pitch": [[1, 0, 0], [0, c, s], [0, -s, c]],
        "roll": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
    }
    return points @ np.array(matrices[axis]).T


@pytest.mark.parametrize("axis", ["yaw", "pitch", "roll"])
@pytest.mark.parametrize("degrees", [-30, 10, 25])
def test_pose_is_read_off_the_mesh(axis: str, degrees: float) -> None:
    found = dict(
        zip(("yaw", "pitch", "roll", "size"), pose(turn(face(), axis, degrees)), strict=True)
    )
    assert found[axis] == pytest.approx(degrees, abs=0.1)
    for other in {"yaw", "pitch", "roll"} - {axis}:
        assert found[other] == pytest.approx(0, abs=0.1)
    assert found["size"] == pytest.approx(100, rel=1e-4)


def looks(count: int, missing: set[int] = frozenset(), stray: int | None = None) -> list[Look]:
    """A face that moves evenly to the right, seen 15 times a second."""
    return [
        Look(
            i / 15,
            None if i in missing else Mesh(face(3 * i + (60 if i == stray else 0)), 0.9),
            50.0,
            120.0,
        )
        for i in range(count)
    ]


def test_smoothing_has_no_delay() -> None:
    found = assemble(looks(30), 1)
    for i in range(5, 25):
        assert found.points[i] == pytest.approx(face(3 * i), abs=0.01)
    assert found.size == pytest.approx(100, rel=1e-3)
    assert found.roll == pytest.approx(0, abs=0.1)


def test_trembling_is_reduced() -> None:
    rng = np.random.default_rng(0)
    noisy = [
        Look(i / 15, Mesh(face() + rng.normal(0, 1, (468, 3)).astype(np.float32), 0.9))
        for i in range(60)
    ]
    assert (assemble(noisy, 1).points - face()).std() < 0.6


def test_a_stray_is_rejected() -> None:
    found = assemble(looks(30, stray=12), 1)
    assert found.points[12] == pytest.approx(face(3 * 12), abs=0.5)
    assert found.points[11] == pytest.approx(face(3 * 11), abs=1)


def test_short_gaps_are_bridged_and_long_ones_stay_lost() -> None:
    short = assemble(looks(30, missing={10, 11}), 1)
    assert not np.isnan(short.points).any()
    assert short.points[10] == pytest.approx(face(30), abs=2)
    assert short.presence[10] == 0
    lost = set(range(10, 10 + int(GAP * 15) + 2))
    long = assemble(looks(30, missing=lost), 1)
    assert set(np.flatnonzero(np.isnan(long.points[:, 0, 0]))) == lost
    assert points_at(long, 11 / 15) is None
    assert points_at(long, 9.5 / 15) is None  # on the way into the gap: not seen at both ends
    assert points_at(long, 8.5 / 15) is not None
    at_ends = assemble(looks(10, missing={0, 9}), 1)
    assert np.isnan(at_ends.points[[0, 9]]).all()


def test_points_between_looks_are_linear() -> None:
    found = assemble(looks(10), 1)
    half = points_at(found, 4.5 / 15)
    assert half == pytest.approx((found.points[4] + found.points[5]) / 2, abs=1e-3)
    assert points_at(found, 4 / 15) == pytest.approx(found.points[4], abs=1e-3)
    assert points_at(found, 99.0) == pytest.approx(found.points[9])
    single = assemble(looks(1), 1)
    assert points_at(single, 0.0) == pytest.approx(single.points[0])


def test_nothing_seen_at_all() -> None:
    found = assemble(looks(8, missing=set(range(8))), 0)
    assert np.isnan(found.points).all()
    assert points_at(found, 0.2) is None


def test_a_real_face_is_followed(models: FaceModels, shared_data: Path) -> None:
    video = open_video(shared_data / "clips" / "single_face.mp4")
    found = track(models, video)
    assert not np.isnan(found.points).any()
    assert found.faces == 1
    assert found.presence.min() > 0.9
    assert np.abs(found.yaw).max() < 8
    assert found.size == pytest.approx(70, abs=4)
    steady = found.points[:, list(STABLE), :2]
    assert np.linalg.norm(np.diff(steady, axis=0), axis=-1).max() < 4


def test_no_face_is_made_up(models: FaceModels, shared_data: Path) -> None:
    found = track(models, open_video(shared_data / "clips" / "no_face.mp4"))
    assert np.isnan(found.points).all()
    assert found.faces == 0


def test_a_blurred_dark_face_is_measured_so(models: FaceModels, shared_data: Path) -> None:
    image = read_picture(shared_data / "clips" / "single_face.jpg")
    found = Tracker(models).look(image)
    assert found is not None
    sharp, bright = visibility(image, found.points)
    blurred, dark = visibility(cv2.GaussianBlur(image, (0, 0), 6) // 2, found.points)
    assert blurred < 20 < sharp
    assert dark == pytest.approx(bright / 2, rel=0.05)


def test_a_tight_crop_is_never_lost(models: FaceModels, shared_data: Path) -> None:
    image = read_picture(shared_data / "clips" / "single_face.jpg")
    whole = Tracker(models).look(image)
    assert whole is not None
    low, high = whole.points[:, :2].min(0).astype(int), whole.points[:, :2].max(0).astype(int)
    tracker = Tracker(models)
    for _ in range(CHECK_EVERY + 3):  # the detector is asked again on the way, without a border
        found = tracker.look(image[low[1] + 12 : high[1] - 12, low[0] + 12 : high[0] - 12])
        assert found is not None


def test_an_animation_of_a_tight_crop_is_followed(
    models: FaceModels, shared_data: Path, tmp_path: Path
) -> None:
    image = read_picture(shared_data / "clips" / "single_face.jpg")
    whole = Tracker(models).look(image)
    assert whole is not None
    low, high = whole.points[:, :2].min(0).astype(int), whole.points[:, :2].max(0).astype(int)
    face = image[low[1] + 12 : high[1] - 12, low[0] + 12 : high[0] - 12]
    write_video(tmp_path / "face.gif", [face] * 8, fps=20)
    found = track(models, open_video(tmp_path / "face.gif"))
    assert len(found.times) == 8
    assert found.presence.min() > 0.5
    assert found.size == pytest.approx(float(pose(whole.points)[3]), rel=0.1)


@pytest.fixture(scope="module")
def crowd(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five faces, then nobody, then five faces again: 15 pictures a second, 12 of each."""
    image = read_picture(shared_data / "clips" / "multi_face.jpg")
    path = tmp_path_factory.mktemp("crowd") / "crowd.mp4"
    write_video(path, [image] * 12 + [np.zeros_like(image)] * 12 + [image] * 12, fps=15)
    return path


@pytest.mark.parametrize("which", [0, 3])
def test_one_of_several_is_kept(models: FaceModels, crowd: Path, which: int) -> None:
    video = open_video(crowd)
    image = next(frames(video)).image
    first = Tracker(models, which).look(image)
    found = track(models, video, face=which)
    lost = np.isnan(found.points[:, 0, 0])
    assert lost[12:24].all()
    assert not lost[:12].any()
    assert not lost[26:].any()  # the search tries one border a look
    assert first is not None
    for i in (5, 30):
        away = np.linalg.norm(found.points[i, :, :2] - first.points[:, :2], axis=1).mean()
        assert away < 3
    assert found.faces == 5


def test_a_face_that_is_not_there_is_refused(models: FaceModels, crowd: Path) -> None:
    with pytest.raises(UserError, match="at most 5 faces at once; counted from 0, there is no 7"):
        track(models, open_video(crowd), face=7)
    with pytest.raises(UserError, match="counted from 0"):
        track(models, open_video(crowd), face=-1)


def test_a_recording_without_a_clock_is_refused(models: FaceModels, shared_data: Path) -> None:
    with pytest.raises(UserError, match="no frame rate"):
        track(models, open_video(shared_data / "clips" / "single_face.jpg"))
