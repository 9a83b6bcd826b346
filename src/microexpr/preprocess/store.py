"""Prepared clips on disk: one ``.npy`` a clip, and a manifest with checksums.

    STORE/manifest.json                     all of the below in one file; what `Store` reads
    STORE/sets/casme2.json                  the clips of a data set, as annotated, and its settings
    STORE/casme2/sub01/EP02_01f.KEY.npy     planes of one clip
    STORE/casme2/sub01/EP02_01f.KEY.json    its key frames and checksum, or why there are none

KEY stands for the `Input`, the version of OpenCV and the program that computes flow: results of
different programs are never mixed. Every file is written whole under another name and then renamed,
so processes may write to one store at the same time, and a killed one does no harm. The manifest is
made of the other files and can be made again at any time.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
from numpy.typing import NDArray

from microexpr.clip import Clip
from microexpr.encoding import encode
from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.preprocess.flow import flow_backend

FORMAT = 1
ROAD = 1  # raised whenever the same frames give other planes
MANIFEST, SETS, UNFINISHED = "manifest.json", "sets", ".unfinished"

Array = NDArray[np.float32]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides the planes of a clip besides its frames.

    Attributes:
        input: What the planes are.
        opencv: Version of OpenCV.
        flow: Program that computes the flow, `microexpr.preprocess.flow.flow_backend`.
        road: `ROAD` of the program that prepared the clip.
    """

    input: Input
    opencv: str
    flow: str
    road: int = ROAD

    @property
    def key(self) -> str:
        """Twelve hex digits that differ whenever anything differs; part of file names."""
        text = json.dumps([self.input.digest, self.opencv, self.flow, self.road])
        return sha256(text.encode()).hexdigest()[:12]


def recipe_here(wants: Input) -> Recipe:
    """The recipe that this machine follows for an `Input`."""
    return Recipe(wants, cv2.__version__, flow_backend(wants.flow))


@dataclass(frozen=True, slots=True)
class Record:
    """What became of one clip.

    Attributes:
        clip: Its id.
        failed: Why there are no planes; empty if there are.
        sha256: Checksum of its file.
        onset: Frame number at which the flow starts.
        apex: Frame number of the greatest movement, annotated or found.
        offset: Frame number of the end; None where the clip has none.
    """

    clip: str
    failed: str = ""
    sha256: str = ""
    onset: int | None = None
    apex: int | None = None
    offset: int | None = None


# --- writing -------------------------------------------------------------------------------------


def enter_set(root: Path, name: str, clips: Sequence[Clip], settings: Mapping[str, Any]) -> None:
    """Notes a data set's clips in a store, before any of them is prepared.

    Raises:
        UserError: The store holds this data set with other settings.
    """
    path = root / SETS / f"{name}.json"
    entry = json.loads(json.dumps({"settings": settings, "clips": [asdict(c) for c in clips]}))
    if path.exists():
        old = _read(path)["settings"]
        if old != entry["settings"]:
            raise UserError(
                f"{root} holds {name} with the settings {old}, not {entry['settings']}; "
                "choose another --out"
            )
    if not path.exists() or _read(path) != entry:
        with placed(root, path) as unfinished:
            _write(entry, unfinished)


def write_clip(root: Path, recipe: Recipe, record: Record, planes: Array | None) -> None:
    """Puts one clip into a store: its planes, or why there are none.

    Args:
        root: The store's folder.
        recipe: How it was prepared.
        record: About it; the checksum is filled in here.
        planes: ``(channels, size, size)`` or ``(frames, channels, size, size)``; None: failed.
    """
    entry = {"recipe": asdict(recipe), **asdict(record)}
    if planes is not None:
        path = _path(root, record.clip, recipe.key, ".npy")
        with placed(root, path) as unfinished:
            np.save(unfinished, np.ascontiguousarray(planes, np.float32), allow_pickle=False)
            entry["sha256"] = _checksum(unfinished)
    path = _path(root, record.clip, recipe.key, ".json")
    with placed(root, path) as unfinished:
        _write(entry, unfinished)


def is_whole(root: Path, recipe: Recipe, clip: str) -> bool:
    """Whether a clip was prepared by this recipe and its file is undamaged."""
    try:
        record = _read(_path(root, clip, recipe.key, ".json"))
        path = _path(root, clip, recipe.key, ".npy")
        return not record["failed"] and bool(_checksum(path) == record["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_manifest(root: Path) -> None:
    """Gathers the store's files into its manifest.

    Other processes may be writing: what appears while the manifest is written is gathered by
    another round. So the last process to write it has seen the files of all that are done.
    """
    entry = _gathered(root)
    while True:
        with placed(root, root / MANIFEST) as unfinished:
            _write(entry, unfinished)
        again = _gathered(root)
        if again == entry:
            return
        entry = again


def sweep(root: Path) -> None:
    """Removes what killed processes of this machine left unfinished."""
    for path in (root / UNFINISHED).glob("*"):
        host, _, rest = path.name.lstrip(".").rpartition("~")
        if host == socket.gethostname() and not _alive(int(rest.partition("-")[0])):
            path.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    if os.name == "nt":
        return True  # there a signal of 0 is no question but an interrupt
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def placed(root: Path, path: Path) -> Iterator[Path]:
    """Yields a name in a store's folder of unfinished files; on success it becomes `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (root / UNFINISHED).mkdir(parents=True, exist_ok=True)
    mark = sha256(str(path).encode()).hexdigest()[:16]
    unfinished = root / UNFINISHED / f"{socket.gethostname()}~{os.getpid()}-{mark}{path.suffix}"
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _path(root: Path, clip: str, key: str, suffix: str) -> Path:
    return root / f"{quote(clip, safe='/ ()=+,')}.{key}{suffix}"


def _checksum(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _write(entry: Json, path: Path) -> None:
    text = json.dumps(entry, indent=1, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _gathered(root: Path) -> Json:
    """The manifest as the store's files tell it; what another process is replacing is left out."""
    sets = {path.stem: _read(path) for path in sorted((root / SETS).glob("*.json"))}
    recipes: Json = {}
    flows: dict[str, Json] = {}
    for name in sorted({clip["dataset"] for entry in sets.values() for clip in entry["clips"]}):
        for path in sorted((root / name).rglob("*.json")):
            record = _read(path)
            key = path.stem.rpartition(".")[2]
            recipes[key] = record.pop("recipe")
            flows.setdefault(key, {})[record.pop("clip")] = record
    return {"format": FORMAT, "sets": sets, "recipes": recipes, "flows": flows}


# --- reading -------------------------------------------------------------------------------------


def is_store(root: Path) -> bool:
    """Whether a folder is a store that `microexpr prepare` has finished at least once."""
    return (root / MANIFEST).is_file()


class Store:
    """A store of prepared clips, opened for reading.

    Args:
        root: Its folder.

    Raises:
        UserError: There is no manifest, it is damaged, or a newer program wrote it.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        try:
            manifest = _read(self.root / MANIFEST)
            if manifest["format"] != FORMAT:
                raise UserError(f"{root} was written by another version; prepare it again")
            self._sets: dict[str, Json] = manifest["sets"]
            self._flows: dict[str, Json] = manifest["flows"]
            self._recipes = {key: _recipe(entry) for key, entry in manifest["recipes"].items()}
        except FileNotFoundError:
            raise UserError(f"{root} is no store, or `microexpr prepare` never ended") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.root / MANIFEST} is damaged ({error}); `microexpr prepare` mends it"
            ) from error

    @property
    def sets(self) -> dict[str, Json]:
        """The settings of every data set in the store, by name."""
        return {name: entry["settings"] for name, entry in self._sets.items()}

    def clips(self, name: str) -> list[Clip]:
        """The clips of a data set as annotated, also those that could not be prepared.

        Raises:
            UserError: The store does not hold that data set.
        """
        if name not in self._sets:
            held = ", ".join(self._sets) or "nothing"
            raise UserError(f"{self.root} holds {held}, not {name}: run `microexpr prepare {name}`")
        return [_clip(entry) for entry in self._sets[name]["clips"]]

    def has(self, clip: Clip) -> bool:
        """Whether a clip was prepared, by any recipe."""
        return any(not self._failed(clip, key) for key in self._recipes)

    def reason(self, clip: Clip) -> str:
        """Why a clip could not be prepared; empty if it was."""
        reasons = [self._failed(clip, key) for key in self._recipes]
        return "" if "" in reasons else next(iter(reasons), "it was not prepared")

    def read_many(self, clips: Sequence[Clip], wants: Input) -> Array:
        """The planes of several clips, encoded as `wants`.

        Where the store has the clips prepared for this very `Input`, those are read; else another
        from which it can be had (pixel flow of 224 pixels gives every size and normalisation).

        Returns:
            Float32 ``(clips, channels, size, size)``, with several frames
            ``(clips, frames, channels, size, size)``.

        Raises:
            UserError: A clip was not prepared, for the reason given; its file is damaged; `wants`
                cannot be had from what is there, or could be had in two ways.
        """
        recipe = self._source(clips, wants)
        moments = (wants.frames,) if wants.frames > 1 else ()
        shape = (*moments, len(wants.channels), wants.size, wants.size)
        planes = np.empty((len(clips), *shape), np.float32)
        for row, clip in zip(planes, clips, strict=True):
            row[:] = encode(self._planes(clip, recipe.key), recipe.input, wants)
        return planes

    def check(self, clips: Sequence[Clip], wants: Input) -> None:
        """Finds out whether `read_many` would serve, without reading.

        Raises:
            UserError: As `read_many`, except for damaged files.
        """
        self._source(clips, wants)

    def _planes(self, clip: Clip, key: str) -> Array:
        path = _path(self.root, clip.id, key, ".npy")
        try:
            damaged = _checksum(path) != self._flows[key][clip.id]["sha256"]
        except OSError:
            damaged = True
        if damaged:
            raise UserError(f"{path} is missing or damaged; `microexpr prepare` mends it")
        planes: Array = np.load(path, allow_pickle=False)
        return planes

    def _source(self, clips: Sequence[Clip], wants: Input) -> Recipe:
        """The recipe whose planes are read: for `wants` itself, or one that it can be had from."""
        able = [recipe for recipe in self._recipes.values() if _gives(recipe.input, wants)]
        there = [r for r in able if not any(self._failed(clip, r.key) for clip in clips)]
        exact = [recipe for recipe in there if recipe.input == wants] or there
        found = [recipe for recipe in exact if recipe == recipe_here(recipe.input)] or exact
        if len(found) == 1:
            return found[0]
        if found:
            kinds = "; ".join(f"{_words(r.input)} by {r.flow}" for r in found)
            raise UserError(f"{self.root} gives {_words(wants)} in {len(found)} ways ({kinds})")
        if not able:
            held = "; ".join(_words(recipe.input) for recipe in self._recipes.values())
            raise UserError(
                f"{self.root} has {held or 'no clips'}, from which {_words(wants)} cannot be had; "
                f"run `microexpr prepare` with {_options(wants)}"
            )
        raise UserError(self._lacking(clips, able))

    def _failed(self, clip: Clip, key: str) -> str:
        """Why a clip has no planes by this recipe; empty if it has."""
        record = self._flows.get(key, {}).get(clip.id)
        return "it was not prepared" if record is None else str(record["failed"])

    def _lacking(self, clips: Sequence[Clip], able: Sequence[Recipe]) -> str:
        best = min(able, key=lambda recipe: sum(bool(self._failed(c, recipe.key)) for c in clips))
        lost = [clip for clip in clips if self._failed(clip, best.key)]
        return (
            f"{len(lost)} of {len(clips)} clips are not in {self.root}, first {lost[0].id}: "
            f"{self._failed(lost[0], best.key)}"
        )


def _gives(has: Input, wants: Input) -> bool:
    """Whether planes as one `Input` can be turned into another."""
    try:
        encode(np.zeros((0, len(has.channels), has.size, has.size), np.float32), has, wants)
    except UserError:
        return False
    return True


def _recipe(entry: Json) -> Recipe:
    return Recipe(Input(**entry["input"]), entry["opencv"], entry["flow"], entry["road"])


def _clip(entry: Json) -> Clip:
    return Clip(**{**entry, "action_units": tuple(entry["action_units"])})


def _words(wants: Input) -> str:
    size = f"{wants.size}x{wants.size}" + (f" x {wants.frames} frames" if wants.frames > 1 else "")
    return f"{', '.join(wants.channels)} {size} {wants.flow} {wants.normalisation}"


def _options(wants: Input) -> str:
    """The options of `microexpr prepare` that make an `Input`."""
    values = asdict(wants) | {"channels": ",".join(wants.channels)}
    return " ".join(f"--input {name}={value}" for name, value in values.items())
