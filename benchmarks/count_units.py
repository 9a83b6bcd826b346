"""Counts which action units go with which emotion in the label files of DFME and CAS(ME)^3.

    python benchmarks/count_units.py --annotations FOLDER

FOLDER holds the label files; no pictures are needed. Writes src/microexpr/mixes.csv, and prints how
often each unit was seen on one side only.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from microexpr.datasets import open_dataset
from microexpr.mixes import TABLE, Count, count_units, known_units, write_counts

SOURCES = {
    "dfme": ("dfme", {}),
    "casme3_a": ("casme3", {"part": "A"}),
    "casme3_c": ("casme3", {"part": "C"}),
}


def counted(annotations: Path) -> list[Count]:
    """The rows of every source."""
    rows = []
    for source, (name, settings) in SOURCES.items():
        rows += count_units(source, open_dataset(name, annotations, **settings).clips())
    return rows


def sides(rows: Sequence[Count]) -> str:
    """A table: per unit the clips with it on both sides, on the left only, on the right only."""
    seen = Counter(
        (code.lstrip("LR"), code[0] if code[0] in "LR" else "")
        for row in rows
        for code in known_units(row.units)
        for _ in range(row.count)
    )
    lines = ["unit  both  left right  one-sided"]
    for unit in sorted({unit for unit, _ in seen}, key=int):
        both, left, right = (seen[unit, side] for side in ("", "L", "R"))
        share = (left + right) / (both + left + right)
        lines.append(f"{unit:>4}{both:6}{left:6}{right:6}{share:11.2f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--annotations", type=Path, required=True, help="folder of label files")
    parser.add_argument("--out", type=Path, default=TABLE)
    arguments = parser.parse_args()
    rows = counted(arguments.annotations)
    write_counts(rows, arguments.out)
    print(f"{sum(row.count for row in rows)} clips, {len(rows)} combinations: {arguments.out}")
    print(sides(rows))


if __name__ == "__main__":
    main()
