"""Protocol lists: which clips a published protocol counts, and how many there are of each class.

A list is made from the annotations by a label scheme, and `expect` holds it against the published
numbers. Sources: MEGC2019 (See et al., FG 2019) with the mapping of `labels.megc3`; the usual
classes of CASME II (coding of 2014) and SAMM; DFME as in the CCAC 2024 challenge; CAS(ME)^3, part A
(Li et al., 2023); CD6ME (Varanka et al., IEEE TAFFC 15(1), 2024).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from microexpr.annotations import check_counts
from microexpr.clip import Clip
from microexpr.errors import UserError, suggest
from microexpr.labels import label_scheme

CD6ME_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17)


@dataclass(frozen=True, slots=True)
class ClipList:
    """A published list of clips.

    Attributes:
        name: Key in `LISTS`.
        scheme: Label scheme that picks the clips; None takes all (CD6ME's targets are action
            units, `cd6me_target`).
        counts: Clips of each label, by data set; with no scheme the label is ``"clips"``.
        persons: Number of persons over all data sets.
        split: The part of the data set that the list is made of; None: all.
    """

    name: str
    scheme: str | None
    counts: Mapping[str, Mapping[str, int]]
    persons: int
    split: str | None = None


def select(name: str, clips: Iterable[Clip]) -> list[Clip]:
    """Those of some clips that belong to a list, in their order.

    Args:
        name: Key of `LISTS`.
        clips: Clips of the list's data sets, and of any others.

    Raises:
        UserError: Unknown name; the message names the nearest.
    """
    chosen = _list(name)
    label = label_scheme(chosen.scheme) if chosen.scheme else None
    return [
        clip
        for clip in clips
        if clip.dataset in chosen.counts
        and chosen.split in (None, clip.split)
        and (label is None or label(clip) is not None)
    ]


def expect(name: str, clips: Iterable[Clip]) -> list[Clip]:
    """Like `select`, and refuses anything but the published numbers of clips and persons.

    Raises:
        UserError: Unknown name; or other numbers, with those expected and those found.
    """
    chosen, found = _list(name), select(name, clips)
    label = label_scheme(chosen.scheme) if chosen.scheme else lambda clip: "clips"
    check_counts(
        f"the list {name}",
        Counter(f"{clip.dataset} {label(clip)}" for clip in found),
        {f"{d} {kind}": n for d, kinds in chosen.counts.items() for kind, n in kinds.items()},
    )
    persons = len({clip.person for clip in found})
    if persons != chosen.persons:
        raise UserError(f"the list {name}: expected {chosen.persons} persons, found {persons}")
    return found


def unit_numbers(clip: Clip) -> frozenset[int]:
    """The action units of a clip by number, without side and intensity.

    What the coder saw vanish ("loses") or did not count ("(k)" in 4DME) is left out.

    >>> sorted(unit_numbers(Clip("samm", "006", "a", "anger", action_units=("R14+L10B", "4"))))
    [4, 10, 14]
    """
    codes = [c for c in clip.action_units if "loses" not in c.lower() and not c.endswith("(k)")]
    return frozenset(int(number) for code in codes for number in re.findall(r"[0-9]+", code))


def cd6me_target(clip: Clip) -> tuple[int, ...]:
    """CD6ME's target: 0 or 1 for each of the twelve `CD6ME_UNITS`."""
    there = unit_numbers(clip)
    return tuple(int(unit in there) for unit in CD6ME_UNITS)


def _list(name: str) -> ClipList:
    if name not in LISTS:
        raise UserError(f"unknown list of clips '{name}': {suggest(name, LISTS)}")
    return LISTS[name]


def _three(negative: int, positive: int, surprise: int) -> dict[str, int]:
    return {"negative": negative, "positive": positive, "surprise": surprise}


def _dfme(part: str, persons: int, counts: Sequence[int]) -> ClipList:
    labels = label_scheme("dfme7").labels
    each = dict(zip(labels, counts, strict=True))
    return ClipList(f"dfme_{part}", "dfme7", {"dfme": each}, persons, part)


_CASME2_3, _SMIC_3, _SAMM_3 = _three(88, 32, 25), _three(70, 51, 43), _three(92, 26, 15)
_CASME2_5 = {"happiness": 32, "surprise": 25, "disgust": 63, "repression": 27, "others": 99}
_SAMM_5 = {"anger": 57, "contempt": 12, "happiness": 26, "surprise": 15, "other": 26}
_CASME3_4 = {"negative": 457, "positive": 55, "surprise": 187, "others": 161}
_CASME3_7 = {
    "disgust": 250,
    "surprise": 187,
    "others": 161,
    "fear": 86,
    "anger": 64,
    "sad": 57,
    "happy": 55,
}

LISTS: dict[str, ClipList] = {
    chosen.name: chosen
    for chosen in (
        ClipList("megc2019", "megc3", {"casme2": _CASME2_3, "smic": _SMIC_3, "samm": _SAMM_3}, 68),
        ClipList("casme2_3", "megc3", {"casme2": _CASME2_3}, 24),
        ClipList("casme2_5", "casme5", {"casme2": _CASME2_5}, 26),
        ClipList("smic_3", "megc3", {"smic": _SMIC_3}, 16),
        ClipList("samm_3", "megc3", {"samm": _SAMM_3}, 28),
        ClipList("samm_5", "samm5", {"samm": _SAMM_5}, 27),
        _dfme("train", 176, (161, 100, 548, 265, 206, 278, 298)),
        _dfme("testA", 42, (39, 34, 129, 62, 63, 46, 101)),
        _dfme("testB", 41, (41, 37, 58, 38, 42, 35, 48)),
        ClipList("casme3_4", "casme3_4", {"casme3": _CASME3_4}, 94),
        ClipList("casme3_7", "casme3_7", {"casme3": _CASME3_7}, 94),
        # Published: 2031 clips of six sets. CASME's 189, 4DME's 267 and MMEW's 300 are not here:
        # their label files were never at hand. CASME II counts 256 there, one more than its sheet.
        ClipList(
            "cd6me",
            None,
            {"casme2": {"clips": 255}, "samm": {"clips": 159}, "casme3": {"clips": 860}},
            149,
        ),
    )
}
