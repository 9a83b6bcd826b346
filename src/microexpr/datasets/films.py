"""Films of drawn people as `microexpr film` makes them: rendered, compressed, with the truth.

``index.csv``: ``clip, person, emotion, units, onset, apex, offset, fps``; frames are numbered from
1. Films: ``s0p0003/0007_happiness.mp4``, below the person.
"""

from __future__ import annotations

from microexpr.anatomy import EMOTIONS
from microexpr.annotations import (
    Row,
    action_units,
    choice,
    name,
    place,
    read_rows,
    settle,
    text,
    whole,
)
from microexpr.clip import Clip
from microexpr.datasets.base import Dataset
from microexpr.errors import UserError
from microexpr.layout import find_file

COLUMNS = ("clip", "person", "emotion", "units", "onset", "apex", "offset", "fps")


class Films(Dataset):
    """An archive of synthetic films.

    Args:
        root: Its folder.
    """

    title = "Films of drawn people, one micro-expression each, any number of persons"
    paper = "made here, after Ekman, Friesen and Hager, Facial Action Coding System, 2002"
    access = "microexpr film FOLDER"

    def clips(self) -> list[Clip]:
        """Every film of the index, in its order."""
        path = find_file(self.root, ("index.csv",), "films", self.access)
        rows = read_rows(path, COLUMNS)
        return settle(rows, [self._clip(row) for row in rows], (), COLUMNS[:1] + COLUMNS[4:7])

    def _clip(self, row: Row) -> Clip:
        person, title = name(row, "person"), name(row, "clip")
        source = f"{person}/{title}.mp4"
        return Clip(
            dataset="films",
            subject=person,
            name=title,
            emotion=choice(row, "emotion", EMOTIONS),
            source=source if (self.root / source).is_file() else "",
            onset=whole(row, "onset"),
            apex=whole(row, "apex"),
            offset=whole(row, "offset"),
            fps=_rate(row),
            action_units=action_units(row, "units"),
        )


def _rate(row: Row) -> float:
    try:
        rate = float(text(row, "fps"))
    except ValueError:
        rate = 0.0
    if not 0 < rate < 1e6:
        raise UserError(
            f"{place(row, 'fps')}: expected frames per second, got '{row.cells['fps']}'"
        )
    return rate
