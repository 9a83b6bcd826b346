"""Moving pictures out: H.264 in MP4, and animated GIF."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.filter import Graph

from microexpr.errors import UserError
from microexpr.files import replacing
from microexpr.video import Image


def write_video(
    path: Path | str,
    images: Iterable[Image],
    fps: float,
    crf: int = 18,
    repeatable: bool = False,
) -> None:
    """Writes H.264 in MP4 (yuv420p, as browsers play), or an animated GIF, by the file's suffix.

    Odd sides of an MP4 grow by one pixel (the edge repeated), which yuv420p demands. The file
    appears under its name only when it is complete.

    Args:
        path: Ends in ``.mp4`` or ``.gif``.
        images: uint8 RGB ``(height, width, 3)``, all of one size.
        fps: Frames per second. GIF counts in hundredths of a second.
        crf: Constant rate factor of H.264: 0 without loss, 18 visually so, 51 worst.
        repeatable: The same images give the same MP4, byte for byte, on any number of cores. x264
            then works in one thread and without its macroblock tree, whose result varies from call
            to call; the file is larger for it.

    Raises:
        UserError: Another suffix, no image, or the file cannot be written.
    """
    path = Path(path)
    writers = {".mp4": _write_mp4, ".gif": _write_gif}
    if path.suffix.lower() not in writers:
        raise UserError(f"cannot write {path.name}: the name must end in .mp4 or .gif")
    whole = iter(images)
    first = next(whole, None)
    if first is None:
        raise UserError(f"cannot write {path.name}: there are no frames")
    rate = Fraction(fps).limit_denominator(10_000)
    write = writers[path.suffix.lower()]
    try:
        with replacing(path) as part:
            write(part, _same_size(first, whole), first.shape[:2], rate, crf, repeatable)
    except (OSError, av.FFmpegError) as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def _same_size(first: Image, rest: Iterator[Image]) -> Iterator[Image]:
    yield first
    for image in rest:
        if image.shape != first.shape:
            raise UserError(f"frames differ in size: {image.shape} after {first.shape}")
        yield image


def _write_mp4(
    path: Path,
    images: Iterator[Image],
    shape: tuple[int, ...],
    rate: Fraction,
    crf: int,
    repeatable: bool,
) -> None:
    height, width = shape
    odd = ((0, height % 2), (0, width % 2), (0, 0))
    options = {"movflags": "faststart"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        choices = {"crf": str(crf)} | ({"x264-params": "mbtree=0"} if repeatable else {})
        stream = container.add_stream("libx264", rate=rate, options=choices)
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = int(repeatable)  # 0: as many as it likes
        for image in images:
            picture = av.VideoFrame.from_ndarray(np.pad(image, odd, "edge"), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _write_gif(
    path: Path,
    images: Iterator[Image],
    shape: tuple[int, ...],
    rate: Fraction,
    crf: int,
    repeatable: bool,
) -> None:
    """One palette for the whole animation, made from all its frames; the rest has no meaning."""
    height, width = shape
    graph = Graph()
    source = graph.add("buffer", f"video_size={width}x{height}:pix_fmt=rgb24:time_base={1 / rate}")
    split, make, use = graph.add("split"), graph.add("palettegen"), graph.add("paletteuse")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(make, 1, 0)
    make.link_to(use, 0, 1)
    use.link_to(graph.add("buffersink"))
    graph.configure()
    for number, image in enumerate(images):
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        picture.pts, picture.time_base = number, 1 / rate
        graph.vpush(picture)
    graph.vpush(None)
    with av.open(str(path), "w", format="gif") as container:
        stream = container.add_stream("gif", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "pal8"
        while True:
            try:
                picture = graph.vpull()
            except (av.EOFError, av.BlockingIOError):
                break
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
