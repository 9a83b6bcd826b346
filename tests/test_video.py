from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from microexpr.errors import UserError
from microexpr.video import frames, open_video, read_picture
from microexpr.videowriter import write_video

HEIGHT, WIDTH = 48, 64


def picture(blue: int) -> np.ndarray:
    """Red grows to the right, green downwards, blue tells the frame."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.dstack([x * 3, y * 4, np.full_like(x, blue)]).astype(np.uint8)


def film(count: int) -> Iterator[np.ndarray]:
    return (picture(8 * number) for number in range(count))


def encode(path: Path, count: int, codec: str = "libx264", gray: bool = False, **stream) -> None:
    """A file with what `write_video` does not do: other codecs, time stamps, rotation."""
    rotation, stamps = stream.pop("rotation", None), stream.pop("stamps", range(count))
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=stream.pop("rate", 25))
        track.width, track.height = WIDTH, HEIGHT
        for name, value in ({"pix_fmt": "yuv420p"} | stream).items():
            setattr(track, name, value)
        if rotation is not None:
            track.set_display_rotation(rotation)
        track.codec_context.time_base = Fraction(1, 1000 if "stamps" in stream else 25)
        for image, stamp in zip(film(count), stamps, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 25)
            container.mux(track.encode(frame))
        container.mux(track.encode())


@pytest.mark.parametrize(("name", "tolerance"), [("a.mp4", 3), ("a.gif", 14)])
def test_written_films_read_back(tmp_path: Path, name: str, tolerance: float) -> None:
    write_video(tmp_path / name, film(20), fps=25)
    info = open_video(tmp_path / name)
    assert (info.width, info.height, info.frames, info.rotation) == (WIDTH, HEIGHT, 20, 0)
    assert info.fps == pytest.approx(25)
    assert info.duration == pytest.approx(0.8)
    assert not info.variable
    assert not info.warnings
    read = list(frames(info))
    assert [frame.number for frame in read] == list(range(20))
    assert [frame.time for frame in read] == pytest.approx(np.arange(20) / 25)
    for frame, image in zip(read, film(20), strict=True):
        assert frame.image.dtype == np.uint8
        assert np.abs(frame.image.astype(int) - image).mean() < tolerance
    assert [path.name for path in tmp_path.iterdir()] == [name]  # no partial file is left


@pytest.mark.parametrize("fps", [25, 30000 / 1001, 60, 200, 500])
def test_frame_rates_of_the_field(tmp_path: Path, fps: float) -> None:
    write_video(tmp_path / "a.mp4", film(12), fps=fps)
    info = open_video(tmp_path / "a.mp4")
    assert info.fps == pytest.approx(fps, rel=1e-3)
    assert info.times == pytest.approx(np.arange(12) / fps, abs=1e-4)


@pytest.mark.parametrize("start", [0, 1, 17, 49])
def test_a_part_is_the_same_as_that_part_of_the_whole(tmp_path: Path, start: int) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:  # several groups of pictures
        track = container.add_stream("libx264", rate=30, options={"g": "12", "bf": "2"})
        track.width, track.height, track.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for image in (picture(4 * number) for number in range(50)):
            container.mux(track.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(track.encode())
    whole = list(frames(tmp_path / "a.mp4"))
    part = list(frames(tmp_path / "a.mp4", start, start + 5))
    assert [frame.number for frame in part] == list(range(start, min(start + 5, 50)))
    for frame in part:
        assert np.array_equal(frame.image, whole[frame.number].image)
        assert frame.time == whole[frame.number].time


def test_every_third_frame(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", film(20), fps=25)
    whole = list(frames(tmp_path / "a.mp4"))
    some = list(frames(tmp_path / "a.mp4", 4, 15, step=3))
    assert [frame.number for frame in some] == [4, 7, 10, 13]
    assert all(np.array_equal(frame.image, whole[frame.number].image) for frame in some)


def test_an_empty_part(tmp_path: Path) -> None:
    write_video(tmp_path / "a.gif", film(3), fps=10)
    assert list(frames(tmp_path / "a.gif", 7, 9)) == []


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, degrees: int) -> None:
    encode(tmp_path / "plain.mp4", 3)
    encode(tmp_path / "turned.mp4", 3, rotation=degrees)
    info = open_video(tmp_path / "turned.mp4")
    assert info.rotation == degrees
    assert (info.width, info.height) == ((WIDTH, HEIGHT), (HEIGHT, WIDTH))[degrees % 180 == 90]
    for plain, turned in zip(frames(tmp_path / "plain.mp4"), frames(info), strict=True):
        assert np.array_equal(np.rot90(plain.image, degrees // 90), turned.image)


def test_variable_frame_rate_keeps_its_clock(tmp_path: Path) -> None:
    stamps = [0, 1, 2, 6, 7, 8, 12, 20]
    encode(tmp_path / "vfr.mkv", len(stamps), codec="ffv1", pix_fmt="bgr0", stamps=stamps)
    info = open_video(tmp_path / "vfr.mkv")
    assert info.variable
    assert info.fps == pytest.approx(7 / (20 / 25))
    assert info.times == pytest.approx(np.array(stamps) / 25)
    assert [frame.time for frame in frames(info)] == pytest.approx(np.array(stamps) / 25)


def test_a_given_rate_overrules_the_clock(tmp_path: Path) -> None:
    write_video(tmp_path / "slow.mp4", film(10), fps=25)
    info = open_video(tmp_path / "slow.mp4", fps=200)
    assert (info.fps, info.duration) == (200, pytest.approx(10 / 200))
    assert [frame.time for frame in frames(info)] == pytest.approx(np.arange(10) / 200)


def test_grey_video_and_oblong_pixels(tmp_path: Path) -> None:
    encode(tmp_path / "grey.avi", 2, codec="ffv1", pix_fmt="gray")
    image = next(frames(tmp_path / "grey.avi")).image
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert np.ptp(image.astype(int), axis=2).max() == 0
    encode(tmp_path / "wide.mp4", 2, sample_aspect_ratio=Fraction(2, 1))
    assert open_video(tmp_path / "wide.mp4").width == 2 * WIDTH
    assert next(frames(tmp_path / "wide.mp4")).image.shape == (HEIGHT, 2 * WIDTH, 3)


def folder(path: Path, names: list[str]) -> Path:
    path.mkdir()
    for name in names:
        cv2.imwrite(str(path / name), picture(int("".join(filter(str.isdigit, name))))[..., ::-1])
    return path


def test_a_folder_is_ordered_by_trailing_numbers(tmp_path: Path) -> None:
    root = folder(tmp_path / "ep", ["reg_img9.png", "reg_img10.png", "reg_img12.png"])
    (root / "notes.txt").write_text("not a frame")
    info = open_video(root, fps=100)
    assert (info.first, info.frames, info.fps) == (9, 3, 100)
    assert info.warnings == ("1 frame numbers are missing in ep",)
    read = list(frames(info))
    assert [frame.number for frame in read] == [9, 10, 12]
    assert [frame.time for frame in read] == pytest.approx([0, 0.01, 0.03])
    for frame in read:
        assert np.array_equal(frame.image, picture(frame.number))
    assert [frame.number for frame in frames(info, 10, 12)] == [10]


def test_a_folder_without_rate_has_no_clock(tmp_path: Path) -> None:
    info = open_video(folder(tmp_path / "ep", ["1.png", "2.png"]))
    assert info.fps is None
    assert all(np.isnan(frame.time) for frame in frames(info))


def test_a_still_picture_is_one_frame(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "p.png"), picture(5)[..., ::-1])
    info = open_video(tmp_path / "p.png")
    assert (info.frames, info.fps, info.duration) == (1, None, 0)
    assert np.array_equal(next(frames(info)).image, picture(5))


def test_a_very_large_picture(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "p.jpg"), np.zeros((6000, 8000), np.uint8))
    assert read_picture(tmp_path / "p.jpg").shape == (6000, 8000, 3)


def test_a_cut_off_film_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", film(30), fps=25)
    raw = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(raw[: int(0.9 * len(raw))])
    info = open_video(tmp_path / "cut.mp4")
    assert 0 < info.frames < 30
    assert f"{info.frames} of the 30 frames" in info.warnings[0]
    assert 0 < len(list(frames(info))) <= info.frames


def test_frames_that_were_trimmed_away_are_not_missing(shared_data: Path) -> None:
    info = open_video(shared_data / "clips" / "no_face.mp4")  # holds 98 frames and shows 95
    assert info.frames == len(list(frames(info))) == 95
    assert info.warnings == ()


def bad(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / f"{kind}.mp4"
    if kind == "cut":
        write_video(path, film(30), fps=25)
        raw = path.read_bytes()
        path.write_bytes(raw[: len(raw) // 5])
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("this is no video\n" * 50)
    elif kind == "script":
        path = path.with_suffix(".txt")
        path.write_text("this is no video\n" * 50)
    elif kind == "sound":
        with av.open(str(path), "w") as container:
            track = container.add_stream("aac", rate=16000, layout="mono")
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            sound.rate = 16000
            container.mux(track.encode(sound))
            container.mux(track.encode())
    elif kind == "tiny":
        path = path.with_suffix(".gif")
        write_video(path, [np.zeros((1, 1, 3), np.uint8)] * 2, fps=10)
    elif kind == "below a file":
        (tmp_path / "file").touch()
        path = tmp_path / "file" / "a.mp4"
    elif kind == "no pictures":
        path = tmp_path / "folder"
        path.mkdir()
    elif kind == "unnumbered":
        path = folder(tmp_path / "folder", ["1.png", "2b.png"])
    elif kind == "twice":
        path = folder(tmp_path / "folder", ["a1.png", "b1.png"])
    elif kind == "damaged picture":
        path = tmp_path / "p.jpg"
        path.write_bytes(b"\xff\xd8\xff not a picture")
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("cut", "damaged, cut off"),
        ("empty", "is empty"),
        ("text", "no video at all"),
        ("script", "is not a video"),
        ("sound", "has no video in it, only: audio"),
        ("tiny", "too small"),
        ("missing", "No such file"),
        ("below a file", "Not a directory"),
        ("no pictures", "holds no pictures"),
        ("unnumbered", "no frame number"),
        ("twice", "two frames 1"),
        ("damaged picture", "no picture that can be read"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, kind: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = bad(tmp_path, kind)
    capfd.readouterr()
    with pytest.raises(UserError, match=says) as error:
        open_video(path)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")  # FFmpeg and OpenCV stay silent


def test_frames_of_a_folder_must_agree(tmp_path: Path) -> None:
    root = folder(tmp_path / "ep", ["1.png", "2.png"])
    cv2.imwrite(str(root / "3.png"), np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(UserError, match="is 20x20, the first 64x48"):
        list(frames(root))


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_a_rate_must_be_positive(tmp_path: Path, fps: float) -> None:
    with pytest.raises(UserError, match="must be positive"):
        open_video(tmp_path, fps)
