"""The pictures of one movement, ready to be put into a page: PNG, JPEG and MP4 as data URIs."""

from __future__ import annotations

import base64
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

from microexpr.drawing import flow_to_rgb, flow_wheel
from microexpr.preprocess.align import FACE, grey, places
from microexpr.preprocess.closeup import (
    SIZE,
    Closeup,
    magnification,
    magnified,
    pixels_per_iod,
    split_flow,
)
from microexpr.videowriter import write_video

LOOP = 4.0  # seconds that one turn of the loop takes, at least
EVERY = 14  # pixels between arrows
SHOWN = 0.35  # arrows shorter than this share of the longest are left out
WHEEL = 45  # pixels of the colour wheel in the corner of the flow picture
LEAST_FULL = 0.004  # IOD: the shortest displacement that is drawn in full colour
OVAL = (1.1, 0.5, 1.3)  # IOD: half the width of the face, its middle, half its height
LEAST_GREY = 12.0  # grey levels: the smallest difference drawn in full colour

Image = NDArray[np.uint8]
Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pictures:
    """What is shown of one movement.

    Attributes:
        onset: Data URI of the face at the onset.
        apex: Of the face at the apex, the head put back to where it was.
        difference: Of apex less onset: blue darker, red brighter.
        full_grey: Grey levels that are drawn in full blue or red.
        flow: Of the flow in colours, with the wheel that is their key.
        full_flow: Displacement in full colour, hundredths of the distance between the eyes.
        arrows: Of the face at the onset with arrows.
        longer: How many times longer than the motion the arrows are.
        loop: Of the H.264 loop: as filmed, magnified, and the flow since the onset.
        factor: By which it is magnified.
        slower: How many times slower than life the loop runs.
    """

    onset: str
    apex: str
    difference: str
    full_grey: float
    flow: str
    full_flow: float
    arrows: str
    longer: float
    loop: str
    factor: float
    slower: float


def draw(seen: Closeup) -> Pictures:
    """Draws one movement."""
    own, head = split_flow(seen.faces, seen.onset, seen.apex, "tvl1", FACE)
    own = own * _oval()
    first = seen.faces[seen.onset]
    apex = _back(seen.faces[seen.apex], head)
    difference, full_grey = _difference(first, apex)
    flow, full_flow = _flow(own)
    arrows, longer = _arrows(first, own)
    factor = magnification(own)
    loop, slower = _loop(seen, factor, full_flow)
    return Pictures(
        onset=_jpeg(first),
        apex=_jpeg(apex),
        difference=_png(difference),
        full_grey=full_grey,
        flow=_png(flow),
        full_flow=full_flow,
        arrows=_jpeg(arrows),
        longer=longer,
        loop=loop,
        factor=factor,
        slower=slower,
    )


def _oval() -> Array:
    """1 on the face, 0 on hair and wall, ``(224, 224, 1)``: what moves there says nothing."""
    x, y = places(FACE, SIZE)
    inside = (x / OVAL[0]) ** 2 + ((y - OVAL[1]) / OVAL[2]) ** 2 < 1
    return inside[..., None].astype(np.float32)


def _back(face: Image, head: Array) -> Image:
    """A face with the motion of the head undone."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    source = x + head[..., 0], y + head[..., 1]
    moved = cv2.remap(face, *source, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def _difference(first: Image, apex: Image) -> tuple[Image, float]:
    """Brightness at the apex less that at the onset, from blue through white to red.

    A flicker of the light, which changes all of the face, is taken out by the median.
    """
    change = cv2.GaussianBlur(grey(apex).astype(np.float32) - grey(first), (0, 0), 1.0)
    change = (change - np.median(change)) * _oval()[..., 0]
    full = max(float(np.quantile(np.abs(change), 0.995)), LEAST_GREY)
    colours = colormaps["RdBu_r"](np.clip(change / full, -1, 1) / 2 + 0.5)[..., :3]
    return np.round(255 * colours).astype(np.uint8), full


def _flow(own: Array) -> tuple[Image, float]:
    """Flow in colours with the wheel in the corner, and the full colour in hundredths of IOD."""
    length = np.hypot(own[..., 0], own[..., 1])
    full = max(float(np.quantile(length, 0.995)), LEAST_FULL * pixels_per_iod())
    picture = flow_to_rgb(own[..., 0], own[..., 1], full)
    wheel, at = flow_wheel(WHEEL), SIZE - WHEEL - 4
    y, x = np.mgrid[-1 : 1 : WHEEL * 1j, -1 : 1 : WHEEL * 1j]
    disc = (np.hypot(x, y) <= 1)[..., None]
    corner = picture[at : at + WHEEL, at : at + WHEEL]
    picture[at : at + WHEEL, at : at + WHEEL] = np.where(disc, wheel, corner)
    middle = at + WHEEL // 2
    cv2.circle(picture, (middle, middle), WHEEL // 2 + 1, (60, 60, 60), 1, cv2.LINE_AA)
    return picture, 100 * full / pixels_per_iod()


def _arrows(first: Image, own: Array) -> tuple[Image, float]:
    """Arrows over the face where it moved most, and how many times too long they are drawn."""
    mean = cv2.GaussianBlur(own, (0, 0), EVERY / 3)
    length = np.hypot(mean[..., 0], mean[..., 1])
    longest = max(float(length.max()), 1e-6)
    longer = 1.6 * EVERY / longest
    shown = 2  # drawn at twice the size, so that thin lines stay clean
    picture = cv2.resize(first, None, fx=shown, fy=shown, interpolation=cv2.INTER_CUBIC)
    for y in range(EVERY // 2, SIZE, EVERY):
        for x in range(EVERY // 2, SIZE, EVERY):
            if length[y, x] >= SHOWN * longest:
                tip = np.array([x, y]) + longer * mean[y, x]
                ends = (shown * x, shown * y), tuple(np.round(shown * tip).astype(int).tolist())
                for colour, width in (((0, 0, 0), 4), ((255, 214, 0), 2)):
                    cv2.arrowedLine(picture, *ends, colour, width, cv2.LINE_AA, tipLength=0.35)
    return np.asarray(picture, np.uint8), longer


def _loop(seen: Closeup, factor: float, full_flow: float) -> tuple[str, float]:
    """As filmed, magnified, and the flow so far, side by side in slow motion; H.264.

    The faces are shown on an even clock, each as long as it was the nearest one.
    """
    larger, fields = magnified(seen, factor)
    fields = fields * _oval()
    colours = flow_to_rgb(fields[..., 0], fields[..., 1], full_flow / 100 * pixels_per_iod())
    panels = [seen.faces, larger, colours] if factor > 1 else [seen.faces, colours]
    beside = np.concatenate(panels, axis=2)
    lasted = float(seen.times[-1] - seen.times[0])
    slower = max(LOOP / lasted, 1.0)
    clock = np.linspace(seen.times[0], seen.times[-1], len(seen.times))
    nearest = np.abs(seen.times[None] - clock[:, None]).argmin(axis=1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "loop.mp4"
        write_video(path, beside[nearest], len(clock) / (slower * lasted), crf=23, repeatable=True)
        return _uri("video/mp4", path.read_bytes()), slower


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _jpeg(image: Image) -> str:
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert done
    return _uri("image/jpeg", data.tobytes())


def _png(image: Image) -> str:
    done, data = cv2.imencode(".png", image[..., ::-1])
    assert done
    return _uri("image/png", data.tobytes())
