"""The movements as an ELAN file (.eaf, format 3.0): https://www.mpi.nl/tools/elan/EAFv3.0.xsd.

Tiers: ``movement`` (micro or macro), below it ``phase`` (onset to apex, apex to offset),
``emotion``, ``action units`` and ``by hand``. Annotations of one tier may not overlap in ELAN:
movements that do go to a further set of tiers, ``movement 2`` and so on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

from microexpr.analysis import Finding

Element = ElementTree.Element

SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
TYPES = {
    "movement": "",
    "phase": "Time_Subdivision",
    "emotion": "Symbolic_Association",
    "action units": "Symbolic_Association",
    "by hand": "Symbolic_Association",
}
STEREOTYPES = {
    "Time_Subdivision": "Time subdivision of parent annotation's time interval, no time gaps "
    "allowed within this interval",
    "Symbolic_Subdivision": "Symbolic subdivision of a parent annotation. Annotations refering to "
    "the same parent are ordered",
    "Symbolic_Association": "1-1 association with a parent annotation",
    "Included_In": "Time alignable annotations within the parent annotation's time interval, gaps "
    "are allowed",
}
KINDS = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
    ".avi": "video/x-msvideo",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
}


@dataclass(frozen=True, slots=True)
class Span:
    """When a movement is, in whole milliseconds: onset < apex <= offset."""

    onset: int
    apex: int
    offset: int


def elan(findings: Sequence[Finding], media: str, date: datetime) -> str:
    """The file's content.

    Args:
        findings: In order of time.
        media: File name of the recording, which ELAN looks for beside the .eaf.
        date: With its time zone; told in the file.
    """
    spans = [span(f.event.onset_time, f.event.apex_time, f.event.offset_time) for f in findings]
    slots = _slots(spans)
    numbers = count(1)
    tiers = [
        tier
        for layer, members in enumerate(layers(spans), start=1)
        for tier in _tiers(layer, [(findings[i], spans[i]) for i in members], slots, numbers)
    ]
    document = Element("ANNOTATION_DOCUMENT", _about(date))
    document.append(_header(media, next(numbers) - 1))
    order = ElementTree.SubElement(document, "TIME_ORDER")
    for time, name in slots.items():
        ElementTree.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=name, TIME_VALUE=str(time))
    document.extend([*tiers, *_types()])
    for name, meaning in STEREOTYPES.items():
        ElementTree.SubElement(document, "CONSTRAINT", STEREOTYPE=name, DESCRIPTION=meaning)
    ElementTree.indent(document, "    ")
    text = ElementTree.tostring(document, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def span(onset: float, apex: float, offset: float) -> Span:
    """Seconds in whole milliseconds, at least one between onset and apex: ELAN knows no moments.

    >>> span(0.72, 0.84, 0.97), span(1.0, 1.0002, 1.0002)
    (Span(onset=720, apex=840, offset=970), Span(onset=1000, apex=1001, offset=1001))
    """
    first = max(round(1000 * onset), 0)
    middle = max(round(1000 * apex), first + 1)
    return Span(first, middle, max(round(1000 * offset), middle))


def layers(spans: Sequence[Span]) -> list[list[int]]:
    """Indices of the movements in groups without overlap; one empty group where there are none.

    >>> layers([Span(0, 5, 9), Span(5, 7, 12), Span(9, 10, 11)])
    [[0, 2], [1]]
    """
    found: list[list[int]] = [[]]
    for i in sorted(range(len(spans)), key=lambda i: spans[i].onset):
        free = next((g for g in found if not g or spans[g[-1]].offset <= spans[i].onset), None)
        if free is None:
            found.append(free := [])
        free.append(i)
    return found


def _about(date: datetime) -> dict[str, str]:
    return {
        "AUTHOR": "microexpr",
        "DATE": date.isoformat(timespec="seconds"),
        "FORMAT": "3.0",
        "VERSION": "3.0",
        "xmlns:xsi": INSTANCE,
        "xsi:noNamespaceSchemaLocation": SCHEMA,
    }


def _header(media: str, annotations: int) -> Element:
    header = Element("HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    place = f"./{quote(media)}"
    kind = KINDS.get(Path(media).suffix.lower(), "unknown")
    about = {"MEDIA_URL": place, "MIME_TYPE": kind, "RELATIVE_MEDIA_URL": place}
    ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", about)
    last = ElementTree.SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId")
    last.text = str(annotations)
    return header


def _slots(spans: Sequence[Span]) -> dict[int, str]:
    """A name for each millisecond at which something begins, peaks or ends, in their order."""
    times = sorted({time for s in spans for time in (s.onset, s.apex, s.offset)})
    return {time: f"ts{number}" for number, time in enumerate(times, start=1)}


def _tiers(
    layer: int,
    members: Sequence[tuple[Finding, Span]],
    slots: dict[int, str],
    numbers: Iterator[int],
) -> list[Element]:
    """The five tiers of movements that do not overlap."""
    suffix = "" if layer == 1 else f" {layer}"
    tiers = {name: _tier(name, suffix) for name in TYPES}
    for finding, when in members:
        parent = f"a{next(numbers)}"
        whole = slots[when.onset], slots[when.offset]
        tiers["movement"].append(_aligned(parent, whole, finding.event.kind))
        ends = [
            (when.onset, when.apex, "onset to apex"),
            (when.apex, when.offset, "apex to offset"),
        ]
        for start, end, name in ends:
            if start < end:
                at = slots[start], slots[end]
                tiers["phase"].append(_aligned(f"a{next(numbers)}", at, name))
        for name, value in _said(finding).items():
            if value:
                tiers[name].append(_linked(f"a{next(numbers)}", parent, value))
    return list(tiers.values())


def _said(finding: Finding) -> dict[str, str]:
    """What is said about a movement, by tier; empty: nothing."""
    sides = {"both": "", "left": " (left)", "right": " (right)"}
    return {
        "emotion": (finding.reading.emotion or "") if finding.reading else "",
        "action units": "; ".join(f"AU{u.unit}{sides[u.side]}" for u in finding.units),
        "by hand": "; ".join(finding.by_hand),
    }


def _tier(name: str, suffix: str) -> Element:
    about = {"TIER_ID": name + suffix, "LINGUISTIC_TYPE_REF": name}
    if TYPES[name]:
        about["PARENT_REF"] = f"movement{suffix}"
    return Element("TIER", about)


def _aligned(number: str, slots: tuple[str, str], value: str) -> Element:
    about = {"ANNOTATION_ID": number, "TIME_SLOT_REF1": slots[0], "TIME_SLOT_REF2": slots[1]}
    return _annotation("ALIGNABLE_ANNOTATION", about, value)


def _linked(number: str, parent: str, value: str) -> Element:
    about = {"ANNOTATION_ID": number, "ANNOTATION_REF": parent}
    return _annotation("REF_ANNOTATION", about, value)


def _annotation(kind: str, about: dict[str, str], value: str) -> Element:
    outer = Element("ANNOTATION")
    inner = ElementTree.SubElement(outer, kind, about)
    text = ElementTree.SubElement(inner, "ANNOTATION_VALUE")
    text.text = "".join(letter for letter in value if letter.isprintable())
    return outer


def _types() -> list[Element]:
    found = []
    for name, stereotype in TYPES.items():
        aligned = stereotype in ("", "Time_Subdivision")
        about = {"LINGUISTIC_TYPE_ID": name, "TIME_ALIGNABLE": str(aligned).lower()}
        about["GRAPHIC_REFERENCES"] = "false"
        if stereotype:
            about["CONSTRAINTS"] = stereotype
        found.append(Element("LINGUISTIC_TYPE", about))
    return found
