"""CAS(ME)^2 as its owners ship it: long recordings with macro- and micro-expressions, for spotting.

``CAS(ME)^2code_final(Updated).csv`` (or ``.xlsx``) has **no header**: participant, event, onset,
apex, offset, action units, emotion, type, self-reported emotion, in some copies also duration and
path. 357 rows, 57 of them micro. Offset 0 means missing (44 rows, all macro). The event
``anger1_2`` is the second movement while the participant saw film ``anger1``; two tables of the
original workbook translate participant 1 to ``s15`` and that film to ``0401girlcrashing``.

Frames: ``rawpic/s15/15_0401girlcrashing/img557.jpg``.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from microexpr.annotations import (
    Correction,
    Row,
    action_units,
    check_counts,
    choice,
    place,
    read_rows,
    settle,
    text,
    whole,
    whole_or_none,
)
from microexpr.clip import Clip, Video
from microexpr.datasets.base import Dataset, check_choice
from microexpr.errors import UserError, suggest
from microexpr.layout import find_file, find_folder, first_there, subfolders

FILES = (
    "cas*me*2*code*final*.csv",
    "casme_sq*code*final*.csv",
    "cas*me*2*code*final*.xlsx",
    "casme_sq*code*final*.xlsx",
    "code_final*.xlsx",
)
COLUMNS = ("participant", "event", "onset", "apex", "offset", "AUs", "emotion", "type")
FOLDERS = {"raw": ("rawpic",), "cropped": ("cropped",)}
KINDS = ("micro", "macro", "both")
SUBJECTS = (15, 16, 19, 20, 21, 22, 23, 24, 25, 26, 27, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 40)
FILMS = {
    "anger1": "0401girlcrashing",
    "anger2": "0402beatingpregnantwoman",
    "disgust1": "0101disgustingteeth",
    "disgust2": "0102eatingworms",
    "happy1": "0502funnyerrors",
    "happy2": "0503unnyfarting",  # the owners' spelling
    "happy3": "0505funnyinnovations",
    "happy4": "0507climbingthewall",
    "happy5": "0508funnydunkey",
}
COUNTS = {
    "micro": {"negative": 21, "others": 19, "surprise": 9, "positive": 8},
    "macro": {"positive": 116, "negative": 105, "others": 63, "surprise": 16},
    "both": {"negative": 126, "positive": 124, "others": 82, "surprise": 25},
}
_LATE = "after the offset; which of the two is wrong is not known"
CORRECTIONS = (
    Correction("s27/disgust1_5", "apex", 1230, None, _LATE),
    Correction("s31/happy2_1", "apex", 2203, None, _LATE),
    Correction("s32/anger1_12", "apex", 2455, None, _LATE),
    Correction("s34/anger1_1", "apex", 0, None, "0 stands for unknown: the onset is 1763"),
)


class CasmeSq(Dataset):
    """CAS(ME)^2.

    Args:
        root: Its folder, or one that holds only the label file.
        kind: ``"micro"``, ``"macro"`` or ``"both"``; `Clip.split` says which one a clip is.
        pictures: ``"raw"`` or ``"cropped"``: which frames `Clip.source` points to.
        corrected: Apply `CORRECTIONS`; False gives the table's own values.
        complete: Refuse a table without the published number of clips of each emotion.

    Raises:
        UserError: A setting has no such value.
    """

    title = "CAS(ME)^2: 57 micro- and 300 macro-expressions of 22 persons in long videos, 30 fps"
    paper = "Qu et al., IEEE TAFFC 9(4), 2018"
    access = "sign the licence agreement at casme.psych.ac.cn/casme/e3"

    def __init__(
        self,
        root: Path,
        kind: str = "micro",
        pictures: str = "raw",
        corrected: bool = True,
        complete: bool = True,
    ) -> None:
        super().__init__(root)
        check_choice("kind", kind, KINDS)
        check_choice("pictures", pictures, FOLDERS)
        self.kind, self.pictures = kind, pictures
        self.corrected, self.complete = corrected, complete

    def clips(self) -> list[Clip]:
        """The movements of the chosen kind, in the table's order."""
        clips = [clip for clip in self._all() if self.kind in ("both", clip.split)]
        if self.complete:
            what = f"CAS(ME)^2 ({self.kind})"
            check_counts(what, Counter(clip.emotion for clip in clips), COUNTS[self.kind])
        return clips

    def videos(self) -> list[Video]:
        """Recordings with a movement of either kind, and the others found on disk."""
        home = self._home()
        found = {
            f"casme_sq/{folder.parent.name}/{folder.name}"
            for folder in subfolders(home, 2)
            if folder.parent.name.startswith("s")
        }
        videos = []
        for video in sorted({str(clip.video) for clip in self._all()} | found):
            _, subject, title = video.split("/")
            source = first_there(self.root, home, (f"{subject}/{title}",))
            videos.append(Video("casme_sq", subject, title, source, 30.0))
        return videos

    def _all(self) -> list[Clip]:
        path = find_file(self.root, FILES, "CAS(ME)^2", self.access)
        rows = read_rows(path, COLUMNS, headed=False)
        home = self._home()
        clips = [self._clip(row, home) for row in rows]
        return settle(rows, clips, CORRECTIONS if self.corrected else None, COLUMNS[1:5])

    def _clip(self, row: Row, home: Path | None) -> Clip:
        number = _subject(row)
        event = text(row, "event")
        film = event.split("_")[0]
        if not re.fullmatch(r"[a-z]+\d_\d+", event) or film not in FILMS:
            raise UserError(f"{place(row, 'event')}: unknown film: {suggest(film, FILMS)}")
        recording = f"{number}_{FILMS[film]}"
        kind = choice(row, "type", ("micro-expression", "macro-expression"))
        return Clip(
            dataset="casme_sq",
            subject=f"s{number}",
            name=event,
            emotion=choice(row, "emotion", COUNTS["both"]),
            source=first_there(self.root, home, (f"s{number}/{recording}",)),
            onset=whole(row, "onset"),
            apex=whole(row, "apex"),
            offset=whole_or_none(row, "offset", ("0",)),
            fps=30.0,
            action_units=action_units(row, "AUs"),
            video=f"casme_sq/s{number}/{recording}",
            split=kind.split("-")[0],
        )

    def _home(self) -> Path | None:
        return find_folder(self.root, FOLDERS[self.pictures], r"s\d+")


def _subject(row: Row) -> int:
    participant = whole(row, "participant")
    if not 1 <= participant <= len(SUBJECTS):
        raise UserError(
            f"{place(row, 'participant')}: expected 1 to {len(SUBJECTS)}, got {participant}"
        )
    return SUBJECTS[participant - 1]
