"""What the searches of a run have chosen: one row a training, a table and a picture.

After Figure 4 of AMMSM: the distribution of sparsity ratios and magnification factor.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from microexpr.files import write_text
from microexpr.models.base import Adaptive

FIXED = ("seed", "fold", "selection", "loss")


def note_choices(path: Path, model: Adaptive, **about: Any) -> None:
    """Writes what one search has chosen, as JSON.

    Args:
        path: File to write.
        model: As the search left it.
        about: The fields of `FIXED`.
    """
    write_text(json.dumps({**{key: about[key] for key in FIXED}, **model.chosen}), path)


def write_choices(notes: Sequence[Path], out: Path) -> None:
    """Writes ``search.csv`` and ``search.png``; without a note, nothing.

    Args:
        notes: Files of `note_choices`; those that are missing are passed over.
        out: Folder to write to.
    """
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in notes if path.exists()]
    if not rows:
        return
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(text.getvalue(), out / "search.csv")
    draw_table(out / "search.csv", out / "search.png")


def draw_table(table: Path, picture: Path) -> None:
    """Draws what a ``search.csv`` tells; of choices that are neither ratio nor factor, nothing.

    Args:
        table: Of `write_choices`.
        picture: File to write.
    """
    from microexpr.drawing import draw_choices, save  # matplotlib: half a second

    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    kept = {k: [float(row[k]) for row in rows] for k in rows[0] if k not in FIXED}
    ratios = {_title(k): values for k, values in kept.items() if k.startswith("ratio_")}
    if ratios or "alpha" in kept:
        save(draw_choices(ratios, kept.get("alpha", [])), picture)


def _title(name: str) -> str:
    """``ratio_2_1`` -> ``2.1``: stage and pair."""
    return name.removeprefix("ratio_").replace("_", ".")
