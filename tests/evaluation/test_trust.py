"""The numbers of a model card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microexpr.evaluation.predictions import Predictions
from microexpr.evaluation.tables import Run
from microexpr.evaluation.trust import (
    Look,
    add_look,
    card_to_markdown,
    looks_to_markdown,
    read_looks,
    trust,
)


@pytest.fixture
def rows(hand_made: Callable[..., Predictions]) -> Predictions:
    """Three of SMIC, right at .8; one of SAMM, wrong at .6."""
    found = hand_made(
        [("smic/s1/a", 0, 0), ("smic/s1/b", 1, 1), ("smic/s2/a", 2, 2), ("samm/006/a", 0, 1)]
    )
    probabilities = found.probabilities.copy()
    probabilities[3] = [0.2, 0.6, 0.2]
    return replace(found, probabilities=probabilities)


def test_trust_of_all_and_of_each_data_set(rows: Predictions) -> None:
    both, samm, smic = trust(rows, 0.7)
    assert [part.name for part in (both, samm, smic)] == ["combined", "samm", "smic"]
    assert [part.clips for part in (both, samm, smic)] == [4, 1, 3]
    assert both.error == pytest.approx(0.75 * 0.2 + 0.25 * 0.6)
    assert (both.named, both.right, both.all_right) == (0.75, 1.0, 0.75)
    assert both.area == pytest.approx((0 + 0 + 0 + 1 / 4) / 4)
    assert smic.log_loss == pytest.approx(-np.log(0.8))
    assert smic.brier == pytest.approx(0.2**2 + 2 * 0.1**2)
    assert samm.named == 0
    assert np.isnan(samm.right)


def test_the_tables_of_a_card(rows: Predictions) -> None:
    text = card_to_markdown(Run("x", rows, {}, {}), 0.7)
    assert "| combined | 4 | 3 |" in text
    assert "| named at 0.70 |" in text
    assert "| samm | .600 | .600 |" in text
    assert "| 0 % | – | 0 % |" in text


def test_a_look_is_listed_once_and_looks_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "looks.csv"
    assert read_looks(path) == []
    first, second = Look(3, "a, b", "", "", "flow442"), Look(1, "c", "123456789abc", "", "flow442")
    for look in (first, second, first):
        add_look(path, look)
    assert read_looks(path) == [first, second]
    text = looks_to_markdown(read_looks(path))
    assert "| a, b | flow442 | 3 |  |" in text
    assert "`123456789abc`" in text
    assert "4 in all." in text
