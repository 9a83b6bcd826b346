"""What was found: player, timeline, list, one movement, and corrections by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import gradio as gr

from microexpr.app.studio import views
from microexpr.app.studio.sitting import Sitting, Sittings, restore, save
from microexpr.errors import UserError

if TYPE_CHECKING:  # OpenCV and torch come when there is a result to show
    from microexpr.app.record import Record

AS_READ, UNNAMED = "as the model reads it", "no emotion"
CLOCK = (
    "() => Math.round(1000 * (document.querySelector('#player video')?.currentTime || 0)) / 1000"
)
"""JavaScript: where the player stands, in seconds."""
PLAY = """const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const play = () => element.querySelectorAll("video").forEach((loop) => {
  loop.muted = true;
  if (still) loop.pause(); else loop.play().catch(() => {});
});
play();
watch("value", play);"""
"""JavaScript: slow-motion loops run, unless the reader wants nothing to move."""

Updates = dict[Any, Any]
Moments = tuple[gr.Number, gr.Number, gr.Number]
Buttons = tuple[gr.Button, gr.Button, gr.Button, gr.Button]
Change = Callable[["Record", int], "tuple[Record, int]"]


@dataclass(frozen=True, slots=True)
class Panel:
    """The parts of the results.

    Attributes:
        head: What was found, in a sentence.
        player: The recording.
        timeline: Motion over time.
        movements: List of buttons.
        detail: One movement.
        moments: Onset, apex, offset in seconds.
        emotion: Its name.
        said: What a correction did, or why it could not be.
        links: Downloads.
        edits: Buttons that need a movement.
        sittings: Whose results.
    """

    head: gr.HTML
    player: gr.HTML
    timeline: gr.HTML
    movements: gr.HTML
    detail: gr.HTML
    moments: Moments
    emotion: gr.Dropdown
    said: gr.HTML
    links: gr.HTML
    edits: tuple[gr.Button, ...]
    sittings: Sittings

    @property
    def outputs(self) -> list[Any]:
        """All that may change."""
        return [
            *(self.head, self.player, self.timeline, self.movements, self.detail),
            *(*self.moments, self.emotion, self.said, self.links, *self.edits),
        ]

    @property
    def changing(self) -> list[Any]:
        """What a correction may change."""
        return [part for part in self.outputs if part is not self.player]

    def show(self, tab: str) -> Updates:
        """All parts, for a result that is new.

        Raises:
            UserError: It is gone.
        """
        with self.sittings.opened(tab) as (sitting, record):
            annotated = sitting.results / "annotated.mp4"
            shown = views.player(sitting.video, annotated, record.analysis)
            return {self.player: shown, **self.changed(sitting, record, "")}

    def changed(self, sitting: Sitting, record: Record, said: str) -> Updates:
        """All parts but the player, after the movements changed."""
        exports = save(sitting, record)
        return {
            self.head: views.headline(record),
            self.timeline: views.timeline(record, sitting.at),
            self.movements: views.movements(record, sitting.at),
            self.links: views.downloads(exports, sitting.results / "annotated.mp4"),
            **self.chosen(sitting, record, said),
        }

    def chosen(self, sitting: Sitting, record: Record, said: str) -> Updates:
        """The parts about one movement."""
        findings = record.analysis.findings
        shown: Updates = {self.detail: views.chosen(record, sitting.at), self.said: said}
        shown |= {button: gr.update(interactive=bool(findings)) for button in self.edits}
        if findings:
            finding = findings[sitting.at]
            event = finding.event
            times = (event.onset_time, event.apex_time, event.offset_time)
            shown |= {f: round(t, 4) for f, t in zip(self.moments, times, strict=True)}
            named = finding.reading.emotion if finding.reading else None
            by_hand = "emotion" in finding.by_hand
            value = (named or UNNAMED) if by_hand else AS_READ
        else:
            value = AS_READ
        choices = [AS_READ, *record.analysis.labels, UNNAMED]
        shown[self.emotion] = gr.update(choices=choices, value=value)
        return shown


def words(value: str = "", **settings: Any) -> gr.HTML:
    """HTML in the look of the report."""
    return gr.HTML(value, elem_classes="report", apply_default_css=False, **settings)


def lay_out(sittings: Sittings) -> Panel:
    """Lays the results out and wires them."""
    script = (files("microexpr.app.studio") / "studio.js").read_text(encoding="utf-8")
    head = words()
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            player = words(elem_id="player", js_on_load=script)
            timeline = words(elem_id="timeline", js_on_load=script)
        with gr.Column(scale=2, min_width=300):
            movements = words(elem_id="movements", js_on_load=script)
            moments, emotion, said, buttons = _form()
    detail = words(elem_id="detail", js_on_load=PLAY)
    links = words(elem_id="links")
    parts = (head, player, timeline, movements, detail, moments, emotion, said, links)
    panel = Panel(*parts, edits=(buttons[0], buttons[2]), sittings=sittings)
    _wire_choice(panel)
    _wire_edits(panel, *buttons[:3])
    _wire_undo(panel, buttons[3])
    return panel


def _form() -> tuple[Moments, gr.Dropdown, gr.HTML, Buttons]:
    """Fields and buttons of the corrections."""
    with gr.Column(elem_id="correct"):
        words(
            "<h2 class='first'>Correct by hand</h2><p class='small soft'>The movement is read "
            "again between the frames nearest to these times. Every file says what was given by "
            "hand.</p>"
        )
        with gr.Row():
            moments = (_moment("Onset"), _moment("Apex"), _moment("Offset"))
        emotion = gr.Dropdown(
            [AS_READ], value=AS_READ, label="Emotion", allow_custom_value=True, elem_id="emotion"
        )
        with gr.Row():
            apply = gr.Button("Correct", variant="primary", elem_id="apply", min_width=130)
            new = gr.Button("Add as new", elem_id="add", min_width=130)
            gone = gr.Button("Remove", elem_id="remove", min_width=130)
            undo = gr.Button("Undo all", elem_id="undo", min_width=130)
        said = words(elem_id="said")
    return moments, emotion, said, (apply, new, gone, undo)


def _moment(name: str) -> gr.Number:
    """A field for seconds, and the button that sets it to where the player stands."""
    with gr.Column(min_width=80):
        value = gr.Number(label=f"{name} (s)", minimum=0, step=0.01, elem_id=name.lower())
        here = gr.Button("as in the player", size="sm", elem_id=f"{name.lower()}-here")
        here.click(None, None, value, js=CLOCK, api_visibility="private")
    return value


OFTEN: dict[str, Any] = {"concurrency_limit": 4, "api_visibility": "private"}


def _wire_choice(panel: Panel) -> None:
    """A click on a movement, in the list or on the timeline, shows it."""

    def choose(event: gr.EventData, request: gr.Request) -> Updates:
        try:
            with panel.sittings.opened(request.session_hash or "") as (sitting, record):
                at = event._data.get("index") if isinstance(event._data, dict) else None
                if isinstance(at, int) and 0 <= at < len(record.drawn):
                    sitting.at = at
                return panel.chosen(sitting, record, "")
        except UserError as error:
            return {panel.said: views.error(str(error))}

    shown = [panel.detail, *panel.moments, panel.emotion, panel.said, *panel.edits]
    for part in (panel.timeline, panel.movements):
        part.select(choose, None, shown, show_progress="hidden", **OFTEN)


def _wire_edits(panel: Panel, apply: gr.Button, new: gr.Button, gone: gr.Button) -> None:
    """What the buttons of the form do."""

    def correct_one(
        onset: Any, apex: Any, offset: Any, emotion: Any, request: gr.Request
    ) -> Updates:
        def change(record: Record, at: int) -> tuple[Record, int]:
            from microexpr.app.corrections import correct

            told = given(onset, apex, offset, emotion)
            return correct(record, at, told, panel.sittings.model())

        return _edit(panel, request, change, "Corrected.")

    def add_one(onset: Any, apex: Any, offset: Any, emotion: Any, request: gr.Request) -> Updates:
        def change(record: Record, at: int) -> tuple[Record, int]:
            from microexpr.app.corrections import add

            return add(record, given(onset, apex, offset, emotion), panel.sittings.model())

        return _edit(panel, request, change, "Added.")

    def remove_one(request: gr.Request) -> Updates:
        def change(record: Record, at: int) -> tuple[Record, int]:
            from microexpr.app.corrections import remove

            return remove(record, at), max(at - 1, 0)

        return _edit(panel, request, change, "Removed.")

    fields = [*panel.moments, panel.emotion]
    apply.click(correct_one, fields, panel.changing, **_slowly(panel))
    new.click(add_one, fields, panel.changing, **_slowly(panel))
    gone.click(remove_one, None, panel.changing, **_slowly(panel))


def _wire_undo(panel: Panel, undo: gr.Button) -> None:
    """All is again as it was found."""

    def undo_all(request: gr.Request) -> Updates:
        tab = request.session_hash or ""
        try:
            with panel.sittings.opened(tab) as (sitting, _):
                restore(sitting)
        except UserError as error:
            return {panel.said: views.error(str(error))}
        return _edit(panel, request, lambda record, at: (record, at), "As it was found.")

    undo.click(undo_all, None, panel.changing, **_slowly(panel))


def _slowly(panel: Panel) -> dict[str, Any]:
    """An event that reads the recording shows that it is at work."""
    return {"show_progress": "minimal", "show_progress_on": panel.said, **OFTEN}


def _edit(panel: Panel, request: gr.Request, change: Change, done: str) -> Updates:
    """Changes the movements, and shows them; or says in one line why not."""
    try:
        with panel.sittings.opened(request.session_hash or "") as (sitting, record):
            record, sitting.at = change(record, sitting.at)
            return panel.changed(sitting, record, views.note(done))
    except UserError as error:
        return {panel.said: views.error(str(error))}


def given(onset: Any, apex: Any, offset: Any, emotion: Any) -> Any:
    """The fields as a person's word on a movement.

    Raises:
        UserError: A field is empty.
    """
    from microexpr.app.corrections import Given

    if not all(isinstance(moment, int | float) for moment in (onset, apex, offset)):
        raise UserError("onset, apex and offset must all be given, in seconds")
    named = {AS_READ: None, UNNAMED: "", None: None}.get(emotion, str(emotion))
    return Given(float(onset), float(apex), float(offset), named)
