"""The page of an analysis: one HTML file that needs nothing else, neither network nor script."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

import microexpr
from microexpr.analysis import Analysis
from microexpr.analysis.reading import AGREEMENT
from microexpr.app.movement import draw_movement, movement
from microexpr.app.timeline import timeline
from microexpr.preprocess.spot import LONGEST_MICRO, RATE_ADVISED
from microexpr.training.default import ModelCard

MOST_SHOWN = 40  # movements with pictures; the others are in events.csv
_KEY = (
    ("k-micro", "micro-expression"),
    ("k-macro", "longer (macro) movement"),
    ("k-blink", "blink"),
    ("k-lost", "not analysed: no face"),
    ("k-limit", "what stands out of the noise"),
)


def draw_movements(analysis: Analysis) -> list[str]:
    """The pictures of the movements that the page shows, HTML, in their order.

    Reads the recording once more around each of them.
    """
    return [draw_movement(analysis, finding) for finding in analysis.findings[:MOST_SHOWN]]


def page(analysis: Analysis, drawn: Sequence[str]) -> str:
    """The whole page.

    Args:
        analysis: From `microexpr.analysis.analyze`.
        drawn: From `draw_movements`.
    """
    template = (files("microexpr.app") / "page.html").read_text(encoding="utf-8")
    shown = zip(analysis.findings[:MOST_SHOWN], drawn, strict=True)
    events = [movement(analysis, number, *one) for number, one in enumerate(shown, start=1)]
    left = len(analysis.findings) - MOST_SHOWN
    if left > 0:
        events.append(f"<p>{left} more movements are listed in events.csv.</p>")
    return Template(template).substitute(
        style=style(),
        title=escape(f"Facial movements in {analysis.video.path.name}"),
        recording=escape(recording(analysis)),
        summary=escape(summary(analysis)),
        warnings=warnings(analysis),
        timeline=f"<h2>Motion of the face over time</h2>{timeline_and_key(analysis)}",
        events="\n".join(events),
        reading=_reading_help(analysis),
        footer=f"microexpr {escape(microexpr.__version__)}. Numbers of this page: report.json and "
        "events.csv beside it.",
    )


def style() -> str:
    """CSS of the timeline and the movements, for this page and for the app."""
    return (files("microexpr.app") / "page.css").read_text(encoding="utf-8")


def summary(analysis: Analysis) -> str:
    """What was found, in one sentence or two."""
    if not analysis.face_seen:
        return "No face was found in this recording, so nothing was analysed."
    kinds = [finding.event.kind for finding in analysis.findings]
    if analysis.given:
        return "The key frames were given; nothing was spotted."
    found = " and ".join(
        f"{count} {name}{'' if count == 1 else 's'}"
        for kind, name in (("micro", "micro-expression"), ("macro", "longer facial movement"))
        if (count := kinds.count(kind))
    )
    named = sum(f.reading is not None and f.reading.emotion is not None for f in analysis.findings)
    if not found:
        return "No facial movement stood out of the noise of this recording."
    return f"{found} found; the model was sure enough to name an emotion for {named or 'none'}."


def recording(analysis: Analysis) -> str:
    """Length, frame rate, size, how much was analysed, and by which model."""
    video = analysis.video
    rate = f"{video.fps:.4g} frames per second{' (varying)' if video.variable else ''}"
    lost = sum(b - a for a, b in analysis.spotting.lost)
    seen = max(0.0, 1 - lost / video.duration) if video.duration else 0.0
    return (
        f"{video.duration:.1f} s, {rate}, {video.width}×{video.height}; "
        f"{seen:.0%} analysed; model: {analysis.card.name}"
    )


def warnings(analysis: Analysis) -> str:
    """What limits the result, as a list in HTML; nothing where nothing does."""
    lines = [*analysis.video.warnings, *analysis.spotting.warnings]
    if analysis.track.faces > 1:
        lines.append(
            f"up to {analysis.track.faces} faces were seen at once; this page is about one of them "
            "(the largest, unless --face chose another)"
        )
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def timeline_and_key(analysis: Analysis) -> str:
    """The timeline, and what its colours and its curve mean."""
    key = "".join(f'<li><i class="{kind}"></i>{escape(name)}</li>' for kind, name in _KEY)
    return (
        f'{timeline(analysis)}<ul class="key">{key}</ul>'
        '<p class="small soft">The curve is how far the most active regions of the face are from '
        "where they rest, after the motion of the head was taken out, in standard deviations of "
        "this recording's own noise. What counts as rest follows slowly, so in a movement of more "
        "than half a second the curve sinks back while the face still holds its pose.</p>"
    )


def _reading_help(analysis: Analysis) -> str:
    video = analysis.video
    frames = LONGEST_MICRO * (video.fps or 0)
    rate = (
        f"At {video.fps:.4g} frames per second the longest micro-expression ({LONGEST_MICRO} s) "
        f"fills {frames:.0f} frames. "
        + (
            f"Below {RATE_ADVISED:.0f} the shortest ones cannot be seen."
            if (video.fps or 0) < RATE_ADVISED
            else "That is enough to place onset and apex."
        )
    )
    items = (
        rate,
        "A movement counts as found when it stands out of this recording's own noise. Movements "
        "that are weaker, or that happen in a blink or a turn of the head, are missed; speaking, "
        "chewing and swallowing move the face too and are found.",
        "An emotion is named only if the mean probability over ten readings reaches "
        f"{analysis.confidence:.2f} and {AGREEMENT:.0%} of them agree. Onset and apex are moved a "
        "little from one reading to the next; the range tells how much that changes.",
        "The probabilities are the model's. They do not say how often it is right on people like "
        "yours.",
        f"The model knows these classes and no others: {', '.join(analysis.labels)}.",
        *model_words(analysis.card, len(analysis.labels)),
    )
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def model_words(card: ModelCard, classes: int = 3) -> list[str]:
    """What the model was trained on and how well it did on known clips, in sentences."""
    origin = card.trained_on or "it does not say on what: ask whoever made it"
    told = [f"The model, {card.name}, was trained on: {origin}."]
    if card.uf1 is None or card.uar is None:
        told.append("How well it reads real clips has not been measured yet.")
    else:
        known = card.low is not None and card.high is not None
        between = f" (95 % interval {card.low:.2f} to {card.high:.2f})" if known else ""
        told.append(
            f"On {card.measured_on}, {card.how}, it reached an unweighted F1 of "
            f"{card.uf1:.2f}{between} and an unweighted recall of {card.uar:.2f}; chance would be "
            f"about {1 / classes:.2f}. Expect less on other people, cameras and places."
        )
    return told
