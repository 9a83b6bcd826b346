"""4DME (grey camera), from published descriptions of its label file: it was never at hand.

``4DME_Labelling_Micro_release v1.xlsx``: ``sub_ID, fold_name, Emotion, Onset, Apex, Offset, AUs,
AU<n> ..., Positive, Negative, Surprise, Repression, Others``. A clip may carry several emotions;
the text of the column Emotion is kept as it is, in lower case. According to Varanka et al. (MEB)
two rows have each other's action units, and codes that end in ``(k)`` do not count as present.
Frames: ``gray_micro/<sub_ID>/<fold_name>/``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from microexpr.annotations import Row, action_units, name, read_rows, settle, text, whole
from microexpr.clip import Clip
from microexpr.datasets.base import Dataset
from microexpr.errors import UserError
from microexpr.layout import find_file, find_folder, first_there

FILES = ("4dme_labelling_micro*.xlsx",)
COLUMNS = ("sub_ID", "fold_name", "Onset", "Apex", "Offset", "AUs", "Emotion")
CLIPS = 267
SWAPPED = (144, 145)  # rows, from 0, that have each other's action units


class FourdMe(Dataset):
    """4DME.

    Args:
        root: Its folder, or one that holds only the label file.
        corrected: Give the two `SWAPPED` rows their own action units; False leaves the sheet's.
        complete: Refuse a sheet without 267 rows.
    """

    title = "4DME: 267 micro-expressions, 60 fps, grey"
    paper = "Li et al., IEEE TAFFC 14(4), 2023"
    access = "sign the licence agreement of the University of Oulu (CMVS)"
    unverified = True

    def __init__(self, root: Path, corrected: bool = True, complete: bool = True) -> None:
        super().__init__(root)
        self.corrected, self.complete = corrected, complete

    def clips(self) -> list[Clip]:
        """Every row of the sheet, in its order."""
        rows = read_rows(find_file(self.root, FILES, "4DME", self.access), COLUMNS)
        home = find_folder(self.root, ("gray_micro", "gray_micro_crop"), r"[a-zA-Z_]*\d+")
        clips = [self._clip(row, home) for row in rows]
        if self.corrected and len(clips) > max(SWAPPED):
            one, other = (clips[place] for place in SWAPPED)
            clips[SWAPPED[0]] = replace(one, action_units=other.action_units)
            clips[SWAPPED[1]] = replace(other, action_units=one.action_units)
        clips = settle(rows, clips, () if self.corrected else None, COLUMNS[1:5])
        if self.complete and len(clips) != CLIPS:
            raise UserError(
                f"4DME: expected {CLIPS} clips, found {len(clips)}; with a part of the set only, "
                "pass complete=False"
            )
        return clips

    def _clip(self, row: Row, home: Path | None) -> Clip:
        subject, title = name(row, "sub_ID"), name(row, "fold_name")
        return Clip(
            dataset="fourd_me",
            subject=subject,
            name=title,
            emotion=text(row, "Emotion").lower(),
            source=first_there(self.root, home, (f"{subject}/{title}",)),
            onset=whole(row, "Onset"),
            apex=whole(row, "Apex"),
            offset=whole(row, "Offset"),
            fps=60.0,
            action_units=action_units(row, "AUs"),
            modality="grey",
        )
