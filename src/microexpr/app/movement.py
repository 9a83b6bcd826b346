"""One movement in HTML: its pictures, its numbers, and what is said about it."""

from __future__ import annotations

from html import escape

from microexpr.analysis import Analysis, Finding
from microexpr.analysis.reading import AGREEMENT, LEAST_SHOWN, Reading
from microexpr.app.pictures import Pictures, draw
from microexpr.preprocess.closeup import closeup
from microexpr.preprocess.spot import THRESHOLD
from microexpr.preprocess.units import UNIT_NAMES


def movement(analysis: Analysis, number: int, finding: Finding, drawn: str) -> str:
    """HTML of one movement.

    Args:
        analysis: In which it was found.
        number: Counted from 1.
        finding: The movement.
        drawn: From `draw_movement`.
    """
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
    return (
        f'<section class="event" id="event{number}"><h2>{number}. {kind} at '
        f"{event.apex_time:.2f} s</h2>{_by_hand(finding)}"
        f'<div class="facts">{"".join(f"<span>{escape(fact)}</span>" for fact in facts)}</div>'
        f"{drawn}{_words(finding, analysis)}</section>"
    )


def _by_hand(finding: Finding) -> str:
    """Says plainly what is not the program's own."""
    if not finding.by_hand:
        return ""
    if finding.by_hand[0] == "movement":
        words = "Added by hand"
        words += "; so was its emotion" if "emotion" in finding.by_hand else ""
    else:
        words = f"Corrected by hand: {', '.join(finding.by_hand)}"
    return f'<p class="hand">{escape(words)}</p>'


def draw_movement(analysis: Analysis, finding: Finding) -> str:
    """HTML of the pictures of one movement. Reads the recording around it."""
    if finding.reading is None:
        return "<p>The face could not be shown.</p>"
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
        said = _emotion(finding, finding.reading, analysis.confidence)
        parts.append(f"<div><h3>Emotion</h3>{said}</div>")
    parts.append(f"<div><h3>Regions that moved most</h3>{_regions(finding)}</div>")
    parts.append(f"<div><h3>Action units this suggests</h3>{_units(finding)}</div>")
    if finding.reading and finding.reading.units:
        read = _read_units(finding.reading)
        parts.append(f"<div><h3>Action units the model sees</h3>{read}</div>")
    parts.append(f"<div><h3>How well it could be seen</h3>{_quality(finding)}</div>")
    return f'<div class="columns">{"".join(parts)}</div>'


def _emotion(finding: Finding, reading: Reading, confidence: float) -> str:
    best = max(zip(reading.probabilities, reading.labels, strict=True))
    if "emotion" in finding.by_hand:
        named = f"Named <b>{escape(reading.emotion)}</b>" if reading.emotion else "Left unnamed"
        verdict = f"{named} by hand. What the model makes of it:"
    elif reading.emotion:
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


def _read_units(reading: Reading) -> str:
    """The likeliest units, down to `LEAST_SHOWN`."""
    likely = reading.likely_units()
    if not likely:
        return f"<p>None with a probability of {LEAST_SHOWN:g} or more.</p>"
    rows = "".join(
        f"<tr><td>AU {escape(unit)}, {escape(UNIT_NAMES[unit])}</td>"
        f'<td class="n">{_share(p)}</td></tr>'
        for unit, p in likely
    )
    return (
        f'<table>{rows}</table><p class="small soft">Probability that the unit is active on either '
        "side, the mean over the readings. The model's guess, no FACS coding.</p>"
    )


def _quality(finding: Finding) -> str:
    if not finding.problems:
        return "<p>Well: nothing stood in the way.</p>"
    items = "".join(f"<li>{escape(problem)}</li>" for problem in finding.problems)
    return f"<p>{'Fairly' if finding.quality == 'fair' else 'Poorly'}:</p><ul>{items}</ul>"
