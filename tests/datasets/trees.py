"""Miniature trees: each data set's folders, file names and label file, with a few tiny clips.

Every function makes one data set below a folder and returns that folder. The label files have the
real ones' preambles, blank columns and types of cells. What the frames show is up to `draw`.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openpyxl
from numpy.typing import NDArray

from microexpr.anatomy import EMOTIONS
from microexpr.film import Movement, Portrait, Script, drawn_portrait
from microexpr.film.warp import REST, Scene, developed, sampled, stage

# (person, emotion, strength of the movement in 0..1) -> uint8 (height, width, 3), BGR
Draw = Callable[[str, str, float], NDArray[np.uint8]]
Cells = Sequence[Sequence[Any]]

THREE = ("negative", "positive", "surprise")


def noise(person: str, emotion: str, strength: float) -> NDArray[np.uint8]:
    """A 12x16 picture of random pixels, brighter with the strength; the same on every call."""
    rng = np.random.default_rng(zlib.crc32(f"{person} {emotion}".encode()))
    picture = rng.integers(0, 200, (12, 16, 3)) + round(50 * strength)
    return picture.astype(np.uint8)


# what a data set's own label shows on a film's face; others: contempt
SHOWN = {
    "negative": "disgust",
    "positive": "happiness",
    "happy": "happiness",
    "sad": "sadness",
}


def face(person: str, emotion: str, strength: float) -> NDArray[np.uint8]:
    """A 200x200 picture of a drawn person, whose skin moves up to 1.8 pixels with the strength."""
    scene = _scene(zlib.crc32(person.encode()) % 1000, SHOWN.get(emotion, emotion))
    picture = sampled(scene, REST, np.array([strength, 0], np.float32))
    noise = [zlib.crc32(f"{person} {emotion}".encode()), round(1000 * strength)]
    return developed(picture, 1.0, 1.0, noise)[..., ::-1]


@lru_cache(maxsize=64)
def _scene(person: int, emotion: str) -> Scene:
    units = EMOTIONS.get(emotion, EMOTIONS["contempt"])[0].units
    act = Movement(emotion, units, 0.0, 0.1, 0.2, 3.0)
    script = Script(seconds=0.2, events=(act,), width=200, height=200, eyes=60.0)
    return stage(_portrait(person), script)


@lru_cache(maxsize=64)
def _portrait(person: int) -> Portrait:
    return drawn_portrait(person)


def write_sheets(path: Path, sheets: Mapping[str, Cells]) -> None:
    """An .xlsx file with these sheets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(list(row))
    book.save(path)


def write_lines(path: Path, rows: Cells) -> None:
    """A .csv file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def write_frames(
    folder: Path, names: Iterable[str], person: str, emotion: str, draw: Draw, apex: int = 3
) -> None:
    """A clip's frames, onset first; the movement is strongest in frame `apex` (from 0)."""
    folder.mkdir(parents=True)
    for place, name in enumerate(names):
        strength = max(0.0, 1 - abs(place - apex) / (apex + 1))
        cv2.imwrite(str(folder / name), draw(person, emotion, strength))


def casme2(root: Path, draw: Draw = noise, persons: int = 3) -> Path:
    """Rows 46 to 52; one folder without a row, as in the real set."""
    raw = root / "CASME2_RAW_selected"
    rows: list[list[Any]] = []
    for person in range(1, persons + 1):
        for take, emotion in enumerate(("happiness", "disgust", "surprise", "others"), 1):
            clip = f"EP{take:02d}_0{take}f"
            units: Any = 12 if emotion == "happiness" else "4+L10"
            rows.append([f"{person:02d}", clip, None, 46, 49, 52, None, units, emotion])
            names = [f"img{n}.jpg" for n in range(46, 53)]
            write_frames(raw / f"sub{person:02d}" / clip, names, f"sub{person:02d}", emotion, draw)
    write_frames(raw / "sub01" / "EP09_09", ["img1.jpg"], "sub01", "others", draw)
    head = ["Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None]
    head += ["Action Units", "Estimated Emotion"]
    sheets = {"Sheet1": [head, *rows], "Sheet2": [], "Sheet3": []}
    write_sheets(root / "CASME2-coding-20140508.xlsx", sheets)
    return root


def samm(root: Path, draw: Draw = noise, persons: int = 3) -> Path:
    """Frames padded to five digits in a person's first clip, to four in the others."""
    rows: list[list[Any]] = []
    for number in range(6, 6 + persons):
        person = f"{number:03d}"
        for take, emotion in enumerate(("Anger", "Happiness", "Surprise", "Other"), 1):
            clip, onset = f"{person}_1_{take}", 1000 + 100 * take
            span = range(onset, onset + 7)
            width = 5 if take == 1 else 4
            names = [f"{person}_{n:0{width}d}.jpg" for n in span]
            write_frames(root / "SAMM" / person / clip, names, person, emotion.lower(), draw)
            rows.append([person, clip, 1, onset, onset + 3, onset + 6, 7, "Micro - 1/2"])
            rows[-1] += [4 if take == 1 else "4+7", emotion, 3, None]
    head = ["Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame"]
    head += ["Duration", "Micro", "Action Units", "Estimated Emotion", "Objective Classes", "Notes"]
    preamble: list[list[Any]] = [["SAMM Dataset - Master FACS Codes"], [], ["9/9/17 - New updates"]]
    preamble += [[] for _ in range(10)]
    write_sheets(root / "SAMM_Micro_FACS_Codes_v2.xlsx", {"MICRO_ONLY": [*preamble, head, *rows]})
    return root


def smic_clips(persons: int) -> Iterator[tuple[int, str, str, int]]:
    """Person, name on disk, class, onset."""
    for person in range(1, persons + 1):
        for emotion in THREE:
            short = {"negative": "ne", "positive": "po", "surprise": "sur"}[emotion]
            yield person, f"s{person}_{short}_01", emotion, 34208 + 1000 * person


def smic(root: Path, draw: Draw = noise, persons: int = 3, table: bool = True) -> Path:
    """HS clips; folders s1 and s1_ne_01; the table pads its frame numbers."""
    rows: list[list[Any]] = []
    for person, clip, emotion, onset in smic_clips(persons):
        folder = root / "SMIC_all_raw" / "HS" / f"s{person}" / "micro" / emotion / clip
        names = [f"image{n:06d}.bmp" for n in range(onset, onset + 7)]
        write_frames(folder, names, f"s{person}", emotion, draw)
        frames = [f"{n:06d}" for n in (onset, onset + 3, onset + 6)]
        rows.append([f"s{person}", clip, emotion, *frames])
    if table:
        head = ["Subject", "Filename", "Emotion", "OnsetFrame", "ApexFrame", "OffsetFrame"]
        write_lines(root / "smic_hs_164.csv", [head, *rows])
    return root


def smic_long(root: Path, draw: Draw = noise, persons: int = 2) -> Path:
    """SMIC-E: recordings of HS; the first one holds a second movement."""
    rows: list[list[Any]] = []
    for person, clip, emotion, onset in smic_clips(persons):
        first, last = onset - 2, onset + 11
        folder = root / "HS_long" / "SMIC-HS-E" / f"s{person:02d}" / clip
        names = [f"image{n:06d}.jpg" for n in range(first, last + 1)]
        write_frames(folder, names, f"s{person}", emotion, draw, apex=4)
        again = [onset + 8, onset + 10] if not rows else [None, None]
        rows.append([person, clip, None, onset, onset + 5, *again, None, first, last])
        rows[-1] += [6, 3 if again[0] else None, last - first + 1, emotion]
    head = ["Subject", "Filename", None, "OnsetF", "OffsetF", "Onset2F", "Offset2F", None]
    head += ["FirstF", "LastF", "TotalMF1", "TotalMF2", "TotalVL", "Emotion"]
    write_sheets(root / "SMIC-HS-E_annotation.xlsx", {"HS": [head, *rows], "Sheet2": []})
    return root


def megc2019(root: Path, draw: Draw = noise, persons: int = 3) -> Path:
    """The three sets of the composite in sub-folders."""
    for make in (casme2, smic, samm):
        make(root / make.__name__, draw, persons)
    return root


def dfme(root: Path, draw: Draw = noise, persons: int = 2) -> Path:
    """Three parts with their own persons; frames from 0, padded to five digits, .png."""
    emotions = ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
    head = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Emotion"]
    head += ["EmotionId", "Fps", "AU"]
    number = 0
    for part, folder in (
        ("training", "train_data"),
        ("testA", "test_data_A"),
        ("testB", "test_data_B"),
    ):
        rows: list[list[Any]] = []
        for _ in range(persons):
            number += 1
            person = f"sub{number:04d}"
            for code, emotion in enumerate(emotions):
                clip = f"{person}_{code + 1:02d}"
                names = [f"{n:05d}.png" for n in range(7)]
                write_frames(root / folder / folder / clip, names, person, emotion, draw)
                fps = (500, 300, 200)[code % 3]
                rows.append([person, clip, 0, 3, 6, emotion, code, fps, 23 if code else "6+12"])
        write_sheets(root / f"{part}_full_with_AU.xlsx", {"Sheet1": [head, *rows]})
    return root


def casme3(root: Path, draw: Draw = noise, persons: int = 2) -> Path:
    """Part A as cut clips and part C; every cell of part A is text."""
    rows: list[list[Any]] = []
    emotions = ("disgust", "surprise", "others", "fear", "anger", "sad", "happy")
    for person in range(1, persons + 1):
        for letter, emotion in zip("abcdefg", emotions, strict=True):
            onset = 166
            folder = root / "Part_A_ME_clip" / "frame" / f"spNO.{person}_{letter}_{onset}"
            names = [f"{n}.jpg" for n in range(onset, onset + 7)]
            write_frames(folder, names, f"spNO.{person}", emotion, draw)
            frames = [str(onset), str(onset + 3), str(onset + 6)]
            spelled = emotion.title() if emotion == "others" else emotion
            rows.append([f"spNO.{person}", letter, *frames, "4", "III", spelled])
    head = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"]
    name = "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"
    write_sheets(root / name, {"label": [head, *rows], "Sheet1": [], "Sheet3": []})
    part_c = [["sub", "count", "onset", "offset", "au", "emotion"]]
    part_c += [[1, 1, 373, 385, "R4,5", "negative"], [2, 1, 311, 316, 1, "surprise"]]
    write_sheets(root / "CAS(ME)3_part_C_ME.xlsx", {"mockCrimeME": part_c})
    return root


def casme_sq(root: Path, draw: Draw = noise) -> Path:
    """No header; one recording without a movement."""
    rows = [
        [1, "anger1_1", 4, 5, 8, "4+10", "negative", "macro-expression", "anger", 5],
        [1, "anger1_2", 10, 12, 13, "38", "others", "micro-expression", "sadness", 4],
        [2, "happy2_1", 3, 5, 0, "NULL", "positive", "macro-expression", "happiness", -3],
        [2, "happy2_2", 6, 8, 9, "6,12", "positive", "micro-expression", "happiness", 4],
    ]
    write_lines(root / "CAS(ME)^2code_final(Updated).csv", rows)
    for person, film in ((15, "0401girlcrashing"), (16, "0503unnyfarting"), (16, "0101disgust")):
        folder = root / "rawpic" / f"s{person}" / f"{person}_{film}"
        names = [f"img{n}.jpg" for n in range(1, 16)]
        write_frames(folder, names, f"s{person}", film, draw, apex=11)
    return root


def samm_lv(root: Path, draw: Draw = noise) -> Path:
    """Nine lines of preamble; a missing apex; one name for two movements; a video without any."""
    rows = [
        ["006", "006_1_1", 1, 2, -1, 9, 8, "Macro", "4(B/C)+7B", ""],
        ["006", "006_1_2", 1, 10, 12, 13, 4, "Micro - 1/2", "4+7", "While blinking"],
        ["037", "037_4_1", 4, 3, 4, 6, 4, "Micro - 1/2", "24", ""],
        ["037", "037_4_1", 4, 2, 5, 9, 8, "Macro", "24", ""],
    ]
    head = ["Subject", "Filename", "Inducement Code", "Onset", "Apex", "Offset", "Duration"]
    head += ["Type", "Action Units", "Notes"]
    preamble = [["SAMM Long Videos Dataset - FACS Codes"] + [""] * 9]
    preamble += [[""] * 10 for _ in range(8)]
    write_lines(root / "SAMM_LongVideos_V2_Release.csv", [*preamble, head, *rows])
    for video in ("006_1", "037_4", "037_5"):
        names = [f"{video}_{n:04d}.jpg" for n in range(1, 16)]
        write_frames(root / "SAMM_longvideos" / video, names, video[:3], "x", draw, apex=11)
    return root


def mmew(root: Path, draw: Draw = noise) -> Path:
    """Folders by emotion, frames from 1."""
    rows: list[list[Any]] = []
    for person in (13, 14):
        for code, emotion in enumerate(("happiness", "disgust", "surprise", "others"), 1):
            clip = f"S{person}-{code:02d}-001"
            names = [f"{n}.jpg" for n in range(1, 8)]
            folder = root / "Micro_Expression" / emotion / clip
            write_frames(folder, names, f"S{person}", emotion, draw)
            rows.append([person, clip, 1, 4, 7, "4+7", emotion, None])
    head = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units"]
    head += ["Estimated Emotion", "remarks"]
    write_sheets(root / "MMEW_Micro_Exp.xlsx", {"Sheet1": [head, *rows]})
    return root


def fourd_me(root: Path, draw: Draw = noise) -> Path:
    """Grey clips by person; a clip with two emotions."""
    rows: list[list[Any]] = []
    for person in ("F01", "F02"):
        for take, emotion in enumerate(("Positive", "Negative+Repression"), 1):
            clip = f"{person}_{take:02d}"
            names = [f"{n}.jpg" for n in range(20, 27)]
            folder = root / "gray_micro" / person / clip
            write_frames(folder, names, person, emotion, draw)
            rows.append([person, clip, emotion, 20, 23, 26, "AU4+AU7(k)", 1, 0, 0, 0])
    head = ["sub_ID", "fold_name", "Emotion", "Onset", "Apex", "Offset", "AUs", "AU4"]
    head += ["Positive", "Negative", "Surprise"]
    write_sheets(root / "4DME_Labelling_Micro_release v1.xlsx", {"Sheet1": [head, *rows]})
    return root
