"""Data sets as users have them: other programs' files about, other spellings, the wrong folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from microexpr.clip import Clip, Video
from microexpr.datasets import open_dataset
from microexpr.datasets.base import Dataset
from microexpr.errors import UserError

SETTINGS: dict[str, dict[str, Any]] = {
    "casme2": {},
    "samm": {},
    "smic": {},
    "smic_folders": {},
    "smic_long": {"part": "long"},
    "dfme": {},
    "casme3": {},
    "casme_sq": {"kind": "both"},
    "samm_lv": {"kind": "both"},
    "mmew": {},
    "fourd_me": {},
}
DEBRIS = (
    "Thumbs.db",
    "desktop.ini",
    ".DS_Store",
    "._.DS_Store",
    ".~lock.labels.xlsx#",
    "read me.txt",
)
EACH = pytest.mark.parametrize("maker", SETTINGS)


def made(trees: ModuleType, maker: str, root: Path) -> Path:
    if maker == "smic_folders":
        return Path(trees.smic(root, table=False))
    return Path(getattr(trees, maker)(root))


def opened(maker: str, root: Path) -> Dataset:
    name = "smic" if maker.startswith("smic") else maker
    return open_dataset(name, root, complete=False, **SETTINGS[maker])


def seen(dataset: Dataset) -> tuple[list[Clip], list[Video], list[list[int]]]:
    clips = dataset.clips()
    return clips, dataset.videos(), [list(dataset.frames(clip)) for clip in clips]


def folders(root: Path) -> Iterator[Path]:
    yield root
    yield from sorted(path for path in root.rglob("*") if path.is_dir())


@EACH
def test_other_programs_files_are_not_seen(tmp_path: Path, trees: ModuleType, maker: str) -> None:
    root = made(trees, maker, tmp_path / "set")
    expected = seen(opened(maker, root))
    for folder in list(folders(root)):
        own = [path.name for path in folder.iterdir() if path.is_file()]
        for name in (*DEBRIS, *(f"._{name}" for name in own), *(f"~${name}" for name in own)):
            (folder / name).write_bytes(b"no table, no picture")
        (folder / ".ipynb_checkpoints").mkdir()
        mac = root / "__MACOSX" / folder.relative_to(root)
        mac.mkdir(parents=True, exist_ok=True)
        (mac / "._x").touch()
    assert seen(opened(maker, root)) == expected


@EACH
def test_endings_in_capitals(tmp_path: Path, trees: ModuleType, maker: str) -> None:
    root = made(trees, maker, tmp_path / "set")
    expected = seen(opened(maker, root))
    for path in list(root.rglob("*.*")):
        if path.is_file():
            path.rename(path.with_suffix(path.suffix.upper()))
    assert seen(opened(maker, root)) == expected


@EACH
def test_a_root_one_or_two_levels_too_high(tmp_path: Path, trees: ModuleType, maker: str) -> None:
    root = made(trees, maker, tmp_path / "data" / "the set")
    clips, videos, frames = seen(opened(maker, root))
    for above in (tmp_path / "data", tmp_path):
        found, recordings, numbers = seen(opened(maker, above))
        assert [clip.id for clip in found] == [clip.id for clip in clips]
        assert [video.id for video in recordings] == [video.id for video in videos]
        assert numbers == frames


@pytest.mark.parametrize("maker", sorted({*SETTINGS} - {"smic", "smic_folders"}))
def test_a_root_too_low_is_told_the_way_up(tmp_path: Path, trees: ModuleType, maker: str) -> None:
    root = made(trees, maker, tmp_path / "set")
    for below in list(folders(root))[1:3]:
        with pytest.raises(UserError) as caught:
            seen(opened(maker, below))
        assert "\n" not in str(caught.value)
        assert f"it lies in {root}, give that folder" in str(caught.value)


@pytest.mark.parametrize("maker", ["smic", "casme_sq", "samm_lv"])
def test_line_ends_of_windows(tmp_path: Path, trees: ModuleType, maker: str) -> None:
    root = made(trees, maker, tmp_path / "set")
    expected = seen(opened(maker, root))
    (path,) = root.glob("*.csv")
    text = path.read_bytes().replace(b"\r\n", b"\n")
    for end in (b"\n", b"\r\n"):
        path.write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", end))
        assert seen(opened(maker, root)) == expected


def test_a_clip_whose_folder_is_empty_does_not_hide_the_others(
    tmp_path: Path, trees: ModuleType
) -> None:
    root = made(trees, "smic_folders", tmp_path)
    folder = root / "SMIC_all_raw" / "HS" / "s1" / "micro" / "negative" / "s1_ne_01"
    for path in folder.iterdir():
        path.unlink()
    for apex in ("none", "middle"):
        clips = open_dataset("smic", root, apex=apex, complete=False).clips()
        assert len(clips) == 9
        first = clips[0]
        assert (first.name, first.onset, first.apex, first.offset) == (
            "s01_ne_01",
            None,
            None,
            None,
        )
