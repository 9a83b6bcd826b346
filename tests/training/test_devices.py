"""One training on several devices: every clip counts the same, and the result is that of one."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from microexpr.errors import UserError
from microexpr.evaluation.experiment import parse
from microexpr.evaluation.run import run_experiment
from microexpr.training.devices import is_first, open_fabric, share
from microexpr.training.recipe import Recipe

TOML = """
[data]
dataset = "synthetic"
labels = "megc3"
settings = { persons = 5, clips_per_person = 5 }
[protocol]
name = "kfold"
folds = 2
[model]
name = "htnet"
dim = 16
heads = 1
depths = [1, 1, 1]
[recipe]
batch = 3
lr = 0.02
optimiser = "sgd"
class_weights = true
mixup = 0.4
ema = 0.9
epochs = 2
warmup = 0
cooldown = 0
devices = DEVICES
"""


@given(st.integers(1, 9), st.integers(1, 5))
def test_every_clip_counts_the_same(clips: int, world: int) -> None:
    """The mean over processes of their weighted means is the mean over the batch."""
    x = torch.arange(clips, dtype=torch.float64)[:, None] + 1
    total, seen = 0.0, []
    for rank in range(world):
        here: Any = SimpleNamespace(global_rank=rank, world_size=world, device=torch.device("cpu"))
        part, same, weight = share(here, x, x)
        assert torch.equal(part, same)
        assert len(part) > 0  # also a process for which nothing is left takes the step
        total += float(part.mean()) * weight / world
        seen += part[:, 0].tolist() if weight else []
    assert total == pytest.approx(float(x.mean()), rel=1e-12)
    assert sorted(seen) == x[:, 0].tolist()


def test_a_job_of_many_slurm_tasks_is_not_one_training(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("NTASKS", "4"), ("JOB_NAME", "folds"), ("PROCID", "1"), ("NNODES", "2")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert open_fabric(Recipe()).world_size == 1


def test_a_run_is_not_for_torchrun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    text = TOML.replace("DEVICES", "1")
    with pytest.raises(UserError, match="several devices for one training are for"):
        run_experiment(parse(tomllib.loads(text)), None, tmp_path)


def test_who_is_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert is_first()
    monkeypatch.setenv("LOCAL_RANK", "0")  # of the second machine
    monkeypatch.setenv("RANK", "2")
    assert not is_first()


def trained(folder: Path, devices: int, *launcher: str) -> dict[str, torch.Tensor]:
    toml = folder / "experiment.toml"
    folder.mkdir()
    toml.write_text(TOML.replace("DEVICES", str(devices)))
    command = [sys.executable, *launcher, "-m", "microexpr", "train", str(toml)]
    command += ["--out", str(folder / "model.safetensors")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == 1
    assert sorted(path.name for path in folder.iterdir()) == [toml.name, "model.safetensors"]
    return load_file(folder / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["torchrun", "devices"])
def test_two_processes_give_the_same_as_one(how: str, tmp_path: Path) -> None:
    """25 clips in batches of 3: shares differ, and the last leaves one process without a clip.

    The model has no batch norm, whose statistics are those of each process, and no dropout.
    """
    one = trained(tmp_path / "one", 1)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    if how == "torchrun":
        two = trained(tmp_path / "two", 1, *launcher)
    else:
        two = trained(tmp_path / "two", 2)
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5)
