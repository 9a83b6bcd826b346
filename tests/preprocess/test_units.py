"""Action units suggested from the displacement of regions."""

from __future__ import annotations

import numpy as np
import pytest

from microexpr.anatomy import EXPRESSIVE, activations, displacement
from microexpr.preprocess.motion import REGIONS, SPREAD
from microexpr.preprocess.units import (
    MOST,
    UNIT_NAMES,
    most_active,
    region_name,
    suggest_units,
    unit_shifts,
)
from microexpr.template import INDEX, template


def test_shifts_are_the_window_means_of_the_field() -> None:
    """The closed form against a sum over a fine grid."""
    size, reach = 400, 4.0  # pixels over a square of that many IOD around the face
    scale = size / reach
    origin = np.array([-2.0, -1.6])
    points = (template() - origin) * scale
    activation = activations({"12": (0.5, 1.0), "4": 1.0})
    field = displacement(points.astype(np.float32), activation, size, size) / scale
    y, x = (np.mgrid[:size, :size] + 0.5) / scale
    sides = {"left": 0, "middle": 0, "right": 1}
    for region, found in zip(REGIONS, unit_shifts(activation), strict=True):
        at = template()[INDEX[region.landmark], sides[region.side]] - origin
        weight = np.exp(-0.5 * ((x - at[0]) ** 2 + (y - at[1]) ** 2) / SPREAD**2)
        mean = (field * weight).sum(axis=(1, 2)) / weight.sum()
        np.testing.assert_allclose(found, mean, atol=2e-5)


@pytest.mark.parametrize("unit", EXPRESSIVE)
def test_a_unit_alone_is_recognised(unit: str) -> None:
    first = suggest_units(unit_shifts(activations({unit: 0.7})))[0]
    assert (first.unit, first.side) == (unit, "both")
    assert first.strength == pytest.approx(0.7, abs=1e-3)
    assert first.explains == pytest.approx(1, abs=1e-3)


def test_one_side_and_two_units_in_noise() -> None:
    shift = unit_shifts(activations({"14": (0.0, 1.0)}))
    assert (suggest_units(shift)[0].unit, suggest_units(shift)[0].side) == ("14", "right")
    both = unit_shifts(activations({"1": 0.8, "26": 0.6}))
    noisy = both + np.random.default_rng(0).normal(0, 5e-4, both.shape)
    assert {s.unit for s in suggest_units(noisy)} == {"1", "26"}


def test_nothing_is_suggested_for_rest_or_for_motion_of_no_unit() -> None:
    assert suggest_units(np.zeros((len(REGIONS), 2))) == []
    scattered = np.random.default_rng(1).normal(0, 0.01, (len(REGIONS), 2))
    suggested = suggest_units(scattered)
    assert len(suggested) <= MOST
    assert sum(s.explains for s in suggested) < 0.6


def test_most_active_regions_come_first_and_have_names() -> None:
    shift = np.zeros((len(REGIONS), 2))
    shift[3], shift[7] = (0.0, 0.02), (0.01, 0.0)
    assert most_active(shift) == [3, 7]
    assert len({region_name(region) for region in REGIONS}) == len(REGIONS)
    assert set(EXPRESSIVE) <= set(UNIT_NAMES)
