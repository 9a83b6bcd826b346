"""The first tab: a video in, how far its analysis is, then what was found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from microexpr.app.serving.uploads import Limits
from microexpr.app.studio import views
from microexpr.app.studio.results import Panel, lay_out, words
from microexpr.app.studio.sitting import Sittings
from microexpr.errors import UserError

LOOK_EVERY = 0.4  # seconds
FINAL = ("done", "failed", "cancelled")
CANCELLED = "Cancelled. The video was removed."

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
AT_ONCE = {**QUIET, "queue": False}
"""For what is done in an instant. Through the queue, its end closes the page's one stream of events
when none is left; a press of a button that comes in that moment is answered to nobody."""

Updates = dict[Any, Any]


@dataclass(frozen=True, slots=True)
class Tab:
    """The parts of the tab.

    Attributes:
        bring: Where a video is chosen.
        film: The video.
        status: How far the analysis is, or what went wrong.
        cancel: Ends it.
        shown: The results.
        panel: Their parts.
    """

    bring: gr.Column
    film: gr.Video
    status: gr.HTML
    cancel: gr.Button
    shown: gr.Column
    panel: Panel

    def state(self, taking: bool, working: bool, told: str) -> Updates:
        """What can be done now, and what is said."""
        return {
            self.bring: gr.update(visible=taking),
            self.cancel: gr.update(visible=working),
            self.status: told,
        }


def build(sittings: Sittings, limits: Limits) -> None:
    """Lays the tab out and wires it."""
    with gr.Column(elem_classes="narrow") as bring:
        film = gr.Video(
            sources=["upload", "webcam"],
            label="Your video",
            elem_id="film",
            webcam_options=gr.WebcamOptions(mirror=False),
            include_audio=False,
            buttons=[],
        )
        words(views.taken(limits))
        go = gr.Button("Find the movements", variant="primary", elem_id="go")
        sample = gr.Button("Try it with a sample film", elem_id="sample")
    with gr.Column(elem_classes="narrow"):
        status = words(elem_id="status")
        cancel = gr.Button("Cancel", visible=False, elem_id="cancel")
    with gr.Column(visible=False, elem_id="results") as shown:
        panel = lay_out(sittings)
        again = gr.Button("Another video", elem_id="again")
    tab = Tab(bring, film, status, cancel, shown, panel)
    _wire_start(tab, sittings, go, sample)
    _wire_end(tab, sittings, again)


def _wire_start(tab: Tab, sittings: Sittings, go: gr.Button, sample: gr.Button) -> None:
    """A video comes in: from the browser, or the sample."""

    def receive(uploaded: dict[str, Any] | None, request: gr.Request) -> None:
        if uploaded:
            sittings.hold(request.session_hash or "", Path(uploaded["path"]))

    async def run(uploaded: dict[str, Any] | None, request: gr.Request) -> AsyncIterator[Updates]:
        who = request.session_hash or ""
        if not uploaded:
            yield {tab.status: views.error("Choose a video first, or record one.")}
            return
        path = Path(uploaded["path"])
        begin = partial(sittings.bring, who, path)
        async for update in _follow(tab, sittings, who, begin, "Taking the video in."):
            yield update

    async def run_sample(request: gr.Request) -> AsyncIterator[Updates]:
        who = request.session_hash or ""
        begin = partial(sittings.bring_sample, who)
        async for update in _follow(tab, sittings, who, begin, "Drawing the film."):
            yield update

    changing = [tab.bring, tab.film, tab.status, tab.cancel, tab.shown, *tab.panel.outputs]
    tab.film.change(receive, tab.film, None, preprocess=False, **AT_ONCE)
    go.click(run, tab.film, changing, preprocess=False, concurrency_limit=None, **QUIET)
    sample.click(run_sample, None, changing, concurrency_limit=4, **QUIET)


def _wire_end(tab: Tab, sittings: Sittings, again: gr.Button) -> None:
    """An analysis is cancelled, or its results are done with."""

    def stop(request: gr.Request) -> None:
        sittings.stop(request.session_hash or "")

    def begin_again(request: gr.Request) -> Updates:
        sittings.end(request.session_hash or "")
        return {**tab.state(True, False, ""), tab.shown: gr.update(visible=False)}

    changing = [tab.bring, tab.cancel, tab.status, tab.shown]
    tab.cancel.click(stop, None, None, **AT_ONCE)
    again.click(begin_again, None, changing, **AT_ONCE)


async def _follow(
    tab: Tab, sittings: Sittings, who: str, begin: Callable[[], None], told: str
) -> AsyncIterator[Updates]:
    """From the video to its results.

    Each update is whole: of several that come at once, gradio's page may show the last alone.
    """
    yield tab.state(False, False, views.note(told))
    try:
        await asyncio.to_thread(begin)
        async for now in _progress(sittings, who):
            yield tab.state(False, True, now)
        found = await asyncio.to_thread(tab.panel.show, who)
    except UserError as error:
        yield {**tab.state(True, False, views.error(str(error))), tab.film: None}
    else:
        shown = {tab.shown: gr.update(visible=True), tab.film: None}
        yield {**tab.state(False, False, ""), **shown, **found}


async def _progress(sittings: Sittings, tab: str) -> AsyncIterator[str]:
    """HTML of how far an analysis is, whenever that changes, until it is done.

    Raises:
        UserError: It came to nothing.
    """
    before = ""
    while (status := sittings.status(tab)).state not in FINAL:
        if (told := views.progress(status)) != before:
            yield told
        before = told
        await asyncio.sleep(LOOK_EVERY)
    if status.state != "done":
        await asyncio.to_thread(sittings.end, tab)
        raise UserError(CANCELLED if status.state == "cancelled" else status.error)
