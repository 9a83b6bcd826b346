from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.colors import rgb_to_hsv
from matplotlib.figure import Figure
from matplotlib.image import imread

from microexpr.drawing import (
    contact_sheet,
    draw_choices,
    draw_confusion,
    draw_scan_orders,
    flow_to_rgb,
    flow_wheel,
    save,
)


def _words(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize(
    ("u", "v", "colour"),
    [
        (1.0, 0.0, (255, 0, 0)),  # right: red
        (0.0, -1.0, (128, 255, 0)),  # up in the picture: yellow-green
        (-1.0, 0.0, (0, 255, 255)),  # left: cyan
        (0.0, 1.0, (128, 0, 255)),  # down: violet
        (0.0, 0.0, (255, 255, 255)),
        (0.5, 0.0, (255, 128, 128)),
        (7.0, 0.0, (255, 0, 0)),  # longer than the scale
    ],
)
def test_flow_colours(u: float, v: float, colour: tuple[int, int, int]) -> None:
    found = flow_to_rgb(np.array([[u]]), np.array([[v]]), scale=1.0)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found[0, 0].astype(int), colour, atol=1)


@settings(max_examples=30, deadline=None)
@given(
    flow=arrays(np.float32, (2, 3, 4), elements=st.floats(-9, 9, width=32)),
    factor=st.floats(0.1, 10),
)
def test_colours_are_relative_to_the_longest_vector(flow: np.ndarray, factor: float) -> None:
    if np.hypot(*flow).max() < 1e-3:
        return
    plain, scaled = flow_to_rgb(*flow), flow_to_rgb(*(flow * np.float32(factor)))
    assert abs(plain.astype(int) - scaled).max() <= 1
    assert plain.reshape(-1, 3).min(axis=0).min() <= 1  # the longest is in full colour


def test_no_motion_is_white_and_a_stack_is_drawn_alike() -> None:
    assert (flow_to_rgb(np.zeros((2, 2)), np.zeros((2, 2))) == 255).all()
    u, v = np.random.default_rng(0).normal(size=(2, 5, 4, 4))
    np.testing.assert_array_equal(flow_to_rgb(u, v, 2.0)[3], flow_to_rgb(u[3], v[3], 2.0))


def test_the_wheel_is_its_own_key() -> None:
    wheel = flow_wheel(41)
    np.testing.assert_array_equal(wheel[20, 40], (255, 0, 0))
    np.testing.assert_array_equal(wheel[20, 20], (255, 255, 255))
    np.testing.assert_array_equal(wheel[0, 0], (255, 255, 255))
    hue = rgb_to_hsv(wheel / 255.0)[..., 0]
    assert hue[5, 20] == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_flow_refuses_bad_scales_and_shapes(scale: float) -> None:
    with pytest.raises(ValueError, match="scale must be positive"):
        flow_to_rgb(np.zeros((2, 2)), np.zeros((2, 2)), scale)
    with pytest.raises(ValueError, match="differ in shape"):
        flow_to_rgb(np.zeros((2, 2)), np.zeros((2, 3)))


def test_contact_sheet_holds_the_pictures_in_place() -> None:
    rng = np.random.default_rng(0)
    colour, grey = rng.integers(0, 255, (16, 16, 3), np.uint8), np.full((16, 16), 9, np.uint8)
    figure = contact_sheet([[colour, grey], [grey]], ["first", "second"], ["a", "b"], "title")
    (axes,) = figure.axes
    sheet = np.asarray(axes.images[0].get_array())
    np.testing.assert_array_equal(sheet[:16, :16], colour)
    assert (sheet[:16, 17:] == 9).all()
    assert (sheet[17:, :16] == 9).all()
    assert (sheet[17:, 17:] == 255).all()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]


def test_contact_sheet_refuses_pictures_of_two_sizes() -> None:
    small, large = np.zeros((4, 4), np.uint8), np.zeros((5, 4), np.uint8)
    for rows, labels in (([[small, large]], ["a"]), ([[small]], ["a", "b"]), ([], [])):
        with pytest.raises(ValueError, match="pictures of one size"):
            contact_sheet(rows, labels)


@pytest.mark.parametrize("classes", [3, 7])
def test_confusion_shows_every_count_and_its_part(classes: int) -> None:
    matrix = np.random.default_rng(0).integers(1, 50, (classes, classes))
    matrix[0] = 0
    labels = [f"class {i}" for i in range(classes)]
    figure = draw_confusion(matrix, labels, "title", "UF1 .750")
    words = _words(figure)
    assert words[::2] == [str(count) for count in matrix.ravel().tolist()]
    part = matrix[1, 2] / matrix[1].sum()
    assert words[2 * (classes + 2) + 1] == f"{part:.0%}"
    assert words[1] == "0%"
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == labels
    assert axes.get_title() == "title"
    assert "UF1 .750" in axes.get_xlabel()


def test_scan_orders_are_drawn_step_by_step() -> None:
    grid = np.arange(12).reshape(3, 4)
    zigzag = grid.copy()
    zigzag[1] = zigzag[1, ::-1]
    orders = {
        "horizontal_raster": (3, 4, grid.ravel().tolist()),
        "horizontal_zigzag": (3, 4, zigzag.ravel().tolist()),
    }
    figure = draw_scan_orders(orders)
    raster, snake = figure.axes
    assert raster.get_title() == "(a) horizontal raster"
    assert snake.get_title() == "(b) horizontal zigzag"
    for axes, (_, _, order) in zip(figure.axes, orders.values(), strict=True):
        steps = [(text.xyann, text.xy) for text in axes.texts]
        places = [(t % 4, t // 4) for t in order]
        assert steps == list(pairwise(places))
    dashed = [[t.arrow_patch.get_linestyle() != "-" for t in axes.texts] for axes in figure.axes]
    assert sum(dashed[0]) == 2
    assert sum(dashed[1]) == 0


def test_scan_orders_must_visit_each_token_once() -> None:
    with pytest.raises(ValueError, match="'a' does not visit each of 2 x 2 tokens once"):
        draw_scan_orders({"a": (2, 2, [0, 1, 2, 2])})
    with pytest.raises(ValueError, match="no scan order"):
        draw_scan_orders({})


def test_choices_are_dots_that_grow_with_agreement() -> None:
    figure = draw_choices({"1.1": [0.1, 0.1, 0.8], "2.1": [0.5, 0.5, 0.5]}, [4.0, 2.0, 3.0])
    ratios, factors = figure.axes
    first, second = ratios.collections
    np.testing.assert_allclose(first.get_offsets(), [[0, 0.1], [0, 0.8]])
    assert first.get_sizes()[0] == 2 * first.get_sizes()[1]
    np.testing.assert_allclose(second.get_offsets(), [[1, 0.5]])
    np.testing.assert_allclose(ratios.lines[0].get_ydata(), [1 / 3, 0.5])
    assert [t.get_text() for t in ratios.get_xticklabels()] == ["1.1", "2.1"]
    np.testing.assert_allclose(factors.lines[0].get_ydata(), [3.0])
    assert len(draw_choices({}, [2.0]).axes) == len(draw_choices({"1.1": [0.3]}, []).axes) == 1
    with pytest.raises(ValueError, match="nothing was searched"):
        draw_choices({}, [])


def test_pictures_are_saved_whole(tmp_path: Path) -> None:
    figure = draw_choices({}, [2.0])
    for name in ("a.png", "b.png", "c.svg"):
        save(figure, tmp_path / "new" / name)
    assert (tmp_path / "new" / "a.png").read_bytes() == (tmp_path / "new" / "b.png").read_bytes()
    picture = np.random.default_rng(0).integers(0, 255, (6, 5, 3), np.uint8)
    save(picture, tmp_path / "new" / "d.png")
    read = np.round(imread(tmp_path / "new" / "d.png")[..., :3] * 255)
    np.testing.assert_array_equal(read, picture)
    assert sorted(f.name for f in (tmp_path / "new").iterdir()) == [
        "a.png",
        "b.png",
        "c.svg",
        "d.png",
    ]


def test_drawing_leaves_pyplot_alone() -> None:
    code = "import sys, microexpr.drawing; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("label", ["casme2/sub01/EP02_02f\ndisgust", "samm_lv/037/037_4_1_macro"])
@pytest.mark.parametrize("rows", [1, 8])
def test_no_label_of_a_contact_sheet_is_cut_off(label: str, rows: int) -> None:
    picture = np.zeros((224, 224, 3), np.uint8)
    figure = contact_sheet([[picture] * 3] * rows, [label] * rows, ("a", "b", "c"), "title", 1.3)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    left = min(text.get_window_extent().x0 for text in axes.get_yticklabels())
    assert 0 <= left < axes.get_window_extent().x0
