"""The store: what comes out is what went in; damage, failures and other processes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microexpr.clip import Clip
from microexpr.encoding import encode
from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.preprocess import store as module
from microexpr.preprocess.store import (
    Recipe,
    Record,
    Store,
    enter_set,
    is_store,
    is_whole,
    recipe_here,
    sweep,
    write_clip,
    write_manifest,
)

FLOW = Input(("u", "v"), 16, "tvl1", "none")
CLIPS = [Clip("casme2", f"sub{i:02d}", f"EP{i} (ä)", "happiness", apex=3) for i in range(6)]


def planes(i: int, wants: Input = FLOW) -> np.ndarray:
    shape = (len(wants.channels), wants.size, wants.size)
    return np.random.default_rng(i).standard_normal(shape).astype(np.float32)


def fill(root: Path, wants: Input = FLOW, recipe: Recipe | None = None) -> None:
    enter_set(root, "casme2", CLIPS, {"coding": "2014"})
    for i, clip in enumerate(CLIPS):
        record = Record(clip.id, onset=1, apex=3, offset=5)
        write_clip(root, recipe or recipe_here(wants), record, planes(i, wants))
    write_manifest(root)


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    fill(tmp_path / "store")
    return tmp_path / "store"


@pytest.mark.parametrize(
    "wants",
    [
        FLOW,
        replace(FLOW, size=8, normalisation="robust"),
        Input(("strain", "v", "u"), 8, "tvl1", "minmax8"),
        Input(("u", "v", "m"), 16, "tvl1", "relative"),
    ],
)
def test_clips_come_back_as_wanted(root: Path, wants: Input) -> None:
    chosen = [4, 0, 2]
    got = Store(root).read_many([CLIPS[i] for i in chosen], wants)
    assert got.dtype == np.float32
    for i, row in zip(chosen, got, strict=True):
        assert np.array_equal(row, encode(planes(i), FLOW, wants))


def test_no_clips_have_a_shape_too(root: Path) -> None:
    assert Store(root).read_many([], replace(FLOW, size=8)).shape == (0, 2, 8, 8)


def test_several_frames(tmp_path: Path) -> None:
    wants = Input(("u", "v"), 16, "dis", "none", frames=3)
    enter_set(tmp_path, "casme2", CLIPS[:1], {})
    moments = np.stack([planes(i) for i in range(3)])
    write_clip(tmp_path, recipe_here(wants), Record(CLIPS[0].id), moments)
    write_manifest(tmp_path)
    small = replace(wants, size=8)
    got = Store(tmp_path).read_many(CLIPS[:1], small)
    assert np.array_equal(got[0], encode(moments, wants, small))


def test_a_set_comes_back_as_annotated(root: Path) -> None:
    assert Store(root).clips("casme2") == CLIPS
    assert Store(root).sets == {"casme2": {"coding": "2014"}}
    with pytest.raises(UserError, match="holds casme2, not samm: run `microexpr prepare samm`"):
        Store(root).clips("samm")


def test_a_set_has_one_kind_of_settings(root: Path) -> None:
    enter_set(root, "casme2", CLIPS, {"coding": "2014"})
    with pytest.raises(UserError, match="choose another --out"):
        enter_set(root, "casme2", CLIPS, {"coding": "2019"})


def test_what_was_prepared_as_wanted_goes_before_what_could_be_made_of_it(root: Path) -> None:
    wants = replace(FLOW, size=8)
    for i, clip in enumerate(CLIPS):
        write_clip(root, recipe_here(wants), Record(clip.id), planes(10 + i, wants))
    write_manifest(root)
    assert np.array_equal(Store(root).read_many(CLIPS[:1], wants)[0], planes(10, wants))
    assert np.array_equal(Store(root).read_many(CLIPS[:1], FLOW)[0], planes(0))
    with pytest.raises(UserError, match="gives u, v 4x4 tvl1 none in 2 ways"):
        Store(root).read_many(CLIPS, replace(FLOW, size=4))


def test_programs_are_not_mixed(root: Path) -> None:
    here = recipe_here(FLOW)
    other = replace(here, opencv="4.0.0", flow="tvl1-opencv-4.0.0")
    for i, clip in enumerate(CLIPS[:3]):
        write_clip(root, other, Record(clip.id), planes(20 + i))
    write_manifest(root)
    assert np.array_equal(Store(root).read_many(CLIPS[:1], FLOW)[0], planes(0))
    keys = {here.key, other.key, replace(here, road=9).key}
    keys |= {replace(here, input=replace(FLOW, size=8)).key, replace(here, flow="x").key}
    assert len(keys) == 5


def test_another_machine_reads_what_is_there(tmp_path: Path) -> None:
    other = replace(recipe_here(FLOW), opencv="4.0.0", flow="tvl1-opencv-4.0.0")
    fill(tmp_path, recipe=other)
    assert np.array_equal(Store(tmp_path).read_many(CLIPS[:1], FLOW)[0], planes(0))


def test_failures_are_told(root: Path) -> None:
    recipe = recipe_here(FLOW)
    lost = Clip("casme2", "sub09", "EP9", "fear")
    enter_set(root, "casme2", [*CLIPS, lost], {"coding": "2014"})
    write_clip(root, recipe, Record(lost.id, failed="no face"), None)
    write_manifest(root)
    store = Store(root)
    assert not is_whole(root, recipe, lost.id)
    assert (store.has(lost), store.reason(lost)) == (False, "no face")
    assert (store.has(CLIPS[0]), store.reason(CLIPS[0])) == (True, "")
    with pytest.raises(UserError, match=r"1 of 2 clips .* first casme2/sub09/EP9: no face"):
        store.check([CLIPS[0], lost], FLOW)
    stranger = Clip("samm", "006", "006_1", "anger")
    with pytest.raises(UserError, match="samm/006/006_1: it was not prepared"):
        store.read_many([stranger], FLOW)


def test_what_cannot_be_had_says_what_to_run(root: Path) -> None:
    wants = Input(("u", "onset_r"), 16, "tvl1", "none")
    with pytest.raises(UserError, match=r"--input channels=u,onset_r --input size=16 .*flow=tvl1"):
        Store(root).check(CLIPS, wants)
    with pytest.raises(UserError, match="from which u, v 16x16 dis none cannot be had"):
        Store(root).check([], replace(FLOW, flow="dis"))


@pytest.mark.parametrize("harm", ["cut", "flip", "gone"])
def test_damage_is_seen(root: Path, harm: str) -> None:
    key = recipe_here(FLOW).key
    path = root / "casme2" / "sub02" / f"EP2 (%C3%A4).{key}.npy"
    raw = bytearray(path.read_bytes())
    if harm == "gone":
        path.unlink()
    else:
        raw[-1] ^= 1
        path.write_bytes(raw[:-7] if harm == "cut" else raw)
    assert not is_whole(root, recipe_here(FLOW), CLIPS[2].id)
    assert is_whole(root, recipe_here(FLOW), CLIPS[1].id)
    with pytest.raises(UserError, match=r"missing or damaged; `microexpr prepare` mends it"):
        Store(root).read_many(CLIPS, FLOW)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is damaged"),
        ('{"format": 1}', "is damaged"),
        ("[1]", "is damaged"),
        ('{"format": 2}', "another version"),
        (None, "is no store"),
    ],
)
def test_a_broken_manifest_is_refused(root: Path, text: str | None, says: str) -> None:
    assert is_store(root)
    path = root / "manifest.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    assert is_store(root) == (text is not None)
    with pytest.raises(UserError, match=says) as caught:
        Store(root)
    assert "\n" not in str(caught.value)
    write_manifest(root)
    assert Store(root).clips("casme2") == CLIPS


def test_a_manifest_holds_what_appears_meanwhile(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, gather = json.loads((root / "manifest.json").read_text()), module._gathered
    looks = []

    def late(folder: Path) -> dict[str, object]:
        looks.append(folder)
        found = gather(folder)
        if len(looks) == 1:  # the last clip is written by another process after this look
            next(iter(found["flows"].values())).popitem()
        return found

    monkeypatch.setattr(module, "_gathered", late)
    write_manifest(root)
    assert json.loads((root / "manifest.json").read_text()) == whole
    assert len(looks) == 3


def test_leftovers_of_the_dead_are_swept(root: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    home = root / ".unfinished"
    here = socket.gethostname()
    dead, hidden = f"{here}~{ended.pid}-ab.npy", f".{here}~{ended.pid}-ab.{ended.pid}.png"
    alive, far = f"{here}~{os.getpid()}-ab.npy", f"elsewhere~{ended.pid}-ab.npy"
    for name in (dead, hidden, alive, far):
        (home / name).write_bytes(b"")
    sweep(root)
    assert {path.name for path in home.iterdir()} == {alive, far}


def test_an_interrupted_write_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(root)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space left"):
        write_clip(root, recipe_here(FLOW), Record(CLIPS[0].id), planes(0))
    assert files(root) == before


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_store import fill
for _ in range(3):
    fill(Path(sys.argv[1]))
"""


def test_two_processes_write_one_store(tmp_path: Path) -> None:
    shutil.copy(__file__, tmp_path / "test_store.py")
    command = [sys.executable, "-c", WRITER, str(tmp_path / "both"), str(tmp_path)]
    writers = [subprocess.Popen(command) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    fill(tmp_path / "alone")
    assert files(tmp_path / "both") == files(tmp_path / "alone")
