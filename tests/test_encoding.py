"""Units, sizes and representations of flow, each against a slow and obvious twin."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from microexpr.encoding import (
    encode,
    interpolation,
    minmax8,
    optical_strain,
    resample,
    robust,
    scale_ratio,
)
from microexpr.errors import UserError
from microexpr.inputs import Input

Array = NDArray[np.float32]
PIXELS = Input(("u", "v"), 28, "tvl1", "none")
STRETCHED = Input(("u", "v", "strain"), 28, "tvl1", "minmax8")


def smooth(seed: int, count: int = 3, size: int = 28) -> Array:
    """Smooth flow fields ``(count, 2, size, size)`` in pixels."""
    random = np.random.default_rng(seed)
    noise = random.standard_normal((count, 2, 6, 6)).astype(np.float32)
    return resample(noise, size) * 1.5


def strain_by_loops(u: Array, v: Array) -> NDArray[np.float64]:
    """Optical strain, pixel by pixel in float64."""
    rows, columns = u.shape
    strain = np.zeros((rows, columns))

    def slope(plane: Array, r: int, c: int, dr: int, dc: int) -> float:
        r0, r1 = max(r - dr, 0), min(r + dr, rows - 1)
        c0, c1 = max(c - dc, 0), min(c + dc, columns - 1)
        return (float(plane[r1, c1]) - float(plane[r0, c0])) / (r1 - r0 + c1 - c0)

    for r in range(rows):
        for c in range(columns):
            shear = slope(u, r, c, 1, 0) + slope(v, r, c, 0, 1)
            square = slope(u, r, c, 0, 1) ** 2 + slope(v, r, c, 1, 0) ** 2 + shear**2 / 2
            strain[r, c] = square**0.5
    return strain


def test_strain_equals_the_loops() -> None:
    u, v = smooth(0)[0]
    np.testing.assert_allclose(optical_strain(u, v), strain_by_loops(u, v), atol=1e-5)


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.1, 10))
def test_strain_ignores_translation_and_grows_with_the_flow(
    right: float, down: float, factor: float
) -> None:
    u, v = smooth(1)[0]
    strain = optical_strain(u, v)
    np.testing.assert_allclose(optical_strain(u + right, v + down), strain, atol=1e-5)
    np.testing.assert_allclose(optical_strain(u * factor, v * factor), strain * factor, rtol=1e-3)


def test_rotation_has_no_strain_and_a_line_of_pixels_neither() -> None:
    y, x = np.mgrid[:9, :9].astype(np.float32)
    assert optical_strain(-0.1 * y, 0.1 * x).max() < 1e-6
    assert optical_strain(np.ones((1, 5)), np.ones((1, 5))).max() == 0


def test_minmax8_equals_opencv() -> None:
    planes = smooth(2)[:, 0]
    for plane, stretched in zip(planes, minmax8(planes), strict=True):
        twin = cv2.normalize(plane, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)  # type: ignore[call-overload]
        assert np.abs(stretched - twin.astype(np.float32)).max() <= 1  # ties round either way
        assert (stretched == twin).mean() > 0.99


@given(arrays(np.float32, (2, 5, 5), elements=st.floats(-100, 100, width=32)))
def test_minmax8_gives_whole_numbers_that_keep_the_order(planes: Array) -> None:
    stretched = minmax8(planes)
    assert (stretched == np.rint(stretched)).all()
    assert stretched.min() >= 0
    assert stretched.max() <= 255
    for plane, out in zip(planes, stretched, strict=True):
        if plane.min() == plane.max():
            assert (out == 0).all()
        else:
            assert (out.min(), out.max()) == (0, 255)
            order = np.argsort(plane, axis=None)
            assert (np.diff(out.ravel()[order]) >= 0).all()


def test_robust_by_hand() -> None:
    u, v = smooth(3)[0]
    a, b = u - np.median(u), v - np.median(v)
    mean = np.sqrt(a**2 + b**2).mean()
    got = robust(u, v)
    np.testing.assert_allclose(got[0], a / mean, atol=1e-5)
    np.testing.assert_allclose(got[1], b / mean, atol=1e-5)


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(0.1, 50))
@settings(max_examples=30)
def test_robust_forgets_drift_and_scale(right: float, down: float, factor: float) -> None:
    u, v = smooth(4)[0]
    u2, v2 = robust(u * factor + right, v * factor + down)
    np.testing.assert_allclose(u2, robust(u, v)[0], atol=2e-3)
    np.testing.assert_allclose(v2, robust(u, v)[1], atol=2e-3)


def test_no_motion_is_zero_everywhere() -> None:
    still = np.full((2, 28, 28), 3.0, np.float32)
    for normalisation in ("robust", "relative", "minmax8"):
        wants = Input(("u", "v", "m", "strain"), 28, "tvl1", normalisation)
        assert not encode(still, PIXELS, wants).any()


@pytest.mark.parametrize("ratio", [0.25, 0.8, 1.0, 2.5, 6.0])
def test_scale_ratio_is_found_again(ratio: float) -> None:
    u, v = smooth(5, 8).swapaxes(0, 1)
    strain = optical_strain(u, v)
    found = scale_ratio(u, v / np.float32(ratio), strain)
    np.testing.assert_allclose(found, ratio, rtol=0.03)


def test_scale_ratio_equals_a_slow_search() -> None:
    u, v = smooth(6, 4).swapaxes(0, 1)
    random = np.random.default_rng(0)
    strain = optical_strain(u, 1.7 * v) + 0.05 * random.random(u.shape)
    grid = np.exp(np.linspace(-2.5, 2.5, 2001))
    for i, found in enumerate(scale_ratio(u, v, strain)):
        scores = [
            np.corrcoef(optical_strain(u[i], r * v[i]).ravel(), strain[i].ravel())[0, 1]
            for r in grid
        ]
        assert found == pytest.approx(grid[int(np.argmax(scores))], rel=0.02)


def test_scale_ratio_of_a_plane_without_motion_is_one() -> None:
    u, v = smooth(7)[0]
    zero = np.zeros_like(u)
    strain = optical_strain(u, v)
    assert scale_ratio(zero, v, strain) == 1
    assert scale_ratio(u, zero, strain) == 1
    assert scale_ratio(u, v, zero) == 1
    assert scale_ratio(u, v, strain).shape == ()


@pytest.mark.parametrize(("old", "new"), [(56, 28), (28, 12), (9, 4), (5, 1)])
def test_shrinking_takes_the_mean_over_each_area(old: int, new: int) -> None:
    plane = np.random.default_rng(0).random((old, old)).astype(np.float32)
    fine = np.kron(plane, np.ones((new, new), np.float32))  # every old pixel in new^2 pieces
    twin = fine.reshape(new, old, new, old).mean(axis=(1, 3))
    np.testing.assert_allclose(resample(plane, new), twin, atol=1e-5)


@pytest.mark.parametrize(("old", "new"), [(28, 56), (10, 31), (7, 7), (1, 4)])
def test_growing_equals_opencv_linear(old: int, new: int) -> None:
    plane = np.random.default_rng(1).random((old, old)).astype(np.float32)
    twin = cv2.resize(plane, (new, new), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(resample(plane, new), twin, atol=1e-5)


@given(st.integers(1, 40), st.integers(1, 40))
def test_resampling_keeps_a_constant_and_the_mean_where_it_shrinks(old: int, new: int) -> None:
    plane = np.random.default_rng(2).random((old, old)).astype(np.float32)
    np.testing.assert_allclose(resample(np.ones_like(plane), new), 1, atol=1e-5)
    if new <= old:
        assert resample(plane, new).mean() == pytest.approx(plane.mean(), abs=1e-5)


def test_interpolation_equals_numpy() -> None:
    line = np.random.default_rng(3).random(9)
    position = np.linspace(-2, 11, 40)
    twin = np.interp(position, np.arange(9), line)
    np.testing.assert_allclose(interpolation(position, 9) @ line, twin, atol=1e-6)


def test_pixels_to_pixels_scales_the_vectors_with_the_picture() -> None:
    flow = smooth(8, size=56)
    has = Input(("u", "v"), 56, "tvl1", "none")
    small = encode(flow, has, Input(("v", "u", "m", "strain"), 28, "tvl1", "none"))
    u, v = resample(flow, 28).swapaxes(0, 1) / 2
    np.testing.assert_allclose(small[:, 0], v, atol=1e-6)
    np.testing.assert_allclose(small[:, 1], u, atol=1e-6)
    np.testing.assert_allclose(small[:, 2], np.hypot(u, v), atol=1e-6)
    np.testing.assert_allclose(small[:, 3], optical_strain(u, v), atol=1e-6)


def test_relative_is_tanh_of_half_of_robust() -> None:
    flow = smooth(9)
    channels = ("u", "v", "m", "strain")
    r = encode(flow, PIXELS, Input(channels, 28, "tvl1", "robust"))
    t = encode(flow, PIXELS, Input(channels, 28, "tvl1", "relative"))
    np.testing.assert_allclose(t, np.tanh(r / 2), atol=1e-6)
    assert r[:, 2].mean(axis=(1, 2)) == pytest.approx(1, abs=1e-5)
    again = encode(t, Input(channels, 28, "tvl1", "relative"), Input(("u", "v"), 28))
    np.testing.assert_allclose(again, r[:, :2], atol=1e-3)


def test_stretched_flow_keeps_all_but_its_scale() -> None:
    flow = smooth(10, 6)
    wants = Input(("u", "v", "m"), 28, "tvl1", "relative")
    direct = encode(flow, PIXELS, wants)
    stretched = encode(flow, PIXELS, STRETCHED)
    recovered = encode(stretched, STRETCHED, wants)
    assert np.abs(direct - recovered).mean() < 0.02
    assert np.abs(direct - recovered).max() < 0.15


def test_stretched_planes_pass_through_as_they_are() -> None:
    planes = encode(smooth(11), PIXELS, STRETCHED)
    assert np.array_equal(encode(planes, STRETCHED, STRETCHED), planes)
    swapped = encode(planes, STRETCHED, Input(("strain", "v"), 28, "tvl1", "minmax8"))
    assert np.array_equal(swapped, planes[:, [2, 1]])
    small = encode(planes, STRETCHED, Input(("u", "strain"), 14, "tvl1", "minmax8"))
    assert np.array_equal(small, minmax8(resample(planes[:, [0, 2]], 14)))


def test_mirroring_before_or_after_encoding_is_the_same() -> None:
    flow = smooth(12)
    mirrored = flow[..., ::-1] * np.array([-1, 1], np.float32)[:, None, None]
    for normalisation in ("none", "robust", "relative"):
        wants = Input(("u", "v", "m", "strain"), 28, "tvl1", normalisation)
        sign = np.array([-1, 1, 1, 1], np.float32)[:, None, None]
        np.testing.assert_allclose(
            encode(mirrored, PIXELS, wants),
            encode(flow, PIXELS, wants)[..., ::-1] * sign,
            atol=1e-5,
        )
    before = encode(mirrored, PIXELS, STRETCHED)
    after = encode(flow, PIXELS, STRETCHED)[..., ::-1].copy()
    after[:, 0] = 255 - after[:, 0]
    assert np.abs(before - after).max() <= 1  # a tie may round either way


def test_one_clip_equals_its_row_in_a_batch() -> None:
    flow = smooth(13, 5)
    for has, planes in ((PIXELS, flow), (STRETCHED, encode(flow, PIXELS, STRETCHED))):
        wants = Input(("u", "m", "strain"), 20, "tvl1", "relative")
        assert np.array_equal(encode(planes, has, wants)[3], encode(planes[3], has, wants))


def test_no_clips_give_no_planes() -> None:
    wants = Input(("u", "m"), 14, "tvl1", "relative")
    for has in (PIXELS, STRETCHED):
        assert encode(np.zeros((0, len(has.channels), 28, 28)), has, wants).shape == (0, 2, 14, 14)


def test_the_onset_frame_passes_through() -> None:
    planes = np.concatenate([smooth(14), np.full((3, 1, 28, 28), 100, np.float32)], axis=1)
    has = Input(("u", "v", "onset_r"), 28, "tvl1", "none")
    got = encode(planes, has, Input(("onset_r", "u"), 14, "tvl1", "robust"))
    assert (got[:, 0] == 100).all()
    assert got.dtype == np.float32


@pytest.mark.parametrize(
    ("has", "wants", "says"),
    [
        (STRETCHED, Input(("u", "v"), 28, "tvl1", "none"), "flow in pixels cannot be had"),
        (STRETCHED, Input(("u", "m"), 28, "tvl1", "minmax8"), "m cannot be had as minmax8"),
        (PIXELS, Input(("u", "onset_r"), 28, "tvl1", "none"), "no onset_r here"),
        (PIXELS, Input(("u", "v"), 28, "dis", "none"), "dis with 1 cannot be made"),
        (PIXELS, Input(("u", "v"), 28, "tvl1", "none", frames=3), "with 3 cannot be made"),
        (
            Input(("u", "v"), 28, "tvl1", "robust"),
            Input(("u", "v"), 28, "tvl1", "none"),
            "flow in pixels cannot be had",
        ),
        (
            Input(("u", "v"), 28, "tvl1", "minmax8"),
            Input(("u", "v"), 28, "tvl1", "relative"),
            "need strain",
        ),
        (Input(("u",), 28, "tvl1", "none"), Input(("m",), 28, "tvl1", "none"), "need v"),
    ],
)
def test_what_cannot_be_had_is_refused(has: Input, wants: Input, says: str) -> None:
    planes = np.zeros((len(has.channels), has.size, has.size), np.float32)
    with pytest.raises(UserError, match=says):
        encode(planes, has, wants)


def test_planes_of_another_shape_are_refused() -> None:
    with pytest.raises(UserError, match="expected planes of shape"):
        encode(np.zeros((3, 28, 28), np.float32), PIXELS, PIXELS)
