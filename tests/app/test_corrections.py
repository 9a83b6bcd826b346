"""Corrections by hand: what they change, what is read again, and that every export tells."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from microexpr.analysis import Analysis, KeyFrames, analyze, read_movement
from microexpr.analysis.reading import Reading
from microexpr.app.corrections import Given, _own_choice, add, correct, in_words, remove
from microexpr.app.exports import write_exports
from microexpr.app.record import Record
from microexpr.errors import UserError
from microexpr.film import Truth, drawn_portrait, film, write_script


@pytest.fixture(scope="module")
def shot(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    path = tmp_path_factory.mktemp("film") / "smile.mp4"
    script = write_script(
        5, fps=50, seconds=1.2, events=1, peak=(1.8, 2.0), emotions=("happiness",), drift=1.0
    )
    return path, film(drawn_portrait(), script, path)


@pytest.fixture(scope="module")
def record(shot: tuple[Path, Truth]) -> Record:
    """One movement, its apex two frames late."""
    true = shot[1].events[0]
    found = analyze(shot[0], key_frames=KeyFrames(true.onset, true.apex + 2, true.offset))
    return Record(found, ("<i>old pictures</i>",))


@pytest.fixture(scope="module")
def truth(shot: tuple[Path, Truth]) -> Given:
    event = shot[1].events[0]
    return Given(event.onset_time, event.apex_time, event.offset_time)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are not drawn: they take long, and other tests look at them."""
    drawn = lambda analysis, finding: "<p>new pictures</p>"  # noqa: E731
    monkeypatch.setattr("microexpr.app.corrections.draw_movement", drawn)
    monkeypatch.setattr("microexpr.app.exports.draw_movement", drawn)


def frames(analysis: Analysis, at: int = 0) -> tuple[int, int, int]:
    event = analysis.findings[at].event
    return event.onset, event.apex, event.offset


def test_a_moved_apex_is_read_again(record: Record, truth: Given, shot: tuple[Path, Truth]) -> None:
    after, at = correct(record, 0, truth)
    (new,) = after.analysis.findings
    assert at == 0
    assert new.by_hand == ("apex",)
    true = shot[1].events[0]
    assert frames(after.analysis) == (true.onset, true.apex, true.offset)
    again = read_movement(record.analysis, KeyFrames(true.onset, true.apex, true.offset))
    assert new.reading == again.reading  # as if it had been analysed so
    assert new.reading != record.analysis.findings[0].reading
    assert new.regions == again.regions
    assert new.units == again.units
    assert "data:video/mp4" in after.drawn[0]
    assert in_words(after) == "by hand: 1 corrected"
    assert record.analysis.findings[0].by_hand == ()  # what was there before is as it was


@pytest.mark.slow
def test_reading_again_tells_what_a_whole_analysis_tells(
    record: Record, shot: tuple[Path, Truth]
) -> None:
    true = shot[1].events[0]
    known = KeyFrames(true.onset, true.apex, true.offset)
    whole = analyze(shot[0], key_frames=known).findings[0]
    assert read_movement(record.analysis, known).reading == whole.reading


def test_an_emotion_is_named_left_out_and_given_back(record: Record) -> None:
    event = record.analysis.findings[0].event
    as_is = Given(event.onset_time, event.apex_time, event.offset_time)
    own = record.analysis.findings[0].reading
    assert own is not None
    named, _ = correct(record, 0, replace(as_is, emotion=" contempt\x00 "))
    reading = named.analysis.findings[0].reading
    assert reading is not None
    assert (reading.emotion, named.analysis.findings[0].by_hand) == ("contempt", ("emotion",))
    assert reading.probabilities == own.probabilities
    assert named.drawn == record.drawn  # nothing was drawn or read again
    unnamed, _ = correct(named, 0, replace(as_is, emotion=""))
    assert unnamed.analysis.findings[0].reading == replace(own, emotion=None)
    back, _ = correct(unnamed, 0, as_is)
    assert back.analysis.findings == record.analysis.findings
    assert in_words(back) == ""


def test_the_models_own_choice_is_that_of_the_reading() -> None:
    sure = Reading(("a", "b"), (0.2, 0.8), (0, 0), (1, 1), 0.9, None)
    assert _own_choice(sure, 0.6) == "b"
    assert _own_choice(sure, 0.85) is None
    assert _own_choice(replace(sure, agreement=0.5), 0.6) is None


@pytest.mark.usefixtures("undrawn")
def test_movements_are_added_in_their_order_and_removed(record: Record, truth: Given) -> None:
    start = record.analysis.findings[0].event.onset_time
    early = Given(max(start - 0.2, 0), start - 0.1, start - 0.06, "fear")
    more, at = add(record, early)
    assert at == 0
    assert [f.by_hand for f in more.analysis.findings] == [("movement", "emotion"), ()]
    assert more.drawn[1] == record.drawn[0]
    assert in_words(more) == "by hand: 1 added"
    moved, at = correct(more, 0, Given(start + 0.04, truth.offset, truth.offset, "fear"))
    assert at == 1  # it now begins later than the other
    assert moved.analysis.findings[1].by_hand == ("movement", "emotion")
    assert moved.drawn[0] == record.drawn[0]
    assert remove(more, 0).analysis.findings == record.analysis.findings
    assert in_words(remove(more, 0)) == ""
    none = remove(remove(more, 1), 0)
    assert none.analysis.findings == ()
    assert in_words(none) == "by hand: 1 removed"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (Given(0.5, 0.4, 0.6), "before the apex"),
        (Given(0.5, 0.5, 0.6), "before the apex"),
        (Given(0.5, 0.6, 0.55), "before the apex"),
        (Given(-1, 0.6, 0.7), "between 0 and 1.2"),
        (Given(0.5, 0.6, 99), "between 0 and 1.2"),
        (Given(0.5, 0.504, 0.6), "same frame"),
        (Given(float("nan"), 0.5, 0.6), "between 0 and"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(record: Record, given: Given, told: str) -> None:
    with pytest.raises(UserError, match=told) as error:
        correct(record, 0, given)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="no such movement"):
        correct(record, 1, given)
    with pytest.raises(UserError, match="no such movement"):
        remove(record, -1)


def test_without_a_face_at_the_onset_no_emotion_is_named(record: Record) -> None:
    blind = replace(record.analysis.findings[0], reading=None)
    unread = replace(record, analysis=replace(record.analysis, findings=(blind,)))
    event = blind.event
    as_is = Given(event.onset_time, event.apex_time, event.offset_time)
    with pytest.raises(UserError, match="set the onset"):
        correct(unread, 0, replace(as_is, emotion="joy"))
    assert correct(unread, 0, as_is)[0].analysis.findings == (blind,)


@pytest.mark.usefixtures("undrawn")
def test_every_export_tells_what_was_done_by_hand(
    record: Record, truth: Given, tmp_path: Path
) -> None:
    after, _ = correct(record, 0, replace(truth, emotion="<contempt>"))
    after = replace(after, removed=2)
    made = write_exports(after, tmp_path / "exports", {"video": "smile.mp4"})
    assert [made.table.name, made.elan.name] == ["smile_events.csv", "smile.eaf"]
    with made.table.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["emotion"], row["corrected"]) == ("<contempt>", "apex; emotion")
    report = json.loads(made.report.read_text(encoding="utf-8"))
    assert report["events"][0]["by_hand"] == ["apex", "emotion"]
    assert report["settings"] == {"video": "smile.mp4"}
    assert "by hand: 1 corrected, 2 removed" in report["warnings"]
    shown = made.page.read_text(encoding="utf-8")
    assert "Corrected by hand: apex, emotion" in shown
    assert "by hand: 1 corrected, 2 removed" in shown
    assert "&lt;contempt&gt;" in shown
    assert "<contempt>" not in shown
    assert "<ANNOTATION_VALUE>apex; emotion</ANNOTATION_VALUE>" in made.elan.read_text()


@pytest.mark.usefixtures("undrawn")
def test_pictures_that_were_not_drawn_yet_are_drawn(record: Record, tmp_path: Path) -> None:
    made = write_exports(replace(record, drawn=("",)), tmp_path, {})
    assert made.page.read_text(encoding="utf-8").count("<p>new pictures</p>") == 1
