"""Where files, folders and frames are found below a root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from microexpr.errors import UserError
from microexpr.layout import (
    find_file,
    find_files,
    find_folder,
    first_there,
    numbered_pictures,
    subfolders,
)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_the_best_pattern_then_the_nearest_file(tmp_path: Path) -> None:
    near, far, other = tmp_path / "A.XLSX", tmp_path / "x" / "y" / "a.xlsx", tmp_path / "b.xlsx"
    touch(near, far, other, tmp_path / "~$a.xlsx", tmp_path / ".a.xlsx")
    assert find_files(tmp_path, ("c*.xlsx", "a*.xlsx", "b*.xlsx")) == [near]
    assert find_file(tmp_path, ("a*.xlsx",), "set", "ask") == near
    near.unlink()
    assert find_file(tmp_path, ("a*.xlsx",), "set", "ask") == far
    assert find_files(tmp_path, ("a*.xlsx",), depth=1) == []


def test_no_file_says_what_was_looked_for_and_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"looked for a\*\.xlsx or b\.csv\); to obtain it: ask"):
        find_file(tmp_path, ("a*.xlsx", "b.csv"), "set", "ask")
    with pytest.raises(UserError, match="is not a folder"):
        find_file(tmp_path / "no", ("a*.xlsx",), "set", "ask")


def test_two_files_equally_near_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "a1.csv", tmp_path / "a2.csv")
    with pytest.raises(UserError, match="two label files"):
        find_file(tmp_path, ("a*.csv",), "set", "ask")


def test_a_folder_by_name_by_path_or_the_root_itself(tmp_path: Path) -> None:
    touch(tmp_path / "d" / "Raw" / "HS" / "s1" / "x", tmp_path / "d" / "Crop" / "HS" / "s1" / "x")
    assert find_folder(tmp_path, ("crop/hs",), r"s\d") == tmp_path / "d" / "Crop" / "HS"
    assert find_folder(tmp_path / "d" / "Raw" / "HS", ("nowhere",), r"s\d") is not None
    assert find_folder(tmp_path, ("crop/hs",), r"t\d") is None
    assert find_folder(tmp_path / "d" / "Raw", ("./HS",), r"s\d") == tmp_path / "d" / "Raw" / "HS"
    assert find_folder(tmp_path, ("./HS",), r"s\d") is None


def test_a_million_frames_below_a_root_that_is_the_folder_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "006_1" / "006_1_0001.jpg")
    read: list[str] = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: read.append(Path(path).name) or scan(path))
    assert find_folder(tmp_path, ("longvideos",), r"\d+_\d") == tmp_path
    assert "006_1" not in read


def test_an_archive_in_a_folder_of_its_own_name(tmp_path: Path) -> None:
    touch(tmp_path / "train" / "train" / "sub1" / "x")
    assert find_folder(tmp_path, ("train",), r"sub\d") == tmp_path / "train" / "train"


def test_the_first_candidate_that_exists(tmp_path: Path) -> None:
    touch(tmp_path / "raw" / "b" / "x")
    assert first_there(tmp_path, tmp_path / "raw", ("a", "b")) == "raw/b"
    assert first_there(tmp_path, tmp_path / "raw", ("a",)) == ""
    assert first_there(tmp_path, None, ("raw",)) == ""


def test_frame_numbers_are_parsed_whatever_their_padding(tmp_path: Path) -> None:
    names = ["006_05562.jpg", "006_5563.JPG", "reg_img10.bmp", "9.png", "cover.jpg", "7.txt"]
    touch(*(tmp_path / name for name in [*names, "._006_05562.jpg"]))
    assert {n: path.name for n, path in numbered_pictures(tmp_path).items()} == {
        9: "9.png",
        10: "reg_img10.bmp",
        5562: "006_05562.jpg",
        5563: "006_5563.JPG",
    }
    assert list(numbered_pictures(tmp_path)) == [9, 10, 5562, 5563]


def test_one_number_twice_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "img46.jpg", tmp_path / "reg_img46.jpg")
    with pytest.raises(UserError, match=r"img46\.jpg and reg_img46\.jpg are both frame 46"):
        numbered_pictures(tmp_path)
    with pytest.raises(UserError, match="is not a folder of frames"):
        numbered_pictures(tmp_path / "no")


def test_a_table_saved_as_csv_or_as_what_is_not_read(tmp_path: Path) -> None:
    ods, text = tmp_path / "a1.ods", tmp_path / "x" / "A1.CSV"
    touch(ods)
    with pytest.raises(UserError, match=r"looked for a\*\.xlsx\); save .*a1\.ods as \.xlsx or"):
        find_file(tmp_path, ("a*.xlsx",), "set", "ask")
    touch(text)
    assert find_file(tmp_path, ("a*.xlsx",), "set", "ask") == text


def test_a_root_too_far_down_is_told_the_way_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "a.xlsx", tmp_path / "raw" / "sub01" / "clip" / "x")
    with pytest.raises(UserError, match=f"it lies in {tmp_path}, give that folder"):
        find_file(tmp_path / "raw" / "sub01", ("a*.xlsx",), "set", "ask")
    monkeypatch.chdir(tmp_path / "raw")
    with pytest.raises(UserError, match=f"it lies in {tmp_path}, give that folder"):
        find_file(Path(), ("a*.xlsx",), "set", "ask")


def test_what_a_mac_adds_to_an_archive_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path / "__MACOSX" / "raw" / "sub1" / "._x", tmp_path / "data" / "raw" / "sub1" / "x")
    assert find_folder(tmp_path, ("raw",), r"sub\d") == tmp_path / "data" / "raw"


def test_folders_some_levels_down(tmp_path: Path) -> None:
    touch(tmp_path / "b" / "2" / "x", tmp_path / "a" / "1" / "x", tmp_path / "a" / ".h" / "x")
    touch(tmp_path / "a" / "Thumbs.db")
    assert subfolders(tmp_path, 1) == [tmp_path / "a", tmp_path / "b"]
    assert subfolders(tmp_path, 2) == [tmp_path / "a" / "1", tmp_path / "b" / "2"]
    assert subfolders(tmp_path, 3) == subfolders(None, 1) == []
