"""DFME as given out for the CCAC 2024 challenge: three parts with disjoint persons.

``training_full_with_AU.xlsx``, ``testA_...``, ``testB_...``: ``Subject, Filename, OnsetFrame,
ApexFrame, OffsetFrame, Emotion, EmotionId, Fps, AU``. The frame rate (200, 300 or 500) is given row
by row; frame numbers start at 0.

Frames: ``test_data_B/test_data_B/sub0001_01/00020.png``, the clip directly under its part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
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
    whole,
)
from microexpr.clip import Clip
from microexpr.datasets.base import Dataset, check_choice
from microexpr.errors import UserError
from microexpr.layout import find_file, find_folder, first_there

EMOTIONS = ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")  # by id
COLUMNS = (
    "Subject",
    "Filename",
    "OnsetFrame",
    "ApexFrame",
    "OffsetFrame",
    "Emotion",
    "EmotionId",
    "Fps",
    "AU",
)
FILES = {
    "train": ("train*_full_with_au.xlsx", "train*.xlsx"),
    "testA": ("testa_full_with_au.xlsx", "testa*.xlsx", "test_a*.xlsx"),
    "testB": ("testb_full_with_au.xlsx", "testb*.xlsx", "test_b*.xlsx"),
}
FOLDERS = {"train": ("train_data",), "testA": ("test_data_A",), "testB": ("test_data_B",)}
COUNTS = {
    "train": dict(zip(EMOTIONS, (161, 100, 548, 265, 206, 278, 298), strict=True)),
    "testA": dict(zip(EMOTIONS, (39, 34, 129, 62, 63, 46, 101), strict=True)),
    "testB": dict(zip(EMOTIONS, (41, 37, 58, 38, 42, 35, 48), strict=True)),
}


class Dfme(Dataset):
    """DFME.

    Args:
        root: Its folder, or one that holds only the label files.
        parts: Which of its parts; `Clip.split` says which one a clip is in.
        complete: Refuse a label file without the published number of clips of each emotion.

    Raises:
        UserError: No part, or an unknown one.
    """

    title = "DFME (CCAC 2024): 2629 micro-expressions of 259 persons, 200 to 500 fps, colour"
    paper = "Zhao et al., IEEE TAFFC 15(3), 2024"
    access = "sign the licence agreement at mea-lab-421.github.io"

    def __init__(
        self,
        root: Path,
        parts: Sequence[str] = ("train", "testA", "testB"),
        complete: bool = True,
    ) -> None:
        super().__init__(root)
        if not parts:
            raise UserError(f"parts must name at least one of {', '.join(FILES)}")
        for part in parts:
            check_choice("parts", part, FILES)
        self.parts, self.complete = tuple(parts), complete

    def clips(self) -> list[Clip]:
        """Every row of every part, part by part."""
        return [clip for part in self.parts for clip in self._part(part)]

    def _part(self, part: str) -> list[Clip]:
        what = f"DFME, part {part}"
        rows = read_rows(find_file(self.root, FILES[part], what, self.access), COLUMNS)
        home = find_folder(self.root, FOLDERS[part], r"sub\d{4}_\d+")
        clips = settle(rows, [self._clip(row, part, home) for row in rows], (), COLUMNS[1:5])
        if self.complete:
            check_counts(what, Counter(clip.emotion for clip in clips), COUNTS[part])
        return clips

    def _clip(self, row: Row, part: str, home: Path | None) -> Clip:
        subject, title = name(row, "Subject"), name(row, "Filename")
        emotion, number = choice(row, "Emotion", EMOTIONS), whole(row, "EmotionId")
        if number != EMOTIONS.index(emotion):
            raise UserError(
                f"{place(row, 'EmotionId')}: {number} is not the number of '{emotion}' "
                f"({EMOTIONS.index(emotion)})"
            )
        if not title.startswith(f"{subject}_"):
            raise UserError(f"{place(row, 'Filename')}: '{title}' is not a clip of '{subject}'")
        return Clip(
            dataset="dfme",
            subject=subject,
            name=title,
            emotion=emotion,
            source=first_there(self.root, home, (title,)),
            onset=whole(row, "OnsetFrame"),
            apex=whole(row, "ApexFrame"),
            offset=whole(row, "OffsetFrame"),
            fps=float(whole(row, "Fps")),
            action_units=action_units(row, "AU"),
            split=part,
        )
