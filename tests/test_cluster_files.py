"""The job files of docs/cluster: they are read, their commands exist, and the SLURM one works."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from microexpr import cli

ROOT = Path(__file__).resolve().parents[1]
FILES = ROOT / "docs" / "cluster"
PROGRAM: Any = typer.main.get_command(cli.app)
SRUN = """#!/bin/bash
# what is left of srun on one machine: the command
while [[ $1 == -* ]]; do
    case $1 in -w | --exclude) shift 2 ;; *) shift ;; esac
done
exec "$@"
"""
STAND_INS = {
    "srun": SRUN,
    "scontrol": "#!/bin/bash\necho localhost\n",
    "hostname": "#!/bin/bash\necho 127.0.0.1\n",
    "sleep": "#!/bin/bash\nexec /bin/sleep 8\n",
}


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FILES / name).read_text(encoding="utf-8")))


def commands(text: str, program: str) -> list[list[str]]:
    """Calls of a program, each as its words."""
    whole = text.replace("\\\n", " ")
    found = re.findall(rf"(?:^|\s){re.escape(program)} (?=\w+ )[^\n&;]*", whole, re.MULTILINE)
    return [shlex.split(call) for call in found if not call.lstrip().startswith("#")]


def check(words: list[str]) -> None:
    """Parses a call of microexpr as the program itself would."""
    command = PROGRAM.commands[words[1]]
    command.make_context(words[1], words[2:], resilient_parsing=True)
    known = {option for p in command.params for option in p.opts}
    assert {word for word in words[2:] if word.startswith("--")} <= known


@pytest.mark.parametrize("path", sorted(FILES.glob("*.sbatch")), ids=lambda path: path.name)
def test_every_script_is_bash_and_its_commands_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    subprocess.run(["bash", "-n", str(path)], check=True)
    calls = commands(text, "microexpr")
    assert calls
    for words in calls:
        check(words)
    assert re.findall(r"^#SBATCH --time=", text, re.MULTILINE)


def test_ray_has_the_options_that_the_scripts_give() -> None:
    scripts = pytest.importorskip("ray.scripts.scripts")
    known = {option for p in scripts.start.params for option in p.opts}
    text = (FILES / "ray.sbatch").read_text(encoding="utf-8").replace("\\\n", " ")
    said = [line for line in text.splitlines() if "ray start" in line or line.startswith("size=")]
    given = re.findall(r"(--[a-z-]+)", " ".join(said))
    slurm = {"--overlap", "--nodes", "--ntasks", "--exclude"}
    assert len(said) == 3
    assert set(given) - slurm <= known
    for group in (cluster := documents("raycluster.yaml")[0]["spec"])["workerGroupSpecs"]:
        assert {f"--{name}" for name in group["rayStartParams"]} <= known
    assert {f"--{name}" for name in cluster["headGroupSpec"]["rayStartParams"]} <= known


def test_the_job_runs_on_the_cluster() -> None:
    (cluster,), (job,) = documents("raycluster.yaml"), documents("job.yaml")
    assert (cluster["kind"], job["kind"]) == ("RayCluster", "RayJob")
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    words = shlex.split(job["spec"]["entrypoint"])
    check(words)
    assert words[-4:] == ["--engine", "ray", "--address", "auto"]
    head = cluster["spec"]["headGroupSpec"]
    (workers,) = cluster["spec"]["workerGroupSpecs"]
    folders = [word for word in words if word.startswith("/")]
    for group in (head, workers):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
        assert mount["name"] == volume["name"]
        assert all(folder.startswith(mount["mountPath"] + "/") for folder in folders)
        assert {"name": "OMP_NUM_THREADS", "value": "1"} in container["env"]


def test_the_version_of_ray_is_the_one_that_is_tested() -> None:
    (pinned,) = re.findall(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert documents("raycluster.yaml")[0]["spec"]["rayVersion"] == pinned
    assert f"ray[default]=={pinned}" in (FILES / "Containerfile").read_text()


@pytest.mark.slow
def test_the_slurm_script_runs_an_experiment_on_two_nodes(tmp_path: Path) -> None:
    """With stand-ins for SLURM's commands; both nodes are this machine."""
    pytest.importorskip("ray")
    for name, text in STAND_INS.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    activate = f'PATH="{tmp_path / "bin"}:{Path(sys.executable).parent}:$PATH"\n'
    (tmp_path / ".venv" / "bin" / "activate").write_text(activate)
    (tmp_path / "small.toml").write_text(
        '[data]\ndataset = "synthetic"\nlabels = "megc3"\n'
        "settings = { persons = 4, clips_per_person = 4 }\n"
        '[protocol]\nname = "loso"\n[model]\nname = "smallcnn"\n'
        "[recipe]\nepochs = 1\nwarmup = 0\ncooldown = 0\n"
    )
    job = {"JOB_ID": os.getpid(), "JOB_NODELIST": "n[1-2]", "NNODES": 2, "CPUS_PER_TASK": 1}
    variables = {f"SLURM_{key}": str(value) for key, value in job.items()}
    log = tmp_path / "log"
    with log.open("w") as said:
        script = subprocess.Popen(
            ["bash", str(FILES / "ray.sbatch"), "small.toml", str(tmp_path), "out"],
            cwd=tmp_path,
            env=os.environ | variables | {"RAY_worker_niceness": "0"},
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        script.wait(120)
    finally:
        end_session(script.pid)
        shutil.rmtree(f"/tmp/ray-{os.getpid()}", ignore_errors=True)
    assert (tmp_path / "out" / "predictions.csv").exists(), log.read_text()[-3000:]
    assert '"engine": "ray"' in (tmp_path / "out" / "environment.json").read_text()
    assert '"jobs": 2' in (tmp_path / "out" / "environment.json").read_text()


def end_session(session: int) -> None:
    """Ends what a job leaves behind, as SLURM does."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            os.kill(int(folder.name), signal.SIGKILL)
