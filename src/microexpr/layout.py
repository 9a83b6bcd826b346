"""Where things lie below a data set's root: label files, folders of clips, numbered frames.

Owners, mirrors and users unpack the same archives one or two folders deeper or shallower, so
names are looked for near the root, never at one fixed place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path

from microexpr.errors import UserError

PICTURES = {".jpg", ".jpeg", ".png", ".bmp"}
HIDDEN = (".", "~$", "__MACOSX")  # what other programs leave about begins so
FOREIGN = ("xls", "ods", "numbers", "txt", "tsv", "xlsm", "xlsb")  # tables that are not read


def find_files(root: Path, patterns: Sequence[str], depth: int = 2) -> list[Path]:
    """The files nearest to the root whose name matches, all of one pattern, by name.

    Args:
        root: A folder.
        patterns: Shell patterns in lower case, the best first; capitals do not count.
        depth: How many levels of folders below the root are looked at.

    Raises:
        UserError: `root` is not a folder.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; give the one that holds the data set")
    for level in _levels(root, depth):
        files = [path for folder in level for path in _entries(folder)[1]]
        for pattern in patterns:
            found = [path for path in files if fnmatch(path.name.lower(), pattern)]
            if found:
                return found
    return []


def find_file(root: Path, patterns: Sequence[str], what: str, access: str) -> Path:
    """The one file that `find_files` finds; an ``.xlsx`` saved as ``.csv`` serves as well.

    Raises:
        UserError: None, or two equally near; the message says what was looked for, and where one
            lies that cannot be used.
    """
    stems = [pattern.rpartition(".")[0] for pattern in patterns]
    found = find_files(root, patterns) or find_files(root, [f"{stem}.csv" for stem in stems])
    if not found:
        looked = f"{what}: no label file under {root} (looked for {' or '.join(patterns)})"
        foreign = find_files(root, [f"{stem}.{kind}" for stem in stems for kind in FOREIGN])
        if foreign:
            raise UserError(f"{looked}; save {foreign[0]} as .xlsx or .csv")
        for above in root.resolve().parents[:3]:
            if find_files(above, patterns, depth=0):
                raise UserError(f"{looked}; it lies in {above}, give that folder")
        raise UserError(f"{looked}; to obtain it: {access}")
    if len(found) > 1:
        raise UserError(f"{what}: two label files, {found[0]} and {found[1]}; keep one of them")
    return found[0]


def find_folder(root: Path, names: Sequence[str], child: str) -> Path | None:
    """The folder that holds the clips or persons of a data set, the nearest to the root.

    Args:
        root: Folder of the data set; four levels below it are looked at, and itself after the
            first.
        names: Names or ends of paths (``"SMIC_all_raw/HS"``), or with ``"./"`` a path from the
            root; capitals do not count.
        child: Regular expression that the name of at least one sub-folder matches in full.

    Returns:
        None where there is none: only the label files are at hand.
    """
    for level in islice(_levels(root, 4), 1, None):
        for name in names:
            for folder in level:
                if _ends(folder.relative_to(root), name) and _has(folder, child):
                    return folder
        if _has(root, child):
            return root
    return None


def first_there(root: Path, home: Path | None, candidates: Sequence[str]) -> str:
    """The first of some paths that exists, relative to the root; empty if none does.

    Args:
        root: Folder of the data set.
        home: Folder below it that the candidates are relative to, as `find_folder` returned it.
        candidates: Relative paths.
    """
    for candidate in candidates if home is not None else ():
        path = (home or root) / candidate
        if path.exists():
            return path.relative_to(root).as_posix()
    return ""


def subfolders(home: Path | None, depth: int) -> list[Path]:
    """The folders that many levels below one, by name; hidden ones and files are left out.

    Args:
        home: A folder; None gives none.
        depth: 1: those in it, 2: those in these, and so on.
    """
    return [] if home is None else next(islice(_levels(home, depth), depth, None))


def numbered_pictures(folder: Path) -> dict[int, Path]:
    """The pictures of a folder by frame number, in ascending order.

    The number is the last run of digits in the name before its ending. It is parsed, never
    formatted: SAMM pads it to four digits in some clips and to five in others.

    Raises:
        UserError: No such folder; or two pictures of one number.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder of frames")
    frames: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        digits = re.search(r"([0-9]+)\D*$", path.stem)
        if path.name.startswith(HIDDEN) or path.suffix.lower() not in PICTURES or digits is None:
            continue
        number = int(digits.group(1))
        if number in frames:
            raise UserError(
                f"{folder}: {frames[number].name} and {path.name} are both frame {number}; "
                "remove one of them"
            )
        frames[number] = path
    return dict(sorted(frames.items()))


def _levels(root: Path, depth: int) -> Iterator[list[Path]]:
    """The root, its folders, theirs, and so on; a level is not read before it is asked for.

    Long recordings lie two levels deep and hold a million frames: most searches end above them.
    """
    level = [root]
    yield level
    for _ in range(depth):
        level = [child for folder in level for child in _entries(folder)[0]]
        yield level


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Folders and files in a folder, by name; hidden ones and one we may not open are left out.

    So are ``._`` files and the folder ``__MACOSX``, which a Mac adds to archives.
    """
    try:
        with os.scandir(folder) as listing:  # knows what is a folder without a look at each file
            entries = sorted(
                (entry.name, entry.is_dir())
                for entry in listing
                if not entry.name.startswith(HIDDEN)
            )
    except PermissionError:
        return [], []
    folders = [folder / name for name, is_folder in entries if is_folder]
    return folders, [folder / name for name, is_folder in entries if not is_folder]


def _ends(path: Path, name: str) -> bool:
    parts, want = path.as_posix().lower().split("/"), name.lower().split("/")
    return parts == want[1:] if want[0] == "." else parts[-len(want) :] == want


def _has(folder: Path, child: str) -> bool:
    return any(re.fullmatch(child, path.name) for path in _entries(folder)[0])
