"""CASME II as its owners ship it: a coding sheet and one folder of frames a clip.

Sheet ``CASME2-coding-20140508.xlsx`` (or ``-20190701``): 255 rows ``Subject, Filename, (blank),
OnsetFrame, ApexFrame, OffsetFrame, (blank), Action Units, Estimated Emotion``; the missing apex of
one row is ``/``. The 2019 coding turns three clips of sub24 from sadness to surprise and rewrites
57 cells of action units; the MEGC2019 list follows the 2014 coding.

Frames: ``CASME2_RAW_selected/sub01/EP02_01f/img46.jpg`` (640x480), or cropped
``Cropped/sub01/EP02_01f/reg_img46.jpg``, without padding. Of the 257 folders two have no row:
sub09/EP02_02f and sub24/EP02_07.
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
    whole_or_none,
)
from microexpr.clip import Clip
from microexpr.datasets.base import Dataset, check_choice
from microexpr.layout import find_file, find_folder, first_there

FILES = {"2014": ("casme2-coding-2014*.xlsx",), "2019": ("casme2-coding-2019*.xlsx",)}
COLUMNS = (
    "Subject",
    "Filename",
    "OnsetFrame",
    "ApexFrame",
    "OffsetFrame",
    "Action Units",
    "Estimated Emotion",
)
FOLDERS = {
    "raw": ("CASME2_RAW_selected", "CASME2-RAW", "CASME2_RAW"),
    "cropped": ("Cropped", "CASME2_Cropped"),
}
COUNTS = {
    "2014": {
        "others": 99,
        "disgust": 63,
        "happiness": 32,
        "repression": 27,
        "surprise": 25,
        "sadness": 7,
        "fear": 2,
    },
    "2019": {
        "others": 99,
        "disgust": 63,
        "happiness": 32,
        "repression": 27,
        "surprise": 28,
        "sadness": 4,
        "fear": 2,
    },
}
# Four more clips have their apex at the offset (sub05/EP16_04f, sub12/EP09_06, sub20/EP16_01,
# sub25/EP18_04f): odd, but nothing says which of the two is wrong, so they stay.
CORRECTIONS = (
    Correction(
        "sub04/EP12_01f",
        "apex",
        None,
        279,
        "the sheet has '/'; estimated from optical flow by Varanka et al. (MEB)",
    ),
    Correction(
        "sub05/EP09_05f",
        "apex",
        69,
        81,
        "the sheet repeats the onset; estimated from optical flow by Varanka et al. (MEB)",
    ),
    Correction(
        "sub07/EP06_01",
        "offset",
        68,
        91,
        "the sheet disagrees with the folder of frames, after Varanka et al. (MEB)",
    ),
)


class Casme2(Dataset):
    """CASME II.

    Args:
        root: Its folder, or one that holds only the coding sheet.
        coding: ``"2014"`` or ``"2019"``.
        pictures: ``"raw"`` or ``"cropped"``: which frames `Clip.source` points to.
        corrected: Apply `CORRECTIONS`; False gives the sheet's own values.
        complete: Refuse a sheet without the published number of clips of each emotion.

    Raises:
        UserError: A setting has no such value.
    """

    title = "CASME II: 255 micro-expressions of 26 persons, 200 fps, colour"
    paper = "Yan et al., PLoS ONE 9(1), 2014"
    access = "sign the licence agreement at casme.psych.ac.cn/casme/e2"

    def __init__(
        self,
        root: Path,
        coding: str = "2014",
        pictures: str = "raw",
        corrected: bool = True,
        complete: bool = True,
    ) -> None:
        super().__init__(root)
        check_choice("coding", coding, FILES)
        check_choice("pictures", pictures, FOLDERS)
        self.coding, self.pictures = coding, pictures
        self.corrected, self.complete = corrected, complete

    def clips(self) -> list[Clip]:
        """Every row of the coding sheet, in its order."""
        what = f"CASME II, coding of {self.coding}"
        rows = read_rows(find_file(self.root, FILES[self.coding], what, self.access), COLUMNS)
        home = find_folder(self.root, FOLDERS[self.pictures], r"sub\d\d")
        clips = [self._clip(row, home) for row in rows]
        clips = settle(rows, clips, CORRECTIONS if self.corrected else None, COLUMNS[1:5])
        if self.complete:
            check_counts(what, Counter(clip.emotion for clip in clips), COUNTS[self.coding])
        return clips

    def _clip(self, row: Row, home: Path | None) -> Clip:
        subject, title = f"sub{whole(row, 'Subject'):02d}", name(row, "Filename")
        at = f"{subject}/{title}"
        return Clip(
            dataset="casme2",
            subject=subject,
            name=title,
            emotion=choice(row, "Estimated Emotion", COUNTS[self.coding]),
            source=first_there(self.root, home, (at, f"{at}.avi", f"{at}.AVI")),
            onset=whole(row, "OnsetFrame"),
            apex=whole_or_none(row, "ApexFrame", ("", "/")),
            offset=whole(row, "OffsetFrame"),
            fps=200.0,
            action_units=action_units(row, "Action Units"),
        )
