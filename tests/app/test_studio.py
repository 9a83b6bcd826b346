"""The page without a browser: what it shows as HTML, and what a tab holds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from microexpr.analysis import KeyFrames, analyze
from microexpr.app.corrections import Given
from microexpr.app.outputs import Settings, write_analysis
from microexpr.app.serving.queue import Status
from microexpr.app.serving.uploads import Limits, Uploads
from microexpr.app.studio import build, look, views
from microexpr.app.studio.comparing import find_runs, side_by_side
from microexpr.app.studio.results import AS_READ, UNNAMED, given
from microexpr.app.studio.sitting import Sittings, restore, save
from microexpr.errors import UserError
from microexpr.film import drawn_portrait, film, write_script

STATUS = Status("running", 0, "spotting <it>", 3, 6, 41.0, "", "", None, Path())
HEAD = "clip,person,fold,seed,selection,true,pred,p_bad,p_good\n"


class Desk:
    """Stands in for the queue: takes everything, does nothing."""

    model = None

    def __init__(self) -> None:
        self.free = 20
        self.taken: list[tuple[Path, Path]] = []
        self.dropped: list[Path] = []
        self.cancelled: list[str] = []

    def room(self) -> int:
        return self.free

    def submit(self, video: Path, out: Path, settings: Settings) -> str:
        self.taken.append((video, out))
        return f"ticket{len(self.taken)}"

    def status(self, ticket: str) -> Status:
        return replace(STATUS, step=ticket)

    def cancel(self, ticket: str) -> None:
        self.cancelled.append(ticket)

    def drop(self, folder: Path) -> None:
        self.dropped.append(folder)


@pytest.fixture
def uploads(tmp_path: Path) -> Iterator[Uploads]:
    held = Uploads(tmp_path / "uploads", Limits())
    yield held
    held.clear()


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def sittings(desk: Desk, uploads: Uploads) -> Sittings:
    return Sittings(desk, uploads)  # type: ignore[arg-type]


def received(uploads: Uploads, name: str = "a film.mp4", content: bytes = b"film") -> Path:
    """A file as gradio puts it: in a folder named by its content, in place of an equal one."""
    folder = uploads.gradio / sha256(content).hexdigest()
    folder.mkdir(exist_ok=True)
    new = folder / "new"
    new.write_bytes(content)
    return new.replace(folder / name)


def test_waiting_and_working_are_told() -> None:
    waiting = replace(STATUS, state="waiting")
    assert "you are next" in views.progress(waiting)
    assert "1 video is before you" in views.progress(replace(waiting, ahead=1))
    assert "3 videos are before you" in views.progress(replace(waiting, ahead=3))
    working = views.progress(STATUS)
    assert "Step 4 of 6: spotting &lt;it&gt;, about 40 s left." in working
    assert "left" not in views.progress(replace(STATUS, seconds_left=None))


def test_an_error_is_one_escaped_line_that_is_read_aloud() -> None:
    assert views.error("<b> is wrong") == '<p class="bad" role="alert">&lt;b&gt; is wrong</p>'
    assert views.error("") == ""
    assert "500 MB and 10 minutes" in views.taken(Limits())


def test_a_tab_brings_a_video_and_leaves_nothing(
    sittings: Sittings, desk: Desk, uploads: Uploads
) -> None:
    source = received(uploads)
    sittings.bring("tab", source)
    ((video, out),) = desk.taken
    assert video.name == "a film.mp4"
    assert video.read_bytes() == b"film"
    assert out == video.parent.parent / "results"
    assert sittings.status("tab").step == "ticket1"
    sittings.bring("tab", received(uploads, "b.mp4", b"other"))
    assert not video.exists()  # the new one takes its place
    assert desk.dropped == [video.parent.parent]
    sittings.stop("tab")
    assert desk.cancelled == ["ticket2"]
    sittings.end("tab")
    assert list((uploads.root / "sessions").iterdir()) == []
    assert list(uploads.gradio.glob("*/*")) == []
    with pytest.raises(UserError, match="not here any more"):
        sittings.status("tab")


def test_two_tabs_with_the_same_video_do_not_take_it_from_each_other(
    sittings: Sittings, desk: Desk, uploads: Uploads
) -> None:
    sittings.hold("one", received(uploads))
    again = received(uploads)
    sittings.end("one")  # its page was loaded anew: the file is that of the next one by now
    assert again.exists()
    sittings.bring("two", again)
    sittings.bring("three", again)
    sittings.end("two")
    assert again.exists()
    assert desk.taken[1][0].read_bytes() == b"film"
    sittings.end("three")
    assert not again.exists()


def test_only_what_was_received_is_taken(
    sittings: Sittings, desk: Desk, uploads: Uploads, tmp_path: Path
) -> None:
    mine = tmp_path / "secret.mp4"
    mine.touch()
    for path in (mine, uploads.gradio / ".." / ".." / ".." / "secret.mp4", uploads.gradio):
        with pytest.raises(UserError, match="not here any more"):
            sittings.bring("tab", path)
    source = received(uploads)
    desk.free = 0
    with pytest.raises(UserError, match="too many videos wait"):
        sittings.bring("tab", source)
    assert desk.taken == []
    assert mine.exists()


def test_results_are_opened_saved_and_restored(
    sittings: Sittings, desk: Desk, uploads: Uploads, tmp_path: Path
) -> None:
    script = write_script(
        5, fps=50, seconds=1.2, events=1, peak=(1.8, 2.0), emotions=("happiness",), drift=1.0
    )
    true = film(drawn_portrait(), script, tmp_path / "<x>.mp4").events[0]
    with pytest.raises(UserError, match="not here"), sittings.opened("tab"):
        pass
    sittings.bring("tab", received(uploads, "x.mp4", (tmp_path / "<x>.mp4").read_bytes()))
    ((video, out),) = desk.taken
    known = KeyFrames(true.onset, true.apex, true.offset)
    write_analysis(analyze(video, key_frames=known), out, {"video": "x.mp4"}, keep=True)
    with sittings.opened("tab") as (sitting, record):
        before = views.movements(record, 0)
        assert before.count("<button") == 1
        assert 'aria-current="true"' in before
        assert 'aria-current="true"' in views.timeline(record, 0)
        assert 'aria-current="true"' not in views.timeline(record, 1)
        assert "data:video/mp4" in views.chosen(record, 0)
        assert "The key frames were given" in views.headline(record)
        assert "<source" in views.player(video, out / "annotated.mp4", record.analysis)
        none = replace(record, analysis=replace(record.analysis, findings=()), drawn=(), removed=1)
        made = save(sitting, none)
        assert str(made.elan) in views.downloads(made, out / "annotated.mp4")
    with sittings.opened("tab") as (sitting, record):
        assert record.drawn == ()
        assert "By hand: 1 removed" in views.headline(record)
        assert "None." in views.movements(record, 0)
        assert views.chosen(record, 0) == ""
        restore(sitting)
    with sittings.opened("tab") as (_, record):
        assert views.movements(record, 0) == before
    shutil.rmtree(out)
    with pytest.raises(UserError, match="not here"), sittings.opened("tab"):
        pass


def test_fields_become_a_persons_word() -> None:
    assert given(1, 1.5, 2.0, AS_READ) == Given(1.0, 1.5, 2.0, None)
    assert given(1, 1.5, 2.0, UNNAMED).emotion == ""
    assert given(1, 1.5, 2.0, "awe").emotion == "awe"
    assert given(1, 1.5, 2.0, None).emotion is None
    with pytest.raises(UserError, match="must all be given"):
        given(1, None, 2.0, "awe")


def test_runs_are_found_and_the_leak_is_labelled(tmp_path: Path) -> None:
    assert find_runs(None) == {}
    assert find_runs(tmp_path) == {}
    for name in ("a/x=1", "b"):
        (tmp_path / name).mkdir(parents=True)
        rows = [
            f"set/s{i // 4}/c{i},set/s{i // 4},f{i // 4},0,{how},{i % 2},{(i + wrong) % 2},.5,.5\n"
            for how in (("last", "oracle") if name == "b" else ("last",))
            for i in range(24)
            for wrong in [i % 5 == 0 and how == "last"]
        ]
        (tmp_path / name / "predictions.csv").write_text(HEAD + "".join(rows))
    runs = find_runs(tmp_path)
    assert list(runs) == ["a/x=1", "b"]
    shown = side_by_side(runs)
    assert shown.count('<table class="matrix fair"') == 2
    assert shown.count('<table class="matrix leaky"') == 1
    assert '<th scope="row">a/x=1</th>' in shown
    assert shown.count("data:image/png") == 2
    alone = side_by_side({"a": runs["a/x=1"]})
    assert "None of these runs recorded the oracle" in alone


def test_the_page_asks_nothing_of_others(sittings: Sittings, desk: Desk, uploads: Uploads) -> None:
    page = build(desk, uploads, Limits())  # type: ignore[arg-type]
    assert page.analytics_enabled is False
    wired: list[Any] = list(page.fns.values())
    assert all(fn.api_visibility == "private" for fn in wired if fn.targets[0][1] != "unload")
    told = look()
    assert not any(isinstance(font, gr.themes.GoogleFont) for font in told["theme"]._font)
    assert "://" not in told["head"]
    assert "prefers-color-scheme: dark" in told["head"]
