"""The timeline and the words of the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microexpr.analysis import Analysis, analyze
from microexpr.analysis.reading import Reading
from microexpr.app.movement import _read_units
from microexpr.app.page import model_words, page, summary
from microexpr.app.timeline import BINS, _thinned, _ticks, timeline
from microexpr.errors import UserError
from microexpr.training.default import ModelCard
from microexpr.videowriter import write_video


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    """The analysis of a video without a face."""
    path = tmp_path_factory.mktemp("v") / "<b>.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3), np.uint8)
    write_video(path, noise, 30)
    return analyze(path)


def test_the_timeline_hatches_what_was_not_analysed(empty: Analysis) -> None:
    drawn = timeline(empty)
    assert drawn.count('class="lost"') == 1
    assert 'class="curve"' not in drawn
    levels = np.full(30, 2.0, np.float32)
    levels[10:15] = np.nan
    levels[20] = 9
    half = replace(empty.spotting, activity=levels, lost=((1 / 3, 0.5),), blinks=((0.6, 0.8),))
    drawn = timeline(replace(empty, spotting=half))
    assert drawn.count('class="curve"') == 2
    assert drawn.count('class="blink"') == 1


def test_thinning_keeps_every_peak_and_every_gap() -> None:
    levels = np.zeros(20 * BINS, np.float32)
    levels[4321] = 7
    levels[10_000:12_000] = np.nan
    times, kept = _thinned(np.arange(len(levels)) / 200, levels)
    assert len(times) == BINS
    assert times[np.nanargmax(kept)] == 4321 / 200
    assert np.isnan(kept).sum() >= 99


@pytest.mark.parametrize("seconds", [0.3, 2.4, 12, 95, 1300, 9000])
def test_ticks_are_few_and_within(seconds: float) -> None:
    ticks = _ticks(seconds)
    assert 1 < len(ticks) <= 7
    assert ticks[-1][0] <= seconds + 1e-6


def test_names_are_escaped_and_the_summary_tells(empty: Analysis) -> None:
    shown = page(empty, [])
    assert "&lt;b&gt;.mp4" in shown
    assert "<b>.mp4" not in shown
    assert "No face" in summary(empty)
    seen = replace(empty, track=replace(empty.track, size=np.ones(2, np.float32)))
    assert "No facial movement" in summary(seen)
    assert "given" in summary(replace(seen, given=True))


def test_the_page_shows_the_likely_units_of_a_model_that_has_them() -> None:
    units = (("4", 0.05), ("12", 0.31), ("1", 0.995))
    reading = Reading(("a", "b"), (0.9, 0.1), (0.9, 0.1), (0.9, 0.1), 1.0, "a", units)
    shown = _read_units(reading)
    assert shown.index("AU 1, inner brow raiser") < shown.index("AU 12, lip corner puller")
    assert "0.31" in shown
    assert "&gt;0.99" in shown
    assert "AU 4" not in shown
    assert "None with a probability" in _read_units(replace(reading, units=(("4", 0.05),)))


def test_the_page_says_how_well_the_model_did(empty: Analysis) -> None:
    unknown = " ".join(model_words(ModelCard("mine")))
    assert "does not say" in unknown
    assert "not been measured" in unknown
    card = ModelCard("x", "clouds", "442 real clips", 0.7, 0.72, 0.65, 0.75)
    told = " ".join(model_words(card))
    assert "clouds" in told
    assert "0.70 (95 % interval 0.65 to 0.75)" in told
    assert "about 0.33" in told
    rough = " ".join(model_words(ModelCard("x", "clouds", "9 clips", 0.7, 0.72), 4))
    assert "F1 of 0.70 and" in rough
    assert "about 0.25" in rough


def test_a_short_folder_of_frames_needs_a_rate(tmp_path: Path) -> None:
    for number in range(3):
        write = (tmp_path / f"img{number}.ppm").write_bytes
        write(b"P6 32 32 255\n" + bytes(3 * 32 * 32))
    with pytest.raises(UserError, match="--fps"):
        analyze(tmp_path)
    assert not analyze(tmp_path, fps=30).face_seen
