"""What films show: motion as told, lids, a head that moves alone, noise."""

from __future__ import annotations

import itertools
import tracemalloc

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from microexpr.film import Blink, Movement, Script, drawn_portrait, shoot
from microexpr.film.portrait import framed
from microexpr.film.script import light
from microexpr.film.warp import Pose, Scene, _before_head, stage
from microexpr.preprocess.flow import flow

STILL = {"drift": 0.0, "noise": 0.0, "flicker": 0.0, "width": 320, "height": 288, "eyes": 64.0}
FACE = drawn_portrait()


def script(**changes: object) -> Script:
    return Script(**{"fps": 20.0, "seconds": 1.0, **STILL, **changes})  # type: ignore[arg-type]


def grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def act(*units: str, peak: float = 2.0) -> Movement:
    return Movement("any", units, 0.2, 0.5, 0.8, peak)


def test_without_any_event_nothing_moves() -> None:
    first, *rest = shoot(FACE, script())
    assert all(np.array_equal(first, image) for image in rest)
    seen = framed(FACE, 320, 288, 64.0).image
    assert np.abs(first.astype(float) - seen).mean() < 1


def test_skin_moves_as_the_field_says() -> None:
    film = script(events=(act("12", "6"),))
    frames = [grey(image) for image in shoot(FACE, film)]
    told = stage(FACE, film).fields[0]
    length = np.hypot(told[..., 0], told[..., 1])
    assert length.max() == pytest.approx(0.02 * 64, rel=1e-5)
    there = length > 0.2 * length.max()
    measured = flow(frames[0], frames[10])
    # a point at s comes to q = s + field(q): the field at q, seen from s
    y, x = np.mgrid[:288, :320].astype(np.float32)
    forward = told
    for _ in range(20):
        forward = cv2.remap(told, x + forward[..., 0], y + forward[..., 1], cv2.INTER_LINEAR)
    error = np.hypot(*np.moveaxis(measured - forward, -1, 0))
    assert error[there].mean() < 0.1
    changes = [np.abs(image.astype(int) - frames[0]).mean() for image in frames]
    assert int(np.argmax(changes)) == 10
    assert max(changes[:5] + changes[16:]) == 0  # onset at frame 4, offset at frame 16


@pytest.mark.parametrize(("unit", "left_moves", "right_moves"), [("L14", 0, 1), ("R14", 1, 0)])
def test_sides_are_the_persons_own(unit: str, left_moves: int, right_moves: int) -> None:
    field = np.hypot(*np.moveaxis(stage(FACE, script(events=(act(unit),))).fields[0], -1, 0))
    top = field.max()
    assert (field[:, :140].max() > 0.5 * top) == bool(left_moves)
    assert (field[:, 180:].max() > 0.5 * top) == bool(right_moves)


def between_lids(scene: Scene, image: NDArray[np.uint8]) -> float:
    """Mean grey of the middle of both eyes: dark iris and pupil, or skin."""
    middles = scene.portrait.lids.mean(axis=(1, 2)).round().astype(int)
    return float(np.mean([grey(image)[y - 1 : y + 2, x - 1 : x + 2] for x, y in middles]))


def test_lids_close_and_open() -> None:
    film = script(blinks=(Blink(0.2, 0.4, 0.7),))
    frames = list(shoot(FACE, film))
    scene = stage(FACE, film)
    assert np.array_equal(frames[0], frames[-1])
    skin = float(np.median(grey(frames[0])[130:160, 130:190]))  # between eyes and mouth
    open_, half, shut = (between_lids(scene, frames[i]) for i in (0, 6, 8))
    assert open_ < 0.6 * skin
    assert shut > 0.8 * skin
    assert half < shut
    changed = np.abs(frames[8].astype(int) - frames[0]).max(axis=-1) > 2
    rows, columns = np.nonzero(changed)
    lids = scene.portrait.lids.reshape(-1, 2)
    low, high = lids.min(axis=0) - 25, lids.max(axis=0) + 25  # 25 px: .4 of the eyes' distance
    assert rows.size > 100
    assert low[0] < columns.min()
    assert columns.max() < high[0]
    assert low[1] < rows.min()
    assert rows.max() < high[1]


def test_the_head_moves_as_a_similarity_and_the_wall_stays() -> None:
    scene = stage(FACE, script(drift=5.0))
    pose = Pose(0.04, -0.02, 0.03, 1.02)
    x, y = _before_head(scene, pose)
    middle = scene.portrait.lids.reshape(-1, 2).mean(axis=0)
    cos, sin = np.cos(pose.turn), np.sin(pose.turn)
    for row, column in itertools.product((90, 130, 170, 200), (110, 160, 200)):
        assert scene.moves[row, column] == 1
        dx, dy = x[row, column] - middle[0], y[row, column] - middle[1]
        there = pose.zoom * np.array([cos * dx - sin * dy, sin * dx + cos * dy])
        there += middle + 64 * np.array([pose.x, pose.y])
        assert there.tolist() == pytest.approx([column, row], abs=1e-3)
    frames = list(shoot(FACE, script(drift=5.0)))
    corners = [np.concatenate([f[:20, :20], f[-20:, -20:]]).astype(int) for f in frames]
    assert all(np.array_equal(corners[0], corner) for corner in corners)
    assert not np.array_equal(frames[0], frames[10])


def test_noise_has_the_strength_asked_for() -> None:
    clean, *_ = shoot(FACE, script())
    noisy = list(itertools.islice(shoot(FACE, script(noise=3.0)), 2))
    unclipped = (clean > 12).all(axis=-1) & (clean < 243).all(axis=-1)
    difference = (noisy[0].astype(float) - clean)[unclipped]
    assert difference.std() == pytest.approx(3.0, rel=0.03)
    assert abs(difference.mean()) < 0.2  # quarters of a grey level are rounded up
    between = (noisy[1].astype(float) - noisy[0])[unclipped]
    assert between.std() == pytest.approx(3.0 * 2**0.5, rel=0.03)


def test_the_light_flickers_as_told() -> None:
    film = script(flicker=4.0)
    clean = next(shoot(FACE, script())).mean()
    means = np.array([image.mean() for image in shoot(FACE, film)])
    told = light(film, np.arange(20) / 20)
    assert (means / clean).tolist() == pytest.approx(told.tolist(), abs=0.003)
    assert np.ptp(told) > 0.008


def test_a_script_makes_one_film() -> None:
    film = script(noise=2.0, flicker=1.0, drift=3.0, events=(act("4"),), seconds=0.9)
    once, again = list(shoot(FACE, film)), list(shoot(FACE, film))
    assert np.array_equal(once, again)
    other = list(shoot(FACE, script(noise=2.0, flicker=1.0, drift=3.0, seed=1, seconds=0.9)))
    assert not np.array_equal(once, other)


def test_memory_does_not_grow_with_the_length() -> None:
    peaks = []
    for count in (3, 30):
        frames = shoot(FACE, script(seconds=600, noise=2.0, drift=3.0))
        tracemalloc.start()
        for _ in itertools.islice(frames, count):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] < 60e6
