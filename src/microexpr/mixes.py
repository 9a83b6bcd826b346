"""Which action units people showed with which emotion, and how often: counted in label files.

``mixes.csv`` holds, for DFME and CAS(ME)^3, every emotion and combination of codes that their label
files name and the number of clips that have it: ``source, emotion, units, count``, spelled as the
files do, L and R being the person's own left and right. No picture and no person stands in it.
``benchmarks/count_units.py`` writes it.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from microexpr.anatomy import EMOTIONS, EXPRESSIVE, Mix
from microexpr.clip import Clip
from microexpr.files import write_text

TABLE = Path(__file__).with_suffix(".csv")
COLUMNS = ("source", "emotion", "units", "count")
# What a file's emotion is called here; "others", and part C's "negative", are none of ours.
CALLED = {"happy": "happiness", "positive": "happiness", "sad": "sadness"}
_CODE = re.compile(r"([LRTB]?)([0-9]+)")


@dataclass(frozen=True, slots=True)
class Count:
    """One row of the table.

    Attributes:
        source: Data set, with its part.
        emotion: As the label file has it.
        units: Codes as the label file has them, by number.
        count: Clips with just these.
    """

    source: str
    emotion: str
    units: tuple[str, ...]
    count: int


def count_units(source: str, clips: Iterable[Clip]) -> list[Count]:
    """Counts the combinations of action units of a data set, the most frequent first."""
    found = Counter((clip.emotion, tuple(sorted(clip.action_units, key=_order))) for clip in clips)
    ranked = sorted(found.items(), key=lambda item: (item[0][0], -item[1], item[0][1]))
    return [Count(source, emotion, units, count) for (emotion, units), count in ranked]


def _order(code: str) -> tuple[int, str]:
    number = re.search(r"[0-9]+", code)
    return (int(number[0]) if number else 0, code)


def write_counts(counts: Iterable[Count], path: Path = TABLE) -> None:
    """Writes the table."""
    rows = [(c.source, c.emotion, "+".join(c.units), str(c.count)) for c in counts]
    write_text("\n".join(",".join(row) for row in (COLUMNS, *rows)) + "\n", path)


def read_counts(path: Path = TABLE) -> list[Count]:
    """The table as it is written."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Count(row["source"], row["emotion"], tuple(row["units"].split("+")), int(row["count"]))
            for row in csv.DictReader(file)
        ]


def known_units(codes: Iterable[str]) -> tuple[str, ...]:
    """Those of some codes that `microexpr.anatomy` can show, ``"12"`` or ``"L12"``, by number.

    What it does not know is lost (16, 18, 22, 28, the nostrils' 38 and 39, head and eye movements),
    as are blinks, which every emotion has, and codes with a question mark. T and B (the upper or
    lower lip only) are taken for both; a unit on the left and on the right for both as well.

    >>> known_units(("L12", "AD38", "T24", "R1", "L1"))
    ('1', 'L12', '24')
    """
    sides: dict[str, set[str]] = {}
    for code in codes:
        match = _CODE.fullmatch(code)
        if match and match[2] in EXPRESSIVE:
            sides.setdefault(match[2], set()).add(match[1] if match[1] in "LR" else "")
    return tuple(
        (next(iter(found)) if len(found) == 1 else "") + unit
        for unit, found in sorted(sides.items(), key=lambda item: int(item[0]))
    )


@cache
def counted_mixes() -> Mapping[str, tuple[Mix, ...]]:
    """For each emotion of `microexpr.anatomy.EMOTIONS` what was counted, all sources together.

    `Mix.units` have their sides (``"L12"``); a combination of which nothing is left is dropped.
    """
    pooled: dict[str, Counter[tuple[str, ...]]] = {emotion: Counter() for emotion in EMOTIONS}
    for row in read_counts():
        units = known_units(row.units)
        emotion = CALLED.get(row.emotion, row.emotion)
        if units and emotion in pooled:
            pooled[emotion][units] += row.count
    return {
        emotion: tuple(Mix(units, count) for units, count in sorted(found.items()))
        for emotion, found in pooled.items()
    }


@cache
def unit_shares() -> Mapping[str, float]:
    """How often each unit occurs among all that were counted; the shares sum to 1."""
    seen = Counter[str]()
    for row in read_counts():
        for code in known_units(row.units):
            seen[code.lstrip("LR")] += row.count
    return {unit: seen[unit] / seen.total() for unit in EXPRESSIVE}
