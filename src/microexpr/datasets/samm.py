"""SAMM as its owners ship it: a sheet with FACS codes and one folder of frames a clip.

``SAMM_Micro_FACS_Codes_v2.xlsx``, sheet MICRO_ONLY: 13 rows of preamble, the header on row 14, then
159 rows ``Subject, Filename, Inducement Code, Onset Frame, Apex Frame, Offset Frame, Duration,
Micro, Action Units, Estimated Emotion, Objective Classes, Notes``.

Frames: ``SAMM/006/006_1_2/006_05562.jpg`` (960x650, grey). The number is padded to five digits in
some clips and to four in others, so it is parsed and never formatted.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from microexpr.annotations import (
    Correction,
    Row,
    action_units,
    check_counts,
    choice,
    name,
    read_rows,
    settle,
    whole,
)
from microexpr.clip import Clip
from microexpr.datasets.base import Dataset, check_choice
from microexpr.layout import find_file, find_folder, first_there

FILES = ("samm_micro_facs_codes*.xlsx", "samm.xlsx")
COLUMNS = (
    "Subject",
    "Filename",
    "Onset Frame",
    "Apex Frame",
    "Offset Frame",
    "Action Units",
    "Estimated Emotion",
)
FOLDERS = {"raw": ("SAMM",), "cropped": ("SAMM_CROP", "SAMM_Cropped")}
COUNTS = {
    "anger": 57,
    "other": 26,
    "happiness": 26,
    "surprise": 15,
    "contempt": 12,
    "disgust": 9,
    "fear": 8,
    "sadness": 6,
}
_OR = "the sheet leaves two codes open; decided on optical flow by Varanka et al. (MEB)"
CORRECTIONS = (
    Correction(
        "028/028_4_1",
        "apex",
        1143,
        1124,
        "typo: after the offset 1134; 1124 in the sheet as circulated with the typo mended, "
        "within the 1105 to 1134 that four public codes use",
    ),
    Correction(
        "032/032_3_1", "apex", 1930, 4930, "typo: onset 4896 and offset 4970; first digit wrong"
    ),
    Correction("007/007_6_1", "action_units", ("(R6 or R12)", "R15"), ("R12", "R15"), _OR),
    Correction("007/007_6_5", "action_units", ("(R6 or R12)", "R15"), ("R12", "R15"), _OR),
    Correction("011/011_4_2", "action_units", ("L12 or L14",), ("L14",), _OR),
    Correction("014/014_5_2", "action_units", ("R12 or R14",), ("R14",), _OR),
    Correction("035/035_7_2", "action_units", ("R14A or 17A or 24A",), ("R14A",), _OR),
)


class Samm(Dataset):
    """SAMM.

    Args:
        root: Its folder, or one that holds only the sheet of FACS codes.
        pictures: ``"raw"`` or ``"cropped"``: which frames `Clip.source` points to.
        corrected: Apply `CORRECTIONS`; False gives the sheet's own values.
        complete: Refuse a sheet without the published number of clips of each emotion.

    Raises:
        UserError: A setting has no such value.
    """

    title = "SAMM: 159 micro-expressions of 29 persons, 200 fps, grey"
    paper = "Davison et al., IEEE TAFFC 9(1), 2018; classes: Davison et al., J. Imaging 4(10), 2018"
    access = "sign the licence agreement of Manchester Metropolitan University (Moi Hoon Yap)"

    def __init__(
        self, root: Path, pictures: str = "raw", corrected: bool = True, complete: bool = True
    ) -> None:
        super().__init__(root)
        check_choice("pictures", pictures, FOLDERS)
        self.pictures, self.corrected, self.complete = pictures, corrected, complete

    def clips(self) -> list[Clip]:
        """Every row of the sheet, in its order."""
        rows = read_rows(find_file(self.root, FILES, "SAMM", self.access), COLUMNS)
        home = find_folder(self.root, FOLDERS[self.pictures], r"\d{3}")
        clips = [self._clip(row, home) for row in rows]
        clips = settle(rows, clips, CORRECTIONS if self.corrected else None, COLUMNS[1:5])
        if self.complete:
            check_counts("SAMM", Counter(clip.emotion for clip in clips), COUNTS)
        return clips

    def _clip(self, row: Row, home: Path | None) -> Clip:
        subject, title = f"{whole(row, 'Subject'):03d}", name(row, "Filename")
        return Clip(
            dataset="samm",
            subject=subject,
            name=title,
            emotion=choice(row, "Estimated Emotion", COUNTS),
            source=first_there(self.root, home, (f"{subject}/{title}",)),
            onset=whole(row, "Onset Frame"),
            apex=whole(row, "Apex Frame"),
            offset=whole(row, "Offset Frame"),
            fps=200.0,
            action_units=action_units(row, "Action Units"),
            modality="grey",
        )
