"""The page of an analysis: one HTML file that needs nothing else, neither network nor script."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template

import microexpr
from microexpr.analysis import Analysis, Finding
from microexpr.analysis.reading import AGREEMENT, Reading
from microexpr.app.pictures import Pictures, draw
from microexpr.app.timeline import timeline
from microexpr.preprocess.closeup import closeup
from microexpr.preprocess.spot import LONGEST_MICRO, RATE_ADVISED, THRESHOLD
from microexpr.preprocess.units import UNIT_NAMES
from microexpr.training.default import ModelCard

MOST_SHOWN = 40  # movements with pictures; the others are in events.csv
_KEY = (
    ("k-micro", "micro-expression"),
    ("k-macro", "longer (macro) movement"),
    ("k-blink", "blink"),
    ("k-lost", "not analysed: no face"),
    ("k-limit", "what stands out of the noise"),
)


def page(analysis: Analysis) -> str:
    """The whole page. Reads the recording once more around each movement."""
    template = (files("microexpr.app") / "page.html").read_text(encoding="utf-8")
    events = [
        _event(analysis, number, finding)
        for number, finding in enumerate(analysis.findings[:MOST_SHOWN], start=1)
    ]
    left = len(analysis.findings) - MOST_SHOWN
    if left > 0:
        events.append(f"<p>{left} more movements are listed in events.csv.</p>")
    return Template(template).substitute(
        title=escape(f"Facial movements in {analysis.video.path.name}"),
        recording=escape(_recording(analysis)),
        summary=escape(summary(analysis)),
        warnings=_warnings(analysis),
        timeline=_timeline(analysis),
        events="\n".join(events),
        reading=_reading_help(analysis),
        footer=f"microexpr {escape(microexpr.__version__)}. Numbers of this page: report.json and "
        "events.csv beside it.",
    )


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


def _recording(analysis: Analysis) -> str:
    video = analysis.video
    rate = f"{video.fps:.4g} frames per second{' (varying)' if video.variable else ''}"
    lost = sum(b - a for a, b in analysis.spotting.lost)
    seen = max(0.0, 1 - lost / video.duration) if video.duration else 0.0
    return (
        f"{video.duration:.1f} s, {rate}, {video.width}×{video.height}; "
        f"{seen:.0%} analysed; model: {analysis.card.name}"
    )


def _warnings(analysis: Analysis) -> str:
    lines = [*analysis.video.warnings, *analysis.spotting.warnings]
    if analysis.track.faces > 1:
        lines.append(
            f"up to {analysis.track.faces} faces were seen at once; this page is about one of them "
            "(the largest, unless --face chose another)"
        )
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def _timeline(analysis: Analysis) -> str:
    key = "".join(f'<li><i class="{kind}"></i>{escape(name)}</li>' for kind, name in _KEY)
    return (
        "<h2>Motion of the face over time</h2>"
        f'{timeline(analysis)}<ul class="key">{key}</ul>'
        '<p class="small soft">The curve is how far the most active regions of the face are from '
        "where they rest, after the motion of the head was taken out, in standard deviations of "
        "this recording's own noise. What counts as rest follows slowly, so in a movement of more "
        "than half a second the curve sinks back while the face still holds its pose.</p>"
    )


def _event(analysis: Analysis, number: int, finding: Finding) -> str:
    event = finding.event
    facts = [
        f"onset {event.onset_time:.3f} s (frame {event.onset})",
        f"apex {event.apex_time:.3f} s (frame {event.apex})",
        f"offset {event.offset_time:.3f} s (frame {event.offset})",
        f"lasts {event.offset_time - event.onset_time:.3f} s",
        f"moves {100 * event.displacement:.2f} % of the distance between the eyes",
    ]
    if event.score == event.score:  # not NaN: it was spotted
        facts.append(f"score {event.score:.1f} (threshold {THRESHOLD:g})")
    kind = "Micro-expression" if event.kind == "micro" else "Longer (macro) movement"
    body = _look(analysis, finding) if finding.reading else "<p>The face could not be shown.</p>"
    return (
        f'<section class="event" id="event{number}"><h2>{number}. {kind} at '
        f"{event.apex_time:.2f} s</h2>"
        f'<div class="facts">{"".join(f"<span>{escape(fact)}</span>" for fact in facts)}</div>'
        f"{body}{_words(finding, analysis)}</section>"
    )


def _look(analysis: Analysis, finding: Finding) -> str:
    event = finding.event
    seen = closeup(analysis.video, analysis.track, event.onset, event.apex, event.offset)
    drawn = draw(seen)
    shown = [
        _figure(drawn.onset, "Onset: the face before it moves."),
        _figure(drawn.apex, "Apex: the movement at its greatest, the head put back in place."),
        _figure(
            drawn.difference,
            "Apex less onset: red became brighter, blue darker; full colour is "
            f"{drawn.full_grey:.0f} of 255 grey levels.",
        ),
        _figure(
            drawn.flow,
            "Optical flow from onset to apex: hue is the direction (see the wheel), white is rest; "
            f"full colour is {drawn.full_flow:.1f} % of the distance between the eyes.",
        ),
        _figure(
            drawn.arrows,
            f"Where it moved most; arrows {drawn.longer:.2g} times as long as the motion.",
            "arrows",
        ),
        _loop(drawn),
    ]
    return f'<div class="pictures">{"".join(shown)}</div>'


def _figure(uri: str, caption: str, kind: str = "still") -> str:
    return (
        f'<figure class="{kind}"><img src="{uri}" alt="{escape(caption)}" width="224" height="224">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _loop(drawn: Pictures) -> str:
    speed = f"Slow motion, {drawn.slower:.0f} times slower than life"
    shown = ["as filmed", "the flow since the onset"]
    if drawn.factor > 1:
        shown.insert(1, f"every motion of the face {drawn.factor:.1f} times as large")
    caption = f"{speed if drawn.slower >= 1.5 else 'As fast as life'}: {'; '.join(shown)}."
    return (
        f'<figure class="wide"><video src="{drawn.loop}" autoplay loop muted playsinline controls '
        f'aria-label="{escape(caption)}"></video>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _words(finding: Finding, analysis: Analysis) -> str:
    parts = []
    if finding.reading:
        parts.append(f"<div><h3>Emotion</h3>{_emotion(finding.reading, analysis.confidence)}</div>")
    parts.append(f"<div><h3>Regions that moved most</h3>{_regions(finding)}</div>")
    parts.append(f"<div><h3>Action units this suggests</h3>{_units(finding)}</div>")
    parts.append(f"<div><h3>How well it could be seen</h3>{_quality(finding)}</div>")
    return f'<div class="columns">{"".join(parts)}</div>'


def _emotion(reading: Reading, confidence: float) -> str:
    best = max(zip(reading.probabilities, reading.labels, strict=True))
    if reading.emotion:
        verdict = f"Looks most like <b>{escape(reading.emotion)}</b> to the model."
    else:
        verdict = (
            f"<b>No emotion named.</b> The likeliest, {escape(best[1])}, has a probability of "
            f"{best[0]:.2f} and is the first choice in {reading.agreement:.0%} of ten readings; "
            f"{confidence:.2f} and {AGREEMENT:.0%} are asked for."
        )
    rows = zip(reading.labels, reading.probabilities, reading.lowest, reading.highest, strict=True)
    table = "".join(
        f'<tr><td>{escape(label)}</td><td class="bar"><div class="range">'
        f'<b style="width:{100 * p:.1f}%"></b><i style="left:{100 * low:.1f}%;'
        f'width:{max(100 * (high - low), 0.5):.1f}%"></i></div></td>'
        f'<td class="n">{_share(p)} ({_share(low)} to {_share(high)})</td></tr>'
        for label, p, low, high in rows
    )
    return f'<p class="verdict">{verdict}</p><table>{table}</table>'


def _share(probability: float) -> str:
    """A probability with two decimals; never quite 0 or 1, which no model can know."""
    if probability < 0.01:
        return "&lt;0.01"
    return f"{probability:.2f}" if probability <= 0.99 else "&gt;0.99"


def _regions(finding: Finding) -> str:
    rows = "".join(
        f"<tr><td>{escape(region.name)}</td>"
        f'<td class="n">{_way(region.right, region.down)}</td></tr>'
        for region in finding.regions
    )
    return (
        f'<table>{rows}</table><p class="small soft">In % of the distance between the eyes '
        "(about 0.6 mm); left and right are those of the picture.</p>"
    )


def _way(right: float, down: float) -> str:
    across = f"{abs(right):.2f} {'→' if right >= 0 else '←'}"
    along = f"{abs(down):.2f} {'↓' if down >= 0 else '↑'}"
    return f"{across} &nbsp; {along}"


def _units(finding: Finding) -> str:
    if not finding.units:
        return "<p>None: no action unit explains a fifth of this motion.</p>"
    rows = "".join(
        f"<tr><td>AU {escape(s.unit)}, {escape(UNIT_NAMES[s.unit])}"
        f"{'' if s.side == 'both' else f' ({s.side} in the picture only)'}</td>"
        f'<td class="n">{s.explains:.0%} of the motion</td></tr>'
        for s in finding.units
    )
    return (
        f'<table>{rows}</table><p class="small soft">A suggestion from the directions of the '
        "motion alone, no FACS coding: a coder also sees wrinkles and bulges.</p>"
    )


def _quality(finding: Finding) -> str:
    if not finding.problems:
        return "<p>Well: nothing stood in the way.</p>"
    items = "".join(f"<li>{escape(problem)}</li>" for problem in finding.problems)
    return f"<p>{'Fairly' if finding.quality == 'fair' else 'Poorly'}:</p><ul>{items}</ul>"


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
        *model_words(analysis.card),
    )
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def model_words(card: ModelCard) -> list[str]:
    """What the model was trained on and how well it did on real clips, in sentences."""
    origin = card.trained_on or "it does not say on what: ask whoever made it"
    told = [f"The model, {card.name}, was trained on: {origin}."]
    if card.uf1 is None or card.uar is None:
        told.append("How well it reads real clips has not been measured yet.")
    else:
        told.append(
            f"On {card.measured_on}, none of which it had seen, it reached an unweighted F1 of "
            f"{card.uf1:.2f} (95 % interval {card.low:.2f} to {card.high:.2f}) and an unweighted "
            f"recall of {card.uar:.2f}; chance would be about 0.33. Those clips were filmed in "
            "laboratories: expect less elsewhere."
        )
    return told
