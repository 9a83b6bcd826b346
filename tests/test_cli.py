"""The commands as a user types them: exit codes, one-line errors, JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from microexpr import cli
from microexpr.errors import UserError

TOML = """
[data]
dataset = "synthetic"
labels = "megc3"
settings = { persons = 4, clips_per_person = 6 }
[protocol]
name = "kfold"
folds = 2
[model]
name = "smallcnn"
[recipe]
epochs = 1
warmup = 0
cooldown = 0
"""


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Ended]


@pytest.fixture
def microexpr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command in this process: a new one would spend its time on importing torch."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(*words: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["microexpr", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(TOML)
    return path


def test_help_is_quick() -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "microexpr", "--help"], check=True, stdout=subprocess.DEVNULL
        )
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1.0  # 0.15 s on a quiet machine; the bound is loose for a busy one


@pytest.mark.parametrize(
    ("command", "name"),
    [("models", "merba"), ("datasets", "flow442"), ("protocols", "loso"), ("protocols", "megc3")],
)
def test_lists(microexpr: Command, command: str, name: str) -> None:
    assert name in microexpr(command).stdout
    rows = json.loads(microexpr(command, "--json").stdout)
    assert name in {row["name"] for row in rows}
    assert all(isinstance(value, str) for row in rows for value in row.values())


def test_run_report_compare_train(microexpr: Command, toml: Path, tmp_path: Path) -> None:
    done = microexpr("run", toml, "--jobs", "1")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "results" / "small"
    assert {
        "predictions.csv",
        "experiment.toml",
        "environment.json",
        "report.md",
        "report.json",
    } < {file.name for file in out.iterdir()}
    assert (out / "confusion.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(microexpr("report", out, "--json").stdout)
    assert found["clips"] == 24
    other = microexpr("run", toml, "--jobs", "1", "--out", tmp_path / "other")
    assert other.returncode == 0
    compared = json.loads(microexpr("compare", out, tmp_path / "other", "--json").stdout)
    assert [row["differences"] for row in compared["rows"]][1]["uf1"]["value"] == 0
    weights = tmp_path / "weights.safetensors"
    assert microexpr("train", toml, "--out", weights).returncode == 0
    assert weights.stat().st_size > 10_000


def test_a_grid_runs_every_arm(microexpr: Command, toml: Path, tmp_path: Path) -> None:
    toml.write_text(TOML + '[grid]\n"model.dropout" = [0.1, 0.2]\n')
    assert microexpr("run", toml, "--jobs", "1").returncode == 0
    arms = sorted(path.name for path in (tmp_path / "results" / "small").iterdir())
    assert arms == ["dropout=0.1", "dropout=0.2"]


def test_dry_run_trains_nothing(microexpr: Command, toml: Path, tmp_path: Path) -> None:
    done = microexpr("run", toml, "--dry-run")
    assert "2 folds, 2 trainings" in done.stdout
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("run", "TOML", "--jobs", "0"), "--jobs must be at least 1, got 0"),
        (("run", "none.toml"), "cannot read the experiment none.toml"),
        (("report", "nowhere"), "no predictions at nowhere"),
        (("compare", "nowhere", "elsewhere"), "no predictions at"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    microexpr: Command, toml: Path, words: tuple[str, ...], says: str
) -> None:
    done = microexpr(*(toml if word == "TOML" else word for word in words))
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('dataset = "synthetic"', 'dataset = "synthetc"', "did you mean 'synthetic'"),
        ("persons = 4", "person = 4", "has no setting 'person': did you mean 'persons'"),
        ('name = "smallcnn"', 'name = "smalcnn"', "did you mean 'smallcnn'"),
        ("folds = 2", "fold = 2", "protocol 'kfold' has no setting 'fold'"),
        ('name = "kfold"\nfolds = 2', 'name = "kfolds"', "did you mean 'kfold'"),
        ("epochs = 1", "epochz = 1", "did you mean 'epochs'"),
        ('labels = "megc3"', 'labels = "megc"', "did you mean 'megc3'"),
        ("folds = 2", "folds = 5", "folds must be 2 to 4"),
    ],
)
def test_mistakes_in_the_file(
    microexpr: Command, toml: Path, old: str, new: str, says: str
) -> None:
    toml.write_text(TOML.replace(old, new))
    done = microexpr("run", toml, "--jobs", "1")
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_or_wrong_folder(microexpr: Command, toml: Path, tmp_path: Path) -> None:
    text = TOML.replace('"synthetic"', '"flow442"').replace("settings", "# settings")
    toml.write_text(text)
    for folder in (tmp_path / "missing", tmp_path):
        done = microexpr("run", toml, "--jobs", "1", "--data", folder)
        assert done.returncode == 2
        assert "flow.npz" in done.stderr
        assert "Traceback" not in done.stderr
    assert "give --data" in microexpr("run", toml).stderr


def test_debug_shows_the_traceback(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROEXPR_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["microexpr", "run", str(toml), "--jobs", "0"])
    with pytest.raises(UserError):
        cli.main()
