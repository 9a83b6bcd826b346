"""Pictures: flow colours, contact sheets, confusion matrices, scan orders.

Each function gives a matplotlib `Figure` or an RGB array and touches no global state (no pyplot);
`save` writes it. Colours are safe for colour-blind readers: one hue from light to dark for counts,
viridis for time, blue and vermilion of Okabe and Ito (2008) for points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from microexpr.files import replacing

Rgb = NDArray[np.uint8]

INK, GREY = "#222222", "#8a8a8a"
BLUE, VERMILION = "#0072B2", "#D55E00"


def flow_to_rgb(
    u: NDArray[np.floating[Any]], v: NDArray[np.floating[Any]], scale: float | None = None
) -> Rgb:
    """Flow as colours: hue is the direction, saturation the length; no motion is white.

    Right is red, up yellow-green, left cyan, down violet (`flow_wheel` is the key). Vectors
    longer than `scale` are drawn as `scale`.

    Args:
        u: Horizontal flow ``(..., h, w)``, positive to the right.
        v: Vertical flow, same shape, positive downwards.
        scale: Length drawn in full colour, in the flow's unit; None: the longest vector here.

    Returns:
        Uint8 ``(..., h, w, 3)``.

    Raises:
        ValueError: Different shapes, or a scale that is not positive.
    """
    if u.shape != v.shape:
        raise ValueError(f"u {u.shape} and v {v.shape} differ in shape")
    if scale is not None and not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}")
    length = np.hypot(u, v).astype(np.float64)
    full = scale if scale is not None else float(length.max(initial=0.0)) or 1.0
    hue = np.arctan2(-v, u) / (2 * np.pi) % 1.0
    hsv = np.stack([hue, np.minimum(length / full, 1.0), np.ones_like(length)], axis=-1)
    rgb: Rgb = np.round(255 * hsv_to_rgb(hsv)).astype(np.uint8)
    return rgb


def flow_wheel(size: int = 65) -> Rgb:
    """The key to `flow_to_rgb`: a disc on which each point has the colour of its own vector.

    Returns:
        Uint8 ``(size, size, 3)``, white outside the disc.
    """
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    inside = np.hypot(x, y) <= 1
    return flow_to_rgb(np.where(inside, x, 0.0), np.where(inside, y, 0.0), scale=1.0)


def contact_sheet(
    rows: Sequence[Sequence[NDArray[np.uint8]]],
    labels: Sequence[str],
    columns: Sequence[str] = (),
    title: str = "",
    side: float = 1.0,
) -> Figure:
    """Small pictures in a grid, a label before each row and, if given, a name above each column.

    Args:
        rows: Pictures of one size, ``(h, w)`` or ``(h, w, 3)`` uint8; rows may differ in length.
        labels: One per row.
        columns: Names of the columns; none by default.
        title: Above the sheet.
        side: Width of one picture in inches.

    Raises:
        ValueError: No picture, sizes that differ, or another number of labels than of rows.
    """
    shapes = {picture.shape[:2] for row in rows for picture in row}
    if len(shapes) != 1 or len(labels) != len(rows):
        raise ValueError(f"need pictures of one size and a label per row, got {sorted(shapes)}")
    ((height, width),) = shapes
    gap = max(1, width // 16)
    across = max(len(row) for row in rows)
    sheet = np.full(
        (len(rows) * (height + gap) - gap, across * (width + gap) - gap, 3), 255, np.uint8
    )
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            top, left = i * (height + gap), j * (width + gap)
            sheet[top : top + height, left : left + width] = (
                picture if picture.ndim == 3 else picture[..., None]
            )
    longest = max((len(line) for label in labels for line in label.splitlines()), default=0)
    figure = blank(
        across * side + 0.09 * longest + 0.3,
        len(rows) * side * height / width + 0.35 * bool(title) + 0.3 * bool(columns) + 0.2,
    )
    figure.set_layout_engine("compressed", w_pad=0.1, h_pad=0.1)  # else long labels are cut off
    axes = figure.add_subplot()
    axes.imshow(sheet, interpolation="nearest")
    axes.set_yticks(np.arange(len(rows)) * (height + gap) + (height - 1) / 2, labels)
    axes.set_xticks(np.arange(len(columns)) * (width + gap) + (width - 1) / 2, columns)
    axes.xaxis.tick_top()
    bare(axes, size=9)
    if title:
        axes.set_title(title, fontsize=11, color=INK, loc="left")
    return figure


def draw_confusion(
    matrix: NDArray[np.int64], labels: Sequence[str], title: str = "", caption: str = ""
) -> Figure:
    """A confusion matrix: counts in figures, the part of each true class in colour.

    Args:
        matrix: Int ``(classes, classes)``, rows = true.
        labels: Class names.
        title: Above.
        caption: Below, for the scores.
    """
    classes = len(labels)
    part = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    room = 0.085 * max(map(len, labels))
    side = 0.82 * classes + 0.6
    figure = blank(side + room + 0.5, side + (0.5 if classes <= 4 else room) + 0.6)
    axes = figure.add_subplot()
    axes.imshow(part, cmap="Blues", vmin=0, vmax=1)
    for i in range(classes):
        for j in range(classes):
            colour = "white" if part[i, j] > 0.55 else INK
            axes.text(
                j, i - 0.08, f"{matrix[i, j]}", ha="center", va="center", color=colour, fontsize=13
            )
            axes.text(
                j, i + 0.24, f"{part[i, j]:.0%}", ha="center", va="center", color=colour, fontsize=8
            )
    turned: dict[str, Any] = (
        {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if classes > 4 else {}
    )
    axes.set_xticks(range(classes), labels, **turned)
    axes.set_yticks(range(classes), labels)
    axes.set_xticks(np.arange(classes - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(classes - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.set_xlabel(f"predicted\n\n{caption}" if caption else "predicted", fontsize=10, color=INK)
    axes.set_ylabel("true", fontsize=10, color=INK)
    axes.set_title(title, fontsize=11, color=INK, pad=10)
    bare(axes, size=10)
    return figure


def draw_scan_orders(orders: Mapping[str, tuple[int, int, Sequence[int]]]) -> Figure:
    """Each scan order as a path of arrows over its grid (Figure 2 of MERba).

    The colour runs from dark (first token) to light (last); steps to a token that is no neighbour
    are dashed. A ring marks the start, a square the end.

    Args:
        orders: ``name -> (height, width, permutation)``; the t-th token visited is
            ``permutation[t]``, numbered row by row.

    Raises:
        ValueError: No order, or one that does not visit each token once.
    """
    if not orders:
        raise ValueError("no scan order to draw")
    across = min(4, len(orders))
    down = -(-len(orders) // across)
    figure = blank(2.5 * across, 2.75 * down)
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes in grid[len(orders) :]:
        axes.set_axis_off()
    for k, (name, (height, width, permutation)) in enumerate(orders.items()):
        order = np.asarray(permutation, dtype=np.int64)
        if sorted(order.tolist()) != list(range(height * width)):
            raise ValueError(f"'{name}' does not visit each of {height} x {width} tokens once")
        letter = f"({chr(ord('a') + k)}) " if len(orders) <= 26 else ""
        grid[k].set_title(letter + name.replace("_", " "), fontsize=10.5, color=INK, pad=6)
        _draw_path(grid[k], order // width, order % width, height, width)
    return figure


def _draw_path(
    axes: Any, rows: NDArray[np.int64], columns: NDArray[np.int64], height: int, width: int
) -> None:
    for i in range(height):
        for j in range(width):
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, ec="#dddddd"))
    colours = colormaps["viridis"](np.linspace(0.0, 0.85, max(len(rows) - 1, 1)))
    for t in range(len(rows) - 1):
        start, end = (columns[t], rows[t]), (columns[t + 1], rows[t + 1])
        jump = abs(end[0] - start[0]) + abs(end[1] - start[1]) > 1
        style = {
            "arrowstyle": "-|>" if not jump else "->",
            "color": colours[t],
            "lw": 0.8 if jump else 1.6,
            "alpha": 0.55 if jump else 1.0,
            "linestyle": (0, (3, 2)) if jump else "-",
            "shrinkA": 0,
            "shrinkB": 1,
            "mutation_scale": 7,
        }
        axes.annotate("", xy=end, xytext=start, arrowprops=style)
    axes.plot(columns[0], rows[0], "o", ms=8, mfc="white", mec=VERMILION, mew=2, zorder=5)
    axes.plot(columns[-1], rows[-1], "s", ms=7, color=VERMILION, zorder=5)
    axes.set_xlim(-0.6, width - 0.4)
    axes.set_ylim(height - 0.4, -0.6)
    axes.set_aspect("equal")
    axes.set_axis_off()


def draw_choices(ratios: Mapping[str, Sequence[float]], factors: Sequence[float]) -> Figure:
    """What searches chose: sparsity ratios and magnification factor (Figure 4 of AMMSM).

    A dot for each search, larger where several agree; a line through the means.

    Args:
        ratios: ``stage.pair -> one ratio a search``; empty: none were searched.
        factors: One magnification factor a search; empty: none were searched.

    Raises:
        ValueError: Neither is given.
    """
    if not ratios and not factors:
        raise ValueError("nothing was searched")
    sizes = [max(1, len(ratios))] * bool(ratios) + [2] * bool(factors)
    figure = blank(1.6 + 0.55 * sum(sizes), 3.6)
    grid = figure.subplots(1, len(sizes), squeeze=False, width_ratios=sizes).ravel()
    if ratios:
        _draw_dots(grid[0], list(ratios.values()), BLUE)
        grid[0].set_xticks(range(len(ratios)), list(ratios))
        grid[0].set_xlabel("stage.pair of blocks", fontsize=10, color=INK)
        grid[0].set_ylabel("sparsity ratio", fontsize=10, color=INK)
        grid[0].set_ylim(0, 0.9)
    if factors:
        _draw_dots(grid[-1], [factors], VERMILION)
        grid[-1].set_xticks([])
        grid[-1].set_ylabel("magnification factor", fontsize=10, color=INK)
        grid[-1].set_ylim(0.8, 4.2)
    return figure


def _draw_dots(axes: Any, columns: Sequence[Sequence[float]], colour: str) -> None:
    for x, values in enumerate(columns):
        heights, counts = np.unique(np.asarray(values), return_counts=True)
        axes.scatter([x] * len(heights), heights, s=36 * counts, color=colour, alpha=0.6, lw=0)
    means = [float(np.mean(values)) for values in columns]
    axes.plot(range(len(means)), means, color=colour, lw=1.2, marker="_", ms=14)
    axes.set_xlim(-0.6, len(columns) - 0.4)
    axes.grid(axis="y", color="#e6e6e6", lw=0.8)
    axes.set_axisbelow(True)
    bare(axes, size=9.5)


def save(picture: Figure | Rgb, path: Path, dpi: int = 150) -> None:
    """Writes a figure or an RGB array, whole or not at all; the suffix decides the format.

    Args:
        picture: Figure, or uint8 ``(h, w, 3)``.
        path: ``.png``, or for a figure also ``.svg`` and ``.pdf``.
        dpi: Dots per inch of a figure; an array is written pixel by pixel.
    """
    with replacing(path) as temporary:
        if isinstance(picture, Figure):
            picture.savefig(temporary, dpi=dpi, facecolor="white")
        else:
            image.imsave(temporary, np.ascontiguousarray(picture))


def blank(width: float, height: float) -> Figure:
    """An empty figure on the Agg canvas, in inches; its parts will keep out of each other's way."""
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    FigureCanvasAgg(figure)
    return figure


def bare(axes: Any, size: float) -> None:
    """Takes frame and tick marks away; what is left are the words."""
    axes.tick_params(which="both", length=0, labelsize=size, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
