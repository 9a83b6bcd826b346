"""Moving pictures in: videos, animations, folders of frames and still pictures.

Frames come one at a time, so memory does not grow with the length of a recording. Times are those
of the container, so recordings of variable frame rate keep their clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from microexpr.errors import UserError

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
SMALLEST_SIDE = 16  # pixels; below this no face can be seen
MOST_PIXELS = 100_000_000  # a header that claims more is taken for damaged

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What is known of a recording before it is analysed.

    Attributes:
        path: A video file, a still picture, or a folder of frames.
        width: Pixels of a frame as it is shown: after rotation, with square pixels.
        height: Likewise.
        fps: Frames per second measured from the time stamps; None where nothing tells (a single
            frame; a folder for which no rate was given).
        frames: How many there are.
        first: Number of the first frame: 0 for files; as named in a folder.
        duration: Seconds from the first frame to the end of the last; 0 if `fps` is None.
        rotation: Degrees, counter-clockwise, that a file asks to be turned by; already applied.
        codec: Name of the codec (``"h264"``, ``"gif"``), or ``"pictures"``.
        variable: Whether the frame rate varies by more than a tenth.
        times: Seconds of every frame since the first, float64 ``(frames,)``; NaN without `fps`.
        numbers: Frame number of every frame, int64 ``(frames,)``, increasing.
        warnings: What is wrong with the recording, one line each.
    """

    path: Path
    width: int
    height: int
    fps: float | None
    frames: int
    first: int
    duration: float
    rotation: int
    codec: str
    variable: bool
    times: NDArray[np.float64] = field(repr=False, compare=False)
    numbers: NDArray[np.int64] = field(repr=False, compare=False)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a recording.

    Attributes:
        number: Position in a file, from 0; in a folder, the trailing integer of the file name.
        time: Seconds since the first frame; NaN where the recording has no clock.
        image: uint8 RGB ``(height, width, 3)``.
    """

    number: int
    time: float
    image: Image


def open_video(path: Path | str, fps: float | None = None) -> VideoInfo:
    """Looks at a recording: reads its time stamps and decodes its first frame.

    Args:
        path: A video file, an animated GIF, a still picture, or a folder of frames whose names end
            in the frame number.
        fps: Frame rate of a folder of frames, which has no clock of its own. Overrules the time
            stamps of a file (for slow-motion recordings played back at another rate).

    Raises:
        UserError: Nothing there, nothing that can be read, no video in it, a frame too small or
            too large, or an `fps` that is not positive.
    """
    path = Path(path)
    if fps is not None and not 0 < fps < 1e6:
        raise UserError(f"the frame rate must be positive, got {fps}")
    try:
        if path.is_dir():
            return _open_folder(path, fps)
        size = path.stat().st_size
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if size == 0:
        raise UserError(f"{path} is empty (0 bytes)")
    return _open_picture(path) if path.suffix.lower() in PICTURES else _open_file(path, fps)


def frames(
    source: VideoInfo | Path | str,
    start: int | None = None,
    stop: int | None = None,
    step: int = 1,
) -> Iterator[Frame]:
    """The frames of a recording in their order, one at a time.

    Frames that do not decode are left out; their numbers are not given to others.

    Args:
        source: What `open_video` told, or a path.
        start: Frame number to begin at (a file is sought, not decoded up to there).
        stop: Frame number to end before.
        step: Give the first of every `step` frames only; the others are not even converted.

    Raises:
        UserError: As `open_video`; or a picture of a folder cannot be read or differs in size.
    """
    info = source if isinstance(source, VideoInfo) else open_video(source)
    chosen = np.ones(info.frames, bool)
    if start is not None:
        chosen &= info.numbers >= start
    if stop is not None:
        chosen &= info.numbers < stop
    if not chosen.any():
        return
    low, high = int(chosen.argmax()), info.frames - int(chosen[::-1].argmax())
    if info.codec == "pictures":
        yield from _folder_frames(info, range(low, high, step))
    else:
        yield from _file_frames(info, range(low, high, step))


# --- files ---------------------------------------------------------------------------------------


@contextmanager
def _stream(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its best video stream; FFmpeg's errors become one line."""
    try:
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            shown = [s for s in container.streams.video if not _is_cover(s)]
            if container.format.name == "tty" or not (shown or container.streams):
                raise UserError(f"{path} is not a video")
            if not shown:
                kinds = ", ".join(sorted({s.type for s in container.streams}))
                raise UserError(f"{path} has no video in it, only: {kinds}")
            shown = [s for s in shown if s.codec_context is not None]
            if not shown:
                raise UserError(f"cannot read {path} as a video: damaged or of an unknown codec")
            yield container, max(shown, key=lambda s: (s.width or 0) * (s.height or 0))
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"cannot read {path} as a video: {_reason(error)}") from error


def _is_cover(stream: Any) -> bool:
    """Whether a stream is the cover picture of a sound file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _reason(error: Exception) -> str:
    if isinstance(error, av.InvalidDataError | av.EOFError):
        return "damaged, cut off before its index, or no video at all"
    return str(getattr(error, "strerror", None) or error)


def _open_file(path: Path, fps: float | None) -> VideoInfo:
    with _stream(path) as (container, stream):
        (ticks, unread), base = _ticks(container, stream), stream.time_base
        codec = stream.codec_context.name
    with _stream(path) as (container, stream):
        picture = next(_decoded(container, stream), None)
        if picture is None:
            raise UserError(f"{path} has no frame that decodes; it is damaged or cut off")
        width, height = _square_pixels(stream, picture)
        _check_size(path, width, height)
        rotation = picture.rotation % 360
    count = len(ticks)
    times = (ticks - ticks[0]).astype(np.float64) * float(base)
    measured = float((count - 1) / times[-1]) if count > 1 and times[-1] > 0 else None
    rate = fps if fps and count > 1 else measured
    if rate and rate != measured:
        times = np.arange(count, dtype=np.float64) / rate
    turned = rotation % 180 == 90
    lost = f"{path.name} is cut off: {count} of the {count + unread} frames in its header are there"
    return VideoInfo(
        path=path,
        width=height if turned else width,
        height=width if turned else height,
        fps=rate,
        frames=count,
        first=0,
        duration=float(times[-1] + 1 / rate) if rate else 0.0,
        rotation=rotation,
        codec=codec,
        variable=_varies(times),
        times=times,
        numbers=np.arange(count),
        warnings=(lost,) if unread else (),
    )


def _ticks(container: Any, stream: Any) -> tuple[NDArray[np.int64], int]:
    """Time stamps of all frames that are shown, in their order, read without decoding.

    Also how many of the frames that the header promises are not there. (A file may hold frames
    that it asks not to show, before the point to which it was trimmed; they are there.)
    """
    ticks: list[int] = []
    hidden = 0
    try:
        for packet in container.demux(stream):
            if packet.size and packet.is_discard:
                hidden += 1
            elif packet.size:
                stamp = packet.dts if packet.pts is None else packet.pts
                ticks.append(len(ticks) if stamp is None else stamp)
    except av.FFmpegError:
        pass  # cut off in the middle of a packet: what came before counts
    shown = np.sort(np.asarray(ticks or [0], np.int64))
    return shown, max(stream.frames - hidden - len(shown), 0)


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Every frame that decodes; damaged packets are passed over."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            pictures = packet.decode()
        except av.EOFError:
            return
        except av.InvalidDataError:
            continue
        yield from pictures


def _square_pixels(stream: Any, picture: Any) -> tuple[int, int]:
    """Width and height once every pixel is as wide as high; before rotation."""
    aspect = stream.sample_aspect_ratio
    return round(picture.width * float(aspect)) if aspect else picture.width, picture.height


def _check_size(path: Path, width: int, height: int) -> None:
    if min(width, height) < SMALLEST_SIDE:
        raise UserError(f"{path} is {width}x{height} pixels, too small to show a face")
    if width * height > MOST_PIXELS:
        raise UserError(f"{path} is {width}x{height} pixels: more than 100 megapixels; scale it")


def _varies(times: NDArray[np.float64]) -> bool:
    if len(times) < 3:
        return False
    low, middle, high = np.percentile(np.diff(times), (5, 50, 95))
    return bool(high - low > 0.1 * middle)


def _file_frames(info: VideoInfo, wanted: range) -> Iterator[Frame]:
    turned = info.rotation % 180 == 90
    size = (info.height, info.width) if turned else (info.width, info.height)
    with _stream(info.path) as (container, stream):
        stamps = _ticks(container, stream)[0] if wanted.start else None
    with _stream(info.path) as (container, stream):
        stream.thread_type = "AUTO"
        if stamps is not None:
            container.seek(int(stamps[wanted.start]), stream=stream)
        number, turn = -1, info.rotation // 90
        for picture in _decoded(container, stream):
            number += 1
            if stamps is not None and picture.pts is not None:
                number = max(number, int(np.searchsorted(stamps, picture.pts)))
            if number >= wanted.stop:
                return
            if number in wanted:
                shown = picture.reformat(width=size[0], height=size[1], format="rgb24")
                image = np.ascontiguousarray(np.rot90(shown.to_ndarray(), turn))
                yield Frame(number, float(info.times[number]), image)


# --- folders and pictures ------------------------------------------------------------------------


def _open_picture(path: Path) -> VideoInfo:
    return _pictures_info(path, read_picture(path), np.zeros(1, np.int64), None)


def _open_folder(path: Path, fps: float | None) -> VideoInfo:
    numbered = _numbered(path)
    numbers = np.array(sorted(numbered), np.int64)
    return _pictures_info(path, read_picture(numbered[int(numbers[0])]), numbers, fps)


def _pictures_info(
    path: Path, image: Image, numbers: NDArray[np.int64], fps: float | None
) -> VideoInfo:
    height, width = image.shape[:2]
    since = (numbers - numbers[0]).astype(np.float64)
    gaps = int(since[-1]) + 1 - len(numbers)
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        fps=fps if len(numbers) > 1 else None,
        frames=len(numbers),
        first=int(numbers[0]),
        duration=float(since[-1] + 1) / fps if fps and len(numbers) > 1 else 0.0,
        rotation=0,
        codec="pictures",
        variable=False,
        times=since / fps if fps else np.full(len(numbers), np.nan),
        numbers=numbers,
        warnings=(f"{gaps} frame numbers are missing in {path.name}",) if gaps else (),
    )


def _numbered(folder: Path) -> dict[int, Path]:
    """The pictures of a folder by the trailing integer of their names."""
    found: dict[int, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in PICTURES or file.name.startswith("."):
            continue
        match = re.search(r"(\d+)$", file.stem)
        if not match:
            raise UserError(f"{file} has no frame number at the end of its name")
        if int(match[1]) in found:
            other = found[int(match[1])].name
            raise UserError(f"{folder} has two frames {match[1]}: {other} and {file.name}")
        found[int(match[1])] = file
    if not found:
        raise UserError(f"{folder} holds no pictures ({', '.join(sorted(PICTURES))})")
    return found


def read_picture(path: Path) -> Image:
    """A still picture as uint8 RGB ``(height, width, 3)``, turned as its EXIF data ask.

    Raises:
        UserError: It cannot be read, or is too small or too large.
    """
    try:
        raw = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    try:
        image = cv2.imdecode(raw, cv2.IMREAD_COLOR) if raw.size else None
    except cv2.error:  # more pixels than OpenCV accepts
        image = None
    if image is None:
        raise UserError(f"{path} is no picture that can be read; it may be damaged")
    _check_size(path, image.shape[1], image.shape[0])
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _folder_frames(info: VideoInfo, wanted: range) -> Iterator[Frame]:
    files = {0: info.path} if info.path.is_file() else _numbered(info.path)
    for at in wanted:
        number = int(info.numbers[at])
        image = read_picture(files[number])
        if image.shape[:2] != (info.height, info.width):
            shape = f"{image.shape[1]}x{image.shape[0]}"
            raise UserError(f"{files[number]} is {shape}, the first {info.width}x{info.height}")
        yield Frame(number, float(info.times[at]), image)
