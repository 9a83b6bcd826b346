from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from microexpr.film import drawn_portrait
from microexpr.preprocess.align import FACE, alignment, grey, rigid_motion, warp
from microexpr.preprocess.face import Mesh, detect, load_face_models, mesh
from microexpr.preprocess.motion import (
    REGIONS,
    SIZE,
    UNIT,
    Motion,
    _fields,
    _measured,
    _windows,
    motion,
)
from microexpr.preprocess.track import Look, Track, assemble
from microexpr.video import VideoInfo, open_video, read_picture
from microexpr.videowriter import write_video

FPS, COUNT, LOST = 30, 110, range(80, 95)
NAMES = [(region.landmark, region.side) for region in REGIONS]
PULLED = NAMES.index(("mouth_corner", "right"))


@pytest.fixture(scope="module")
def face(shared_data: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """A portrait of 300 pixels, its mesh, and its distance between the eyes."""
    image = cv2.resize(read_picture(shared_data / "clips" / "single_face.jpg"), (300, 300))
    models = load_face_models()
    points = mesh(models, image, detect(models, image)[0]).points
    eyes = points[[33, 133], :2].mean(0) - points[[263, 362], :2].mean(0)
    return image, points, float(np.hypot(*eyes))


def course() -> np.ndarray:
    """0..1: the mouth is pulled between frames 30 and 60, most at 45."""
    ease = np.interp(np.arange(COUNT), [30, 45, 60], [0, 1, 0])
    return ease**2 * (3 - 2 * ease)


def drift() -> np.ndarray:
    """``(frames, 2)``: the head sways by two hundredths of its eye distance of 40 pixels."""
    t = np.arange(COUNT)
    return np.stack([0.8 * np.sin(t / 12), 0.8 * np.cos(t / 17)], axis=1)


@pytest.fixture(scope="module")
def film(
    face: tuple[np.ndarray, np.ndarray, float], tmp_path_factory: pytest.TempPathFactory
) -> tuple[VideoInfo, Track]:
    """The portrait sways; one corner of the mouth is pulled up by 2 % of the eye distance."""
    image, points, iod = face
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:300, :300].astype(np.float32)
    away = (x - points[291, 0]) ** 2 + (y - points[291, 1]) ** 2
    blob = 0.02 * iod * np.exp(-0.5 * away / (0.2 * iod) ** 2)

    def frame(pull: float, sway: np.ndarray) -> np.ndarray:
        at = (x - np.float32(sway[0]), (y + pull * blob - sway[1]).astype(np.float32))
        seen = cv2.remap(image, *at, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return np.clip(seen + rng.normal(0, 1, seen.shape), 0, 255).astype(np.uint8)

    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_video(path, map(frame, course(), drift()), fps=FPS, crf=10)
    trembling = rng.normal(0, 0.3, (COUNT, 468, 2))
    looks = []
    for i, sway in enumerate(drift()):
        found = points.copy()
        found[:, :2] += sway + trembling[i]
        looks.append(Look(i / FPS, None if i in LOST else Mesh(found, 1.0)))
    return open_video(path), assemble(looks, 1)


@pytest.fixture(scope="module")
def measured(film: tuple[VideoInfo, Track]) -> Motion:
    return motion(*film)


def test_the_movement_is_measured_where_it_is(measured: Motion) -> None:
    before = np.median(measured.shift[10:28], axis=0)
    moved = np.linalg.norm(measured.shift[44:47].mean(axis=0) - before, axis=1)
    assert int(moved.argmax()) == PULLED
    assert 0.010 < moved[PULLED] < 0.022
    far = [i for i, (name, _) in enumerate(NAMES) if "brow" in name or "forehead" in name]
    assert moved[far].max() < 0.004
    upwards = measured.shift[44:47, PULLED, 1].mean() - before[PULLED, 1]
    assert upwards < -0.01


def test_the_course_of_time_is_kept(measured: Motion) -> None:
    curve = -measured.shift[:75, PULLED, 1]
    assert np.corrcoef(curve, course()[:75])[0, 1] > 0.95


def test_the_sway_of_the_head_does_not_show(measured: Motion) -> None:
    still = [
        i for i, (name, _) in enumerate(NAMES) if name in {"glabella", "nose_tip", "brow_inner"}
    ]
    assert np.nanstd(measured.shift[:, still], axis=0).max() < 0.003


def test_segments_are_joined_without_a_step(measured: Motion) -> None:
    steps = np.abs(np.diff(measured.shift[:78], axis=0)).max(axis=(1, 2))
    joins = [44, 45]  # 1.5 s at 30 frames a second
    assert steps[joins].max() < 2 * np.percentile(steps, 90) + 1e-3


def test_a_nod_does_not_move_smooth_skin() -> None:
    """Flow that is measured once falls short of the nod where there is little to see."""
    models, image = load_face_models(), drawn_portrait(1).image
    points = mesh(models, image, detect(models, image)[0]).points
    place = alignment(points, FACE, SIZE)
    windows = _windows(assemble([Look(i / FPS, Mesh(points, 1.0)) for i in range(5)], 1))
    once, twice = [], []
    for nod in (0.1, 0.2, 0.4):  # pixels
        moved = place - np.array([[0, 0, 0], [0, 0, nod]])
        crops = [grey(warp(image, moved if i in (7, 8, 9) else place, SIZE)) for i in range(24)]
        own, head = _measured(crops, windows, "dis")
        coarse = _fields(crops[0], crops[8:9], "dis")
        plain = windows @ (coarse - rigid_motion(coarse))[0].reshape(-1, 2)
        once.append(np.linalg.norm(plain, axis=-1).max())
        twice.append(np.linalg.norm(own[8] - own[0], axis=-1).max())
        assert head[8, 1] - head[0, 1] == pytest.approx(-nod / UNIT, abs=0.1 / UNIT)
    assert max(twice) < 0.001 < max(once)
    assert sum(twice) < 0.7 * sum(once)


def test_what_was_lost_stays_lost(measured: Motion) -> None:
    nan = np.isnan(measured.shift).any(axis=(1, 2))
    assert nan[LOST.start : LOST.stop].all()
    assert not nan[: LOST.start - 1].any()
    assert not nan[LOST.stop + 1 :].any()
    assert np.array_equal(nan, np.isnan(measured.head).any(axis=1))


def test_a_face_that_is_never_seen(film: tuple[VideoInfo, Track]) -> None:
    video, _ = film
    nothing = assemble([Look(i / FPS, None) for i in range(COUNT)], 0)
    found = motion(video, nothing)
    assert np.isnan(found.shift).all()
    assert found.shift.shape == (COUNT, len(REGIONS), 2)
    assert found.times is video.times


def test_regions_are_named_once() -> None:
    assert len(set(REGIONS)) == len(REGIONS) == 44
    assert {region.side for region in REGIONS} == {"left", "right", "middle"}
