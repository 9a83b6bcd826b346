"""CAS(ME)^3 as its owners ship it: part A (860 clips, colour and depth) and part C (mock crime).

Part A, ``cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx``, sheet label: ``Subject, Filename, Onset,
Apex, Offset, AU, Objective class, emotion``, all text. One recording (``spNO.1``, ``b``) holds
several movements, so a clip is named like its folder, by recording and onset: ``b_166``. Frames:
``Part_A_ME_clip/frame/spNO.1_b_166/166.jpg``, or of the whole recording
``part_A/spNO.1/b/color/166.jpg``.

Part C, ``CAS(ME)3_part_C_ME.xlsx``: ``sub, count, onset, offset, au, emotion`` (165 rows), no apex,
emotions negative, positive, surprise, others. Its persons are others than those of part A and are
called C01, C02, ... here.
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
from microexpr.clip import Clip, Video
from microexpr.datasets.base import Dataset, check_choice
from microexpr.layout import find_file, find_folder, first_there, subfolders

FILES = {"A": ("cas*me*3_part_a_me_label*.xlsx",), "C": ("cas*me*3_part_c_me*.xlsx",)}
COLUMNS_A = ("Subject", "Filename", "Onset", "Apex", "Offset", "AU", "emotion")
COLUMNS_C = ("sub", "count", "onset", "offset", "au", "emotion")
COUNTS = {
    "A": {
        "disgust": 250,
        "surprise": 187,
        "others": 161,
        "fear": 86,
        "anger": 64,
        "sad": 57,
        "happy": 55,
    },
    "C": {"negative": 99, "surprise": 30, "others": 20, "positive": 16},
}
_MEB = "; the value is that of Varanka et al. (MEB)"
CORRECTIONS = (
    Correction("spNO.149/d_112", "apex", 83, 160, f"before the onset{_MEB}"),
    Correction("spNO.214/c_5", "offset", 3460, 34, f"would last almost two minutes{_MEB}"),
    Correction("spNO.216/d_3647", "onset", 3647, 2647, f"typo: after apex 2668{_MEB}"),
    Correction("spNO.216/e_0", "onset", 0, 1, f"frames start at 1{_MEB}"),
    Correction("spNO.216/e_0", "apex", 0, 1, f"frames start at 1{_MEB}"),
    Correction("spNO.40/e_1812", "offset", 0, 1845, f"0 stands for unknown{_MEB}"),
    Correction("spNO.40/e_2327", "offset", 0, 2403, f"0 stands for unknown{_MEB}"),
    Correction(
        "spNO.14/J_1012",
        "video",
        "casme3/spNO.14/J",
        "casme3/spNO.14/j",
        "the one capital among 860 recordings a to m",
    ),
)


class Casme3(Dataset):
    """CAS(ME)^3.

    Args:
        root: Its folder, or one that holds only the label files.
        part: ``"A"`` or ``"C"``.
        corrected: Apply `CORRECTIONS`; False gives the sheet's own values. A clip keeps its name,
            which is made of what the sheet says.
        complete: Refuse a sheet without the published number of clips of each emotion.

    Raises:
        UserError: A setting has no such value.
    """

    title = "CAS(ME)^3: part A 860 micro-expressions of 94 persons, part C 165; 30 fps, colour"
    paper = "Li et al., IEEE TPAMI 45(3), 2023"
    access = "sign the licence agreement at casme.psych.ac.cn/casme/e4"

    def __init__(
        self, root: Path, part: str = "A", corrected: bool = True, complete: bool = True
    ) -> None:
        super().__init__(root)
        check_choice("part", part, FILES)
        self.part, self.corrected, self.complete = part, corrected, complete

    def clips(self) -> list[Clip]:
        """Every row of the label file, in its order."""
        what = f"CAS(ME)^3, part {self.part}"
        path = find_file(self.root, FILES[self.part], what, self.access)
        if self.part == "A":
            clips = self._part_a(read_rows(path, COLUMNS_A))
        else:
            clips = self._part_c(read_rows(path, COLUMNS_C))
        if self.complete:
            check_counts(what, Counter(clip.emotion for clip in clips), COUNTS[self.part])
        return clips

    def videos(self) -> list[Video]:
        """Recordings of part A: those with a micro-expression, and the others found on disk."""
        if self.part == "C":
            return []
        labelled = {clip.video for clip in self.clips() if clip.video}
        home = self._recordings()
        found = {
            f"casme3/{folder.parent.name}/{folder.name}"
            for folder in subfolders(home, 2)
            if folder.parent.name.startswith("spNO.")
        }
        videos = []
        for video in sorted(labelled | found):
            _, subject, title = video.split("/")
            source = first_there(self.root, home, (f"{subject}/{title}/color",))
            videos.append(Video("casme3", subject, title, source, 30.0))
        return videos

    def _part_a(self, rows: list[Row]) -> list[Clip]:
        cut = find_folder(self.root, ("Part_A_ME_clip/frame", "frame"), r"spNO\.\d+_[a-zA-Z]+_\d+")
        whole_ones = self._recordings()
        clips = []
        for row in rows:
            subject, recording = name(row, "Subject"), name(row, "Filename")
            onset = whole(row, "Onset")
            folders = [f"{subject}/{letter}/color" for letter in (recording, recording.lower())]
            clips.append(
                Clip(
                    dataset="casme3",
                    subject=subject,
                    name=f"{recording}_{onset}",
                    emotion=choice(row, "emotion", COUNTS["A"]),
                    source=first_there(self.root, cut, (f"{subject}_{recording}_{onset}",))
                    or first_there(self.root, whole_ones, folders),
                    onset=onset,
                    apex=whole(row, "Apex"),
                    offset=whole(row, "Offset"),
                    fps=30.0,
                    action_units=action_units(row, "AU"),
                    video=f"casme3/{subject}/{recording}",
                )
            )
        return settle(rows, clips, CORRECTIONS if self.corrected else None, COLUMNS_A[1:5])

    def _part_c(self, rows: list[Row]) -> list[Clip]:
        home = find_folder(self.root, ("Part_C_ME_clip/frame", "part_C", "ME_C"), r"\d+(_\d+)*")
        clips = []
        for row in rows:
            person, count, onset = whole(row, "sub"), whole(row, "count"), whole(row, "onset")
            folders = (f"{person}_{count}_{onset}", f"{person:02d}/{count}/color")
            clips.append(
                Clip(
                    dataset="casme3",
                    subject=f"C{person:02d}",
                    name=f"{count}_{onset}",
                    emotion=choice(row, "emotion", COUNTS["C"]),
                    source=first_there(self.root, home, folders),
                    onset=onset,
                    offset=whole(row, "offset"),
                    fps=30.0,
                    action_units=action_units(row, "au"),
                )
            )
        return settle(rows, clips, (), ("count", "onset", "", "offset"))

    def _recordings(self) -> Path | None:
        return find_folder(self.root, ("part_A", "ME_A"), r"spNO\.\d+")
