"""MMEW, from published descriptions of its label file: the file itself was never at hand.

``MMEW_Micro_Exp.xlsx``: ``Subject, Filename, OnsetFrame, ApexFrame, OffsetFrame, Action Units,
Estimated Emotion, remarks``. Frames: ``Micro_Expression/<emotion>/S13-07-001/1.jpg``, numbered
from 1. Sixteen rows have a wrong apex or offset; the values below are those of Varanka et al.
(MEB), who name the rows by their place. A repair is made only where the row's own frames are
missing or out of order, so that a mended copy of the file stays as it is.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from microexpr.annotations import (
    Row,
    action_units,
    check_counts,
    choice,
    name,
    place,
    read_rows,
    settle,
    text,
    whole,
    whole_or_none,
)
from microexpr.clip import Clip
from microexpr.datasets.base import Dataset
from microexpr.errors import UserError
from microexpr.layout import find_file, find_folder, first_there

FILES = ("mmew_micro_exp*.xlsx",)
COLUMNS = (
    "Subject",
    "Filename",
    "OnsetFrame",
    "ApexFrame",
    "OffsetFrame",
    "Action Units",
    "Estimated Emotion",
)
COUNTS = {
    "surprise": 89,
    "disgust": 72,
    "others": 66,
    "happiness": 36,
    "fear": 16,
    "sadness": 13,
    "anger": 8,
}
REPAIRS = {  # row, from 0: (apex, offset)
    33: (40, 75),
    35: (15, 54),
    36: (46, 59),
    37: (20, 98),
    38: (25, 80),
    39: (20, 93),
    40: (23, 58),
    41: (28, 61),
    42: (32, 68),
    142: (56, 88),
    143: (32, 80),
    145: (27, 85),
    146: (22, 61),
    148: (29, 108),
    154: (31, 72),
    156: (38, 106),
}


class Mmew(Dataset):
    """MMEW.

    Args:
        root: Its folder, or one that holds only the label file.
        corrected: Apply `REPAIRS`; False gives the sheet's own values.
        complete: Refuse a sheet without the published number of clips of each emotion.
    """

    title = "MMEW: 300 micro-expressions of 30 persons, 90 fps, colour"
    paper = "Ben et al., IEEE TPAMI 44(9), 2022"
    access = "sign the licence agreement at www.dpailab.com/database.html"
    unverified = True

    def __init__(self, root: Path, corrected: bool = True, complete: bool = True) -> None:
        super().__init__(root)
        self.corrected, self.complete = corrected, complete

    def clips(self) -> list[Clip]:
        """Every row of the sheet, in its order."""
        rows = read_rows(find_file(self.root, FILES, "MMEW", self.access), COLUMNS)
        home = find_folder(self.root, ("Micro_Expression",), "|".join(COUNTS))
        clips = [self._clip(row, home) for row in rows]
        if self.corrected:
            clips = [_repaired(position, clip) for position, clip in enumerate(clips)]
        clips = settle(rows, clips, () if self.corrected else None, COLUMNS[1:5])
        if self.complete:
            check_counts("MMEW", Counter(clip.emotion for clip in clips), COUNTS)
        return clips

    def _clip(self, row: Row, home: Path | None) -> Clip:
        title, emotion = name(row, "Filename"), choice(row, "Estimated Emotion", COUNTS)
        return Clip(
            dataset="mmew",
            subject=_subject(row),
            name=title,
            emotion=emotion,
            source=first_there(self.root, home, (f"{emotion}/{title}",)),
            onset=whole(row, "OnsetFrame"),
            apex=whole_or_none(row, "ApexFrame", ("", "/")),
            offset=whole_or_none(row, "OffsetFrame", ("", "/")),
            fps=90.0,
            action_units=action_units(row, "Action Units"),
        )


def _subject(row: Row) -> str:
    """13 or S13, whichever the sheet has, spelled as in the clips' names."""
    match = re.fullmatch(r"[sS]?0*([0-9]{1,3})", text(row, "Subject"))
    if match is None:
        raise UserError(
            f"{place(row, 'Subject')}: expected 13 or S13, got '{row.cells['Subject']}'"
        )
    return f"S{int(match[1]):02d}"


def _repaired(position: int, clip: Clip) -> Clip:
    frames = (clip.onset, clip.apex, clip.offset)
    known = [frame for frame in frames if frame is not None]
    if position not in REPAIRS or (len(known) == 3 and known[0] < known[1] < known[2]):
        return clip
    apex, offset = REPAIRS[position]
    return replace(clip, apex=apex, offset=offset)
