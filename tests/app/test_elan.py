"""The ELAN file: its structure by the rules of EAFv3.0.xsd, and that times survive it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microexpr.analysis import Finding
from microexpr.analysis.reading import Reading
from microexpr.app.elan import elan, layers, span
from microexpr.preprocess.spot import Event
from microexpr.preprocess.units import Suggestion

DATE = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
# EAFv3.0.xsd: children in their order, attributes that must and that may be there
CHILDREN = {
    "ANNOTATION_DOCUMENT": [
        *("LICENSE", "HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "LOCALE", "LANGUAGE"),
        *("CONSTRAINT", "CONTROLLED_VOCABULARY", "LEXICON_REF", "REF_LINK_SET", "EXTERNAL_REF"),
    ],
    "HEADER": ["MEDIA_DESCRIPTOR", "LINKED_FILE_DESCRIPTOR", "PROPERTY"],
    "TIME_ORDER": ["TIME_SLOT"],
    "TIER": ["ANNOTATION"],
    "ANNOTATION": ["ALIGNABLE_ANNOTATION", "REF_ANNOTATION"],
    "ALIGNABLE_ANNOTATION": ["ANNOTATION_VALUE"],
    "REF_ANNOTATION": ["ANNOTATION_VALUE"],
}
MUST = {
    "ANNOTATION_DOCUMENT": {"DATE", "AUTHOR", "VERSION"},
    "MEDIA_DESCRIPTOR": {"MEDIA_URL", "MIME_TYPE"},
    "TIME_SLOT": {"TIME_SLOT_ID"},
    "TIER": {"TIER_ID", "LINGUISTIC_TYPE_REF"},
    "ALIGNABLE_ANNOTATION": {"ANNOTATION_ID", "TIME_SLOT_REF1", "TIME_SLOT_REF2"},
    "REF_ANNOTATION": {"ANNOTATION_ID", "ANNOTATION_REF"},
    "LINGUISTIC_TYPE": {"LINGUISTIC_TYPE_ID"},
    "CONSTRAINT": {"STEREOTYPE"},
}
MAY = {
    "ANNOTATION_DOCUMENT": {"FORMAT"},
    "HEADER": {"MEDIA_FILE", "TIME_UNITS"},
    "MEDIA_DESCRIPTOR": {"RELATIVE_MEDIA_URL", "TIME_ORIGIN", "EXTRACTED_FROM"},
    "PROPERTY": {"NAME"},
    "TIME_SLOT": {"TIME_VALUE"},
    "TIER": {"PARENT_REF", "PARTICIPANT", "ANNOTATOR", "DEFAULT_LOCALE", "LANG_REF", "EXT_REF"},
    "REF_ANNOTATION": {"PREVIOUS_ANNOTATION"},
    "LINGUISTIC_TYPE": {"TIME_ALIGNABLE", "CONSTRAINTS", "GRAPHIC_REFERENCES"},
    "CONSTRAINT": {"DESCRIPTION"},
}
IDS = ("TIME_SLOT_ID", "ANNOTATION_ID", "STEREOTYPE")


def movement(times: tuple[float, float, float], emotion: str | None = "positive") -> Finding:
    event = Event(
        "micro", 1, 2, 3, *times, score=9.0, displacement=0.01, shift=np.zeros((1, 2), np.float32)
    )
    reading = Reading(("positive",), (1.0,), (1.0,), (1.0,), 1.0, emotion)
    units = (Suggestion("12", "both", 1.0, 0.6), Suggestion("14", "left", 0.4, 0.2))
    return Finding(event, reading, "good", (), (), units, by_hand=("onset",))


def check(root: ElementTree.Element) -> None:
    """Raises where the document breaks a rule of the schema."""
    check_structure(root)
    check_references(root)


def check_structure(root: ElementTree.Element) -> None:
    for element in root.iter():
        names = [child.tag for child in element]
        order = CHILDREN.get(element.tag, [])
        assert set(names) <= set(order), element.tag
        assert names == sorted(names, key=order.index), element.tag
        given = {name for name in element.keys() if not name.startswith("{")}  # noqa: SIM118
        assert MUST.get(element.tag, set()) <= given, element.tag
        assert given <= MUST.get(element.tag, set()) | MAY.get(element.tag, set()), element.tag
    found = [e.get(name) for e in root.iter() for name in IDS if e.get(name)]
    assert len(set(found)) == len(found)
    assert all(re.fullmatch(r"[A-Za-z_][\w.-]*", name or "") for name in found)  # xsd:ID
    assert root.findall("HEADER") != []
    assert root.get("FORMAT") == "3.0"


def check_references(root: ElementTree.Element) -> None:
    types = {t.get("LINGUISTIC_TYPE_ID"): t for t in root.iter("LINGUISTIC_TYPE")}
    stereotypes = {c.get("STEREOTYPE") for c in root.iter("CONSTRAINT")}
    slots = {s.get("TIME_SLOT_ID"): int(s.get("TIME_VALUE", "")) for s in root.iter("TIME_SLOT")}
    assert list(slots.values()) == sorted(slots.values())
    tiers = {t.get("TIER_ID"): t for t in root.iter("TIER")}
    assert len(tiers) == len(list(root.iter("TIER")))
    for kind in types.values():
        assert kind.get("CONSTRAINTS") is None or kind.get("CONSTRAINTS") in stereotypes
    for tier in tiers.values():
        kind = types[tier.get("LINGUISTIC_TYPE_REF")]
        assert (kind.get("CONSTRAINTS") is None) == (tier.get("PARENT_REF") is None)
        aligned = list(tier.iter("ALIGNABLE_ANNOTATION"))
        assert not aligned or kind.get("TIME_ALIGNABLE") == "true"
        spans = [(slots[a.get("TIME_SLOT_REF1")], slots[a.get("TIME_SLOT_REF2")]) for a in aligned]
        assert all(start < end for start, end in spans)
        assert all(a[1] <= b[0] for a, b in pairwise(spans))  # no overlap
        for linked in tier.iter("REF_ANNOTATION"):
            parents = {a.get("ANNOTATION_ID") for a in tiers[tier.get("PARENT_REF")].iter()}
            assert linked.get("ANNOTATION_REF") in parents


def times_in(root: ElementTree.Element) -> list[tuple[int, int, int]]:
    """(onset, apex, offset) of all movements in ms, as another program would read them."""
    slots = {s.get("TIME_SLOT_ID"): int(s.get("TIME_VALUE", "")) for s in root.iter("TIME_SLOT")}
    found = []
    for tier in root.iter("TIER"):
        if tier.get("LINGUISTIC_TYPE_REF") != "movement":
            continue
        (phases,) = [
            t
            for t in root.iter("TIER")
            if t.get("PARENT_REF") == tier.get("TIER_ID")
            and t.get("LINGUISTIC_TYPE_REF") == "phase"
        ]
        rising = {
            slots[a.get("TIME_SLOT_REF1")]: slots[a.get("TIME_SLOT_REF2")]
            for a in phases.iter("ALIGNABLE_ANNOTATION")
            if a.findtext("ANNOTATION_VALUE") == "onset to apex"
        }
        for one in tier.iter("ALIGNABLE_ANNOTATION"):
            onset, offset = slots[one.get("TIME_SLOT_REF1")], slots[one.get("TIME_SLOT_REF2")]
            found.append((onset, rising[onset], offset))
    return sorted(found)


def seconds() -> st.SearchStrategy[tuple[float, float, float]]:
    """Onset, apex and offset on a clock of 1000 frames a second at most."""
    start = st.floats(0, 3600, allow_nan=False)
    step = st.floats(0.0011, 3, allow_nan=False)
    return st.builds(
        lambda a, b, c: (a, a + b, a + b + c), start, step, st.one_of(st.just(0.0), step)
    )


@given(st.lists(seconds(), max_size=6), st.text(max_size=20))
def test_times_survive_and_the_rules_are_kept(
    times: list[tuple[float, float, float]], emotion: str
) -> None:
    found = [movement(moments, emotion) for moments in sorted(times)]
    root = ElementTree.fromstring(elan(found, "a film.mp4", DATE))
    check(root)
    assert times_in(root) == sorted(tuple(round(1000 * t) for t in moments) for moments in times)
    slots = [int(s.get("TIME_VALUE", "")) for s in root.iter("TIME_SLOT")]
    assert all(slot >= 0 for slot in slots)


def test_what_is_said_of_a_movement() -> None:
    text = elan([movement((0.72, 0.84, 0.97)), movement((3, 3.1, 3.2), None)], "Zoë 1.mp4", DATE)
    root = ElementTree.fromstring(text)
    tiers = {
        tier.get("TIER_ID"): [value.text for value in tier.iter("ANNOTATION_VALUE")]
        for tier in root.iter("TIER")
    }
    assert tiers == {
        "movement": ["micro", "micro"],
        "phase": ["onset to apex", "apex to offset"] * 2,
        "emotion": ["positive"],
        "action units": ["AU12; AU14 (left)"] * 2,
        "by hand": ["onset", "onset"],
    }
    media = root.find("HEADER/MEDIA_DESCRIPTOR")
    assert media is not None
    assert media.get("RELATIVE_MEDIA_URL") == "./Zo%C3%AB%201.mp4"
    assert media.get("MIME_TYPE") == "video/mp4"
    assert root.get("DATE") == "2026-02-03T04:05:06+00:00"
    last = root.find("HEADER/PROPERTY")
    assert last is not None
    assert last.text == str(len(list(root.iter("ANNOTATION_VALUE"))))


def test_nothing_found_is_a_file_too() -> None:
    root = ElementTree.fromstring(elan([], "x.mkv", DATE))
    check(root)
    assert len(root.findall("TIER")) == 5


def test_overlapping_movements_go_to_further_tiers() -> None:
    spans = [span(0, 1, 2), span(1, 1.5, 3), span(1.2, 1.3, 1.4), span(2, 2.5, 3)]
    assert layers(spans) == [[0, 3], [1], [2]]
    found = [movement((0, 1, 2)), movement((1, 1.5, 3))]
    root = ElementTree.fromstring(elan(found, "x.mp4", DATE))
    check_references(root)
    assert [t.get("TIER_ID") for t in root.iter("TIER")][5:7] == ["movement 2", "phase 2"]


@pytest.mark.parametrize("broken", ["ANNOTATOR_", "order", "slot"])
def test_the_checks_above_can_fail(broken: str) -> None:
    root = ElementTree.fromstring(elan([movement((0.1, 0.2, 0.3))], "x.mp4", DATE))
    if broken == "order":
        root.insert(0, root[-1])
    elif broken == "slot":
        slot = next(root.iter("TIME_SLOT"))
        slot.set("TIME_VALUE", "900")
    else:
        next(root.iter("TIER")).set(broken, "x")
    with pytest.raises(AssertionError):
        check(root)
