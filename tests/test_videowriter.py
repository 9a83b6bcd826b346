from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from microexpr.errors import UserError
from microexpr.video import frames, open_video
from microexpr.videowriter import write_video

HEIGHT, WIDTH = 48, 64


def picture(blue: int) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.dstack([x * 3, y * 4, np.full_like(x, blue)]).astype(np.uint8)


def film(count: int) -> Iterator[np.ndarray]:
    return (picture(8 * number) for number in range(count))


def test_odd_sides_grow_by_one_pixel(tmp_path: Path) -> None:
    write_video(tmp_path / "odd.mp4", (image[:-1, :-1] for image in film(3)), fps=200)
    info = open_video(tmp_path / "odd.mp4")
    assert (info.width, info.height) == (WIDTH, HEIGHT)
    assert info.fps == pytest.approx(200)


def test_a_lower_crf_is_nearer(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(60, 200, (HEIGHT, WIDTH, 1), dtype=np.uint8)
    noise = [np.repeat(grey, 3, axis=2)] * 2
    errors = []
    for crf in (1, 40):
        write_video(tmp_path / "a.mp4", noise, fps=10, crf=crf)
        image = next(frames(tmp_path / "a.mp4")).image
        errors.append(np.abs(image.mean(2) - noise[0].mean(2)).mean())
    assert errors[0] < 0.5 * errors[1]


def test_writing_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.mp4 or \.gif"):
        write_video(tmp_path / "a.avi", film(2), fps=10)
    with pytest.raises(UserError, match="no frames"):
        write_video(tmp_path / "a.mp4", [], fps=10)
    with pytest.raises(UserError, match="differ in size"):
        write_video(tmp_path / "a.mp4", [picture(0), picture(0)[:20]], fps=10)
    with pytest.raises(UserError, match="cannot write"):
        write_video(Path("/dev/null/nowhere/a.mp4"), film(2), fps=10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, HEIGHT, WIDTH, 3), dtype=np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # bytes a file may hold
    try:
        with pytest.raises(UserError, match="cannot write"):
            write_video(tmp_path / name, noise, fps=10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_repeatable_means_the_same_bytes(tmp_path: Path) -> None:
    """Noisy moving pictures, with memory in another state each time."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:160, :160]
    waves = [128 + 60 * np.sin((x + i / 2) / 9) + 40 * np.sin(y / 13) for i in range(20)]
    noisy = [np.clip(wave + random.normal(0, 4, (160, 160)), 0, 255) for wave in waves]
    images = [np.repeat(image.astype(np.uint8)[..., None], 3, axis=2) for image in noisy]
    written = set()
    for number in range(4):
        kept = [np.ones((random.integers(10, 300), 200)) for _ in range(30)]
        path = tmp_path / f"{number}.mp4"
        write_video(path, images, 60.0, 17, repeatable=True)
        written.add(path.read_bytes())
        assert len(kept) == 30
    assert len(written) == 1
