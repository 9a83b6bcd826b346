"""SAMM long videos as its owners ship them: macro- and micro-movements, for spotting.

``SAMM_LongVideos_V2_Release.csv`` (or ``.xlsx``, V1 and V3 alike): nine lines of preamble, the
header on line 10: ``Subject, Filename, Inducement Code, Onset, Apex, Offset, Duration, Type, Action
Units, Notes``. 502 rows, 159 of them micro; apex -1 means none. One name, 037_4_1, stands there
twice, once micro and once macro: the macro one gets the name 037_4_1_macro here.

The table names no emotions. Those of the micro-movements are taken from the sheet of FACS codes of
SAMM where that lies beside it, by the clip's name; elsewhere they are "unknown". Frames:
``SAMM_longvideos/006_1/006_1_0566.jpg``; their numbers are not those of the cut clips of SAMM.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from microexpr.annotations import (
    Row,
    action_units,
    check_counts,
    name,
    place,
    read_rows,
    settle,
    text,
    whole,
    whole_or_none,
)
from microexpr.clip import Clip, Video
from microexpr.datasets.base import Dataset, check_choice
from microexpr.errors import UserError
from microexpr.layout import find_file, find_files, find_folder, first_there, subfolders

FILES = ("samm_longvideos*.csv", "samm_longvideos*.xlsx")
CODES = ("samm_micro_facs_codes*.xlsx", "samm.xlsx")
COLUMNS = (
    "Subject",
    "Filename",
    "Onset",
    "Apex",
    "Offset",
    "Inducement Code",
    "Type",
    "Action Units",
)
EMOTION_COLUMNS = ("Filename", "Estimated Emotion")
FOLDERS = ("SAMM_longvideos",)
KINDS = ("micro", "macro", "both")
COUNTS = {"micro": 159, "macro": 343}


class SammLv(Dataset):
    """SAMM long videos.

    Args:
        root: Its folder, or one that holds only the label file.
        kind: ``"micro"``, ``"macro"`` or ``"both"``; `Clip.split` says which one a clip is.
        complete: Refuse a table without the published number of movements of either kind.

    Raises:
        UserError: A setting has no such value.
    """

    title = "SAMM long videos: 159 micro- and 343 macro-movements in 147 videos, 200 fps, grey"
    paper = "Yap et al., FG 2020"
    access = "sign the licence agreement of Manchester Metropolitan University (Moi Hoon Yap)"

    def __init__(self, root: Path, kind: str = "micro", complete: bool = True) -> None:
        super().__init__(root)
        check_choice("kind", kind, KINDS)
        self.kind, self.complete = kind, complete

    def clips(self) -> list[Clip]:
        """The movements of the chosen kind, in the table's order."""
        clips = self._all()
        if self.complete:
            found = Counter(str(clip.split) for clip in clips)
            check_counts("SAMM long videos", found, COUNTS)
        return [clip for clip in clips if self.kind in ("both", clip.split)]

    def videos(self) -> list[Video]:
        """Videos with a movement of either kind, and the others found on disk."""
        home = self._home()
        names = {str(clip.video).rsplit("/", 1)[-1] for clip in self._all()}
        names |= {f.name for f in subfolders(home, 1) if re.fullmatch(r"\d{3}_\d", f.name)}
        return [
            Video("samm_lv", title[:3], title, first_there(self.root, home, (title,)), 200.0)
            for title in sorted(names)
        ]

    def _all(self) -> list[Clip]:
        path = find_file(self.root, FILES, "SAMM long videos", self.access)
        rows = read_rows(path, COLUMNS)
        beside = find_files(path.parent, CODES, depth=0)[:1]
        codes = [row for path in beside for row in read_rows(path, EMOTION_COLUMNS)]
        emotions = {name(row, "Filename"): text(row, "Estimated Emotion").lower() for row in codes}
        home = self._home()
        clips = [self._clip(row, home, emotions) for row in rows]
        return settle(rows, clips, (), COLUMNS[1:5])

    def _clip(self, row: Row, home: Path | None, emotions: dict[str, str]) -> Clip:
        subject, title = f"{whole(row, 'Subject'):03d}", name(row, "Filename")
        kind = text(row, "Type").lower().split()[0]
        if kind not in KINDS[:2]:
            raise UserError(f"{place(row, 'Type')}: expected Macro or Micro, got '{kind}'")
        recording = f"{subject}_{whole(row, 'Inducement Code')}"
        return Clip(
            dataset="samm_lv",
            subject=subject,
            name="037_4_1_macro" if (title, kind) == ("037_4_1", "macro") else title,
            emotion=emotions.get(title, "unknown") if kind == "micro" else "unknown",
            source=first_there(self.root, home, (recording,)),
            onset=whole(row, "Onset"),
            apex=whole_or_none(row, "Apex", ("-1", "")),
            offset=whole(row, "Offset"),
            fps=200.0,
            action_units=action_units(row, "Action Units"),
            video=f"samm_lv/{subject}/{recording}",
            modality="grey",
            split=kind,
        )

    def _home(self) -> Path | None:
        return find_folder(self.root, FOLDERS, r"\d{3}_\d")
