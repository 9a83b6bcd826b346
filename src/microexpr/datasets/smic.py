"""SMIC as its owners ship it: cut clips (HS, VIS, NIR) and the longer recordings of SMIC-E.

Cut clips carry no label file: person, class and name are folders,
``SMIC_all_raw/HS/s1/micro/negative/s1_ne_01/image559740.bmp``, and a clip's frames run from onset
to offset. For HS a table of the same 164 clips circulates (``Subject, Filename, Emotion,
OnsetFrame, ApexFrame, OffsetFrame``), whose apex is only the middle. SMIC-E has sheets HS (162
rows) and VIS (71) with ``OnsetF, OffsetF``, for five rows a second movement, and the length of the
recording; frames in ``HS_long/SMIC-HS-E/s03/s3_ne_22/image443812.jpg``.

**No one annotated an apex.** A table of spotted ones circulates (``smic_apex*.xlsx``); in it seven
clips lack an offset, so only its apex is used. Ids follow the MEGC2019 list,
``smic/s01/s01_ne_01``; the disk says s1 and s1_ne_01, or s01 and s1_ne_01.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from microexpr.annotations import (
    Correction,
    Row,
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
from microexpr.errors import UserError
from microexpr.layout import (
    find_file,
    find_files,
    find_folder,
    first_there,
    numbered_pictures,
    subfolders,
)

FPS = {"HS": 100.0, "VIS": 25.0, "NIR": 25.0}
CUT_TABLE = ("smic_hs_164.csv", "smic*coding*.csv", "coding.csv")
CUT_COLUMNS = ("Filename", "OnsetFrame", "OffsetFrame", "Emotion")
LONG_COLUMNS = ("Filename", "OnsetF", "OffsetF", "Onset2F", "Offset2F", "TotalVL", "Emotion")
SPOTTED = ("smic_apex*.xlsx",)
FOLDERS = {"raw": "SMIC_all_raw", "cropped": "SMIC_all_cropped"}
APEX = ("none", "middle", "spotted")
PARTS = ("cut", "long")
EMOTIONS = {"ne": "negative", "po": "positive", "sur": "surprise"}
_SMALL = {"negative": 23, "positive": 28, "surprise": 20}
COUNTS = {
    ("cut", "HS"): {"negative": 70, "positive": 51, "surprise": 43},
    ("cut", "VIS"): _SMALL,
    ("cut", "NIR"): _SMALL,
    ("long", "HS"): {"negative": 72, "positive": 51, "surprise": 44},
    ("long", "VIS"): {"negative": 26, "positive": 28, "surprise": 22},
}
_NAME = re.compile(r"s(\d+)_((?:ne|po|sur)_\d+)")
CORRECTIONS = tuple(
    Correction(
        f"s18/{title}",
        "emotion",
        "negative",
        "surprise",
        "the SMIC-E sheets say negative; its name, its folder and the MEGC2019 list say surprise",
    )
    for title in ("s18_sur_03", "s18_sur_03_2")
)


class Smic(Dataset):
    """SMIC.

    Args:
        root: Its folder, or one that holds only label files.
        modality: Camera: ``"HS"`` (100 fps), ``"VIS"`` or ``"NIR"`` (25 fps).
        part: ``"cut"``: clips from onset to offset. ``"long"``: the recordings of SMIC-E, where the
            second movement of a recording gets the name of the first and ``_2``.
        apex: ``"none"``, as the set has it; ``"middle"`` of onset and offset, rounded down; or
            ``"spotted"``, from the table of that name (HS).
        pictures: ``"raw"`` or ``"cropped"``: which frames `Clip.source` points to.
        corrected: Apply `CORRECTIONS`; False gives the sheets' own values.
        complete: Refuse a set without the published number of clips of each class.

    Raises:
        UserError: A setting has no such value.
    """

    title = "SMIC: 164 micro-expressions of 16 persons (HS, 100 fps), 71 of 8 (VIS, NIR, 25 fps)"
    paper = "Li et al., FG 2013"
    access = "sign the licence agreement of the University of Oulu (CMVS)"

    def __init__(
        self,
        root: Path,
        modality: str = "HS",
        part: str = "cut",
        apex: str = "none",
        pictures: str = "raw",
        corrected: bool = True,
        complete: bool = True,
    ) -> None:
        super().__init__(root)
        check_choice("modality", modality, FPS)
        check_choice("part", part, PARTS)
        check_choice("apex", apex, APEX)
        check_choice("pictures", pictures, FOLDERS)
        self.modality, self.part, self.apex, self.pictures = modality, part, apex, pictures
        self.corrected, self.complete = corrected, complete

    def clips(self) -> list[Clip]:
        """The clips of the chosen camera and part."""
        if self.part == "long":
            clips = self._long()
        elif self.modality == "HS" and find_files(self.root, CUT_TABLE):
            clips = self._table()
        else:
            clips = self._folders() or self._long(second=False)
        if self.complete:
            self._check(clips)
        return self._with_apex(clips)

    def videos(self) -> list[Video]:
        """The recordings of SMIC-E; empty for cut clips, which are no recordings."""
        if self.part == "cut":
            return []
        home, videos = self._home(), []
        for row in self._long_rows():
            disk, subject, title = _names(row)
            folders = (f"{subject}/{disk}", f"{_unpadded(disk)}/{disk}")
            source = first_there(self.root, home, folders)
            fps, frames = FPS[self.modality], whole_or_none(row, "TotalVL")
            videos.append(Video("smic", subject, title, source, fps, frames))
        return videos

    def _table(self) -> list[Clip]:
        path = find_file(self.root, CUT_TABLE, "SMIC", self.access)
        rows, home = read_rows(path, CUT_COLUMNS), self._home()
        clips = [self._clip(row, home, ("OnsetFrame", "OffsetFrame")) for row in rows]
        return self._settle(rows, clips, ("Filename", "OnsetFrame", "", "OffsetFrame"))

    def _long(self, second: bool = True) -> list[Clip]:
        """The rows of the SMIC-E sheet; with `second`, each second movement after its first."""
        home = self._home()
        rows: list[Row] = []
        clips: list[Clip] = []
        for row in self._long_rows():
            rows.append(row)
            clips.append(self._clip(row, home, ("OnsetF", "OffsetF")))
            if second and whole_or_none(row, "Onset2F") is not None:
                rows.append(row)
                again = self._clip(row, home, ("Onset2F", "Offset2F"))
                clips.append(replace(again, name=f"{again.name}_2"))
        return self._settle(rows, clips, ("Filename", "OnsetF", "", "OffsetF"))

    def _long_rows(self) -> list[Row]:
        cameras = (self.modality.lower(), "hs")  # the file of HS has a sheet for VIS as well
        patterns = [f"smic-{camera}-e_annotation*.xlsx" for camera in dict.fromkeys(cameras)]
        path = find_file(self.root, patterns, f"SMIC-E, {self.modality}", self.access)
        return read_rows(path, LONG_COLUMNS, sheet=self.modality)

    def _folders(self) -> list[Clip]:
        """Cut clips as their folders tell them; onset and offset are the first and last frame."""
        clips = []
        for folder in subfolders(self._home(), 4):
            if folder.parents[1].name.lower() != "micro":
                continue
            match, frames = _NAME.fullmatch(folder.name), numbered_pictures(folder)
            if match is None:
                raise UserError(f"{folder}: expected a folder with a name like s1_ne_01")
            subject, title = _padded(match)
            clips.append(
                Clip(
                    dataset="smic",
                    subject=subject,
                    name=title,
                    emotion=EMOTIONS[match[2].split("_")[0]],
                    source=folder.relative_to(self.root).as_posix(),
                    onset=min(frames, default=None),
                    offset=max(frames, default=None),
                    fps=FPS[self.modality],
                    modality=self._colour(),
                )
            )
        return sorted(clips, key=lambda clip: clip.id)

    def _clip(self, row: Row, home: Path | None, columns: tuple[str, str]) -> Clip:
        disk, subject, title = _names(row)
        emotion = choice(row, "Emotion", EMOTIONS.values())
        short = _unpadded(disk)
        folders = [f"{short}/micro/{EMOTIONS[title.split('_')[1]]}/{disk}"]
        if self.part == "long":
            folders = [f"{subject}/{disk}", f"{short}/{disk}"]
        return Clip(
            dataset="smic",
            subject=subject,
            name=title,
            emotion=emotion,
            source=first_there(self.root, home, folders),
            onset=whole(row, columns[0]),
            offset=whole(row, columns[1]),
            fps=FPS[self.modality],
            video=f"smic/{subject}/{title}" if self.part == "long" else None,
            modality=self._colour(),
        )

    def _home(self) -> Path | None:
        camera = self.modality
        if self.part == "long":
            names = (f"{camera}_long/SMIC-{camera}-E", f"SMIC-{camera}-E/{camera}")
            return find_folder(self.root, names, r"s\d+")
        # the camera's name alone is no guide further down: raw and cropped clips both carry it
        names = (f"{FOLDERS[self.pictures]}/{camera}", f"./{camera}")
        return find_folder(self.root, names, r"s\d+")

    def _settle(self, rows: list[Row], clips: list[Clip], columns: tuple[str, ...]) -> list[Clip]:
        return settle(rows, clips, CORRECTIONS if self.corrected else None, columns)

    def _check(self, clips: list[Clip]) -> None:
        expected = COUNTS.get((self.part, self.modality))
        if expected and self.corrected:  # as they are, the SMIC-E sheets miscount s18_sur_03
            what = f"SMIC {self.modality} ({self.part})"
            check_counts(what, Counter(clip.emotion for clip in clips), expected)

    def _with_apex(self, clips: list[Clip]) -> list[Clip]:
        if self.apex == "none":
            return clips
        if self.apex == "middle":
            return [replace(clip, apex=_middle(clip)) for clip in clips]
        if self.modality != "HS":
            raise UserError("spotted apexes exist for HS only; use apex='middle' or 'none'")
        path = find_file(self.root, SPOTTED, "SMIC, spotted apexes", "ask who spotted them")
        rows = read_rows(path, ("clip", "apex_frame"))
        apex = {_padded(_match(row, "clip"))[1]: whole(row, "apex_frame") for row in rows}
        return [replace(clip, apex=apex.get(clip.name)) for clip in clips]

    def _colour(self) -> str:
        return "nir" if self.modality == "NIR" else "colour"


def _middle(clip: Clip) -> int | None:
    known = clip.onset is not None and clip.offset is not None
    return (clip.onset + clip.offset) // 2 if known else None  # type: ignore[operator]


def _match(row: Row, column: str) -> re.Match[str]:
    match = _NAME.fullmatch(text(row, column))
    if match is None:
        raise UserError(
            f"{place(row, column)}: expected a name like s1_ne_01, got '{row.cells[column]}'"
        )
    return match


def _names(row: Row) -> tuple[str, str, str]:
    """Name on disk, subject, name in ids."""
    match = _match(row, "Filename")
    return (match.group(), *_padded(match))


def _padded(match: re.Match[str]) -> tuple[str, str]:
    subject = f"s{int(match[1]):02d}"
    return subject, f"{subject}_{match[2]}"


def _unpadded(disk: str) -> str:
    return f"s{int(disk.split('_')[0][1:])}"
