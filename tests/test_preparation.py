"""`microexpr prepare` as a user types it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from microexpr import cli
from microexpr.doctor import examine_dataset
from microexpr.errors import UserError
from microexpr.preparation import read_input, summary

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def microexpr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["microexpr", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def test_a_tree_is_prepared_and_looked_at(
    microexpr: Command, trees: ModuleType, tmp_path: Path
) -> None:
    root, store = trees.casme2(tmp_path / "casme2", trees.face, 1), tmp_path / "store"
    command = ("prepare", "casme2", root, "--out", store, "--set", "complete=false", "--jobs", "1")
    code, out, err = microexpr(*command, "--sheet", "2")
    assert code == 0, err
    assert "4 clips prepared, 0 were there, 0 failed" in out
    assert (store / "contact_sheet.png").read_bytes().startswith(b"\x89PNG")
    for path in (root / "CASME2_RAW_selected" / "sub01" / "EP03_03f").iterdir():
        path.unlink()
    small = ("--input", "size=28", "--input", "normalisation=relative", "--sheet", "0")
    code, out, _ = microexpr(*command, *small, "--json")
    done = json.loads(out)
    assert code == 1
    assert (done["made"], done["kept"], done["sheet"]) == (3, 0, None)
    assert done["failed"] == {"casme2/sub01/EP03_03f": "frame 46 is missing in EP03_03f"}
    assert len(list(store.rglob("*.npy"))) == 7


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("flow442", "."), "flow442 ships flow: there is nothing to prepare"),
        (("casmee2", "."), "did you mean 'casme2'"),
        (("casme2", "."), "no label file under ."),
        (("casme2", ".", "--set", "colour=red"), "no setting 'colour'"),
        (("casme2", ".", "--set", "complete=no"), "complete is true or false, not 'no'"),
        (("casme2", ".", "--set", "coding"), "expected KEY=VALUE, got 'coding'"),
        (("casme2", ".", "--input", "sise=28"), "no setting 'sise': did you mean 'size'"),
        (("casme2", ".", "--input", "size=big"), "size is a whole number, not 'big'"),
        (("casme2", ".", "--input", "channels=u,w"), "unknown channel 'w'"),
        (("casme2", ".", "--jobs", "0"), "--jobs must be at least 1"),
    ],
)
def test_mistakes_are_one_line(
    microexpr: Command, tmp_path: Path, words: tuple[str, ...], says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    code, _, err = microexpr("prepare", *words, "--out", "store")
    assert code == 2
    assert says in err
    assert err.count("\n") == 1
    assert not (tmp_path / "store").exists()


def test_label_files_alone_are_not_enough(
    microexpr: Command, trees: ModuleType, tmp_path: Path
) -> None:
    root = trees.casme2(tmp_path / "casme2", trees.noise, 1)
    shutil.rmtree(root / "CASME2_RAW_selected")
    command = ("prepare", "casme2", root, "--out", tmp_path / "store", "--set", "complete=false")
    code, _, err = microexpr(*command)
    assert (code, "no frames below" in err, "microexpr doctor casme2" in err) == (2, True, True)
    assert not (tmp_path / "store").exists()


def test_frames_of_the_other_kind_are_pointed_out(
    microexpr: Command, trees: ModuleType, tmp_path: Path
) -> None:
    for name, raw, cropped in (
        ("casme2", "CASME2_RAW_selected", "Cropped"),
        ("samm", "SAMM", "SAMM_CROP"),
        ("smic", "SMIC_all_raw", "SMIC_all_cropped"),
    ):
        root = getattr(trees, name)(tmp_path / "set" / name)
        (root / raw).rename(root / cropped)
        command = ("prepare", name, root, "--out", tmp_path / "store", "--set", "complete=false")
        code, _, err = microexpr(*command)
        assert (code, "--set pictures=cropped finds some" in err) == (2, True), err
        lines = {f.name: f for f in examine_dataset(name, root, {"complete": False})}
        assert lines["frames"].mend == "--set pictures=cropped finds some"


def test_what_to_store() -> None:
    assert read_input([]).channels == ("u", "v")
    assert read_input(["channels=u,v,onset_r", "frames=3"]).frames == 3
    with pytest.raises(UserError, match="unknown flow 'lk'"):
        read_input(["flow=lk"])


def test_a_summary_names_only_some_failures() -> None:
    failed = {f"a/b/{i}": "no face" for i in range(25)}
    lines = summary({"made": 1, "kept": 2, "failed": failed, "store": "S", "sheet": None})
    assert "1 clips prepared, 2 were there, 25 failed: S" in lines
    assert lines.count("no face") == 20
    assert "and 5 more" in lines
