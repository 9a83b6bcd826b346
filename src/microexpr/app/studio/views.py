"""What the page shows, as HTML: progress, player, timeline, list, one movement, downloads."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from microexpr.app.serving.queue import Status
from microexpr.app.serving.uploads import Limits

if TYPE_CHECKING:  # OpenCV and torch come when there is a result to show
    from microexpr.analysis import Analysis, Finding
    from microexpr.app.exports import Exports
    from microexpr.app.record import Record

SPEEDS = (1, 0.5, 0.25, 0.1)
PLAYED = {".webm": "video/webm", ".mkv": "video/webm", ".mov": "video/mp4", ".m4v": "video/mp4"}


def error(text: str) -> str:
    """One line that says what is wrong; nothing where nothing is."""
    return f'<p class="bad" role="alert">{escape(text)}</p>' if text else ""


def note(text: str) -> str:
    """One line that says what was done."""
    return f'<p class="done" role="status">{escape(text)}</p>'


def taken(limits: Limits) -> str:
    """What may be handed in."""
    return (
        f'<p class="small soft">One face, filmed from the front; at least 12 frames a second, '
        f"better 100 or more. At most {limits.megabytes:g} MB and {limits.seconds / 60:g} minutes. "
        "The video stays on this computer; it is removed when this tab is closed, or after "
        f"{_minutes(limits.keep)} without use.</p>"
    )


def progress(status: Status) -> str:
    """Where an analysis stands: how many are before it, or its step and the time left."""
    if status.state == "waiting":
        before = "1 video is" if status.ahead == 1 else f"{status.ahead} videos are"
        words = f"Waiting: {before} before you." if status.ahead else "Waiting: you are next."
        return f'<div class="going" role="status"><p>{words}</p><progress></progress></div>'
    step = status.step or "starting"
    left = "" if status.seconds_left is None else f", about {_rough(status.seconds_left)} left"
    return (
        f'<div class="going" role="status"><p>Step {min(status.done + 1, status.of)} of '
        f"{status.of}: {escape(step)}{left}.</p>"
        f'<progress max="{status.of}" value="{status.done}"></progress></div>'
    )


def player(video: Path, annotated: Path, analysis: Analysis) -> str:
    """The recording; where the browser cannot play it, the annotated one."""
    kind = PLAYED.get(video.suffix.lower(), "video/mp4")
    speeds = "".join(
        f'<option value="{s:g}">{"as fast as life" if s == 1 else f"{s:g} ×"}</option>'
        for s in SPEEDS
    )
    step = 1 / (analysis.video.fps or 25)
    return (
        f'<video controls playsinline preload="auto" aria-label="The recording">'
        f'<source src="{address(video)}" type="{kind}"><source src="{address(annotated)}" '
        'type="video/mp4"></video>'
        '<div class="steps">'
        f'<button type="button" data-step="{-step:.6f}">− 1 frame</button>'
        f'<button type="button" data-step="{step:.6f}">+ 1 frame</button>'
        f'<label>Speed <select class="speed">{speeds}</select></label>'
        '<output class="clock">0.000 s</output></div>'
    )


def headline(record: Record) -> str:
    """What was found, and what limits it."""
    from microexpr.app.corrections import in_words
    from microexpr.app.page import recording, summary, warnings

    analysis = record.analysis
    by_hand = in_words(record)
    return (
        f'<h2 class="first">{escape(analysis.video.path.name)}</h2>'
        f'<p class="lead">{escape(summary(analysis))}</p>'
        f'<p class="soft small">{escape(recording(analysis))}</p>{warnings(analysis)}'
        + (f'<p class="hand">{escape(by_hand.capitalize())}</p>' if by_hand else "")
    )


def timeline(record: Record, at: int) -> str:
    """The timeline with the movement that is looked at marked."""
    from microexpr.app.page import timeline_and_key

    drawn = timeline_and_key(record.analysis)
    return drawn.replace(f'data-at="{at}"', f'data-at="{at}" aria-current="true"')


def movements(record: Record, at: int) -> str:
    """A list of buttons, one for each movement."""
    title = '<h2 class="first">Movements</h2>'
    if not record.analysis.findings:
        return f"{title}<p>None. One that you see yourself can be added below.</p>"
    rows = "".join(_row(i, f, i == at) for i, f in enumerate(record.analysis.findings))
    return f'{title}<ol class="movements" aria-label="Movements">{rows}</ol>'


def _row(index: int, finding: Finding, chosen: bool) -> str:
    event, reading = finding.event, finding.reading
    emotion = escape((reading.emotion if reading else None) or "no emotion named")
    hand = '<span class="hand">by hand</span>' if finding.by_hand else ""
    current = ' aria-current="true"' if chosen else ""
    return (
        f'<li><button type="button" data-at="{index}" data-time="{event.onset_time:.4f}"{current}>'
        f'<b>{index + 1}</b><span class="when">{event.onset_time:.2f} to '
        f'{event.offset_time:.2f} s</span><span class="what"><i class="k-{event.kind}"></i>'
        f"{event.kind}, {emotion}</span>{hand}</button></li>"
    )


def chosen(record: Record, at: int) -> str:
    """All that is said about one movement, as on the report's page."""
    from microexpr.app.movement import draw_movement, movement

    if not record.analysis.findings:
        return ""
    finding = record.analysis.findings[at]
    drawn = record.drawn[at] or draw_movement(record.analysis, finding)
    return movement(record.analysis, at + 1, finding, drawn)


def downloads(exports: Exports, annotated: Path) -> str:
    """Links to the files."""
    stem = exports.elan.stem
    files = (
        (exports.table, "Table (CSV)", exports.table.name),
        (exports.elan, "ELAN (.eaf)", exports.elan.name),
        (exports.page, "Report (HTML)", exports.page.name),
        (exports.report, "Report (JSON)", exports.report.name),
        (annotated, "Annotated video, as found", f"{stem}_annotated.mp4"),
    )
    links = "".join(
        f'<li><a href="{address(path)}" download="{escape(name)}">{text}</a></li>'
        for path, text, name in files
    )
    return f'<h3>Take it along</h3><ul class="links">{links}</ul>'


def address(path: Path) -> str:
    """Where the browser finds a file of the session."""
    return f"gradio_api/file={quote(str(path))}"


def _rough(seconds: float) -> str:
    """A time that nobody will take for exact.

    >>> _rough(3.2), _rough(44), _rough(130)
    ('5 s', '45 s', '2 min')
    """
    if seconds < 90:
        return f"{max(5 * round(seconds / 5), 5)} s"
    return f"{round(seconds / 60)} min"


def _minutes(seconds: float) -> str:
    """A limit in words.

    >>> _minutes(3600), _minutes(120)
    ('an hour', '2 minutes')
    """
    return "an hour" if seconds == 3600 else f"{seconds / 60:g} minutes"
