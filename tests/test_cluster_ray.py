"""The same bytes on a real ray as here: a ray of this machine, and one that loses a node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from microexpr.app.outputs import Settings, analyze_all
from microexpr.cluster import Cluster, spread
from microexpr.errors import UserError
from microexpr.evaluation.experiment import Experiment, parse
from microexpr.evaluation.run import run_experiment
from microexpr.evaluation.searching import search_experiment
from microexpr.film import drawn_portrait, film, write_script
from microexpr.models.ammsm import Ammsm
from microexpr.preparation import prepare_dataset

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for leftovers in /proc"),
]
STORE = 80 * 2**20
QUICK = {  # a node that is gone is missed after a second, not after twenty
    "worker_niceness": 0,
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 300,
    "health_check_failure_threshold": 3,
}


def children(parent: int) -> list[int]:
    """Processes below this one, however deep, that are not merely waiting to be buried."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, above = folder.joinpath("stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            parents[int(folder.name)] = int(above)
    found = [parent]
    for one in found:
        found += [child for child, above in parents.items() if above == one]
    return found[1:]


def of_ray(process: int) -> bool:
    try:
        return b"ray" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left() -> Iterator[None]:
    """Ends what of ray may be left below this process, and fails if there was any."""
    yield
    end = time.monotonic() + 30
    while left := [process for process in children(os.getpid()) if of_ray(process)]:
        if time.monotonic() > end:
            for process in left:
                os.kill(process, signal.SIGKILL)
            pytest.fail(f"{len(left)} processes of ray were left over")
        time.sleep(0.2)


@pytest.fixture(scope="module")
def alone() -> Iterator[Cluster]:
    """A ray of this machine, as ``--engine ray`` starts it."""
    with Cluster(jobs=2) as on:
        yield on


@pytest.fixture
def two_nodes() -> Iterator[tuple[str, Callable[[], None]]]:
    """The address of a cluster of two nodes with a core each, and what kills the second."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    from ray.cluster_utils import Cluster as Nodes

    nodes = Nodes()
    size = {"num_cpus": 1, "object_store_memory": STORE}
    nodes.add_node(**size, include_dashboard=False, _system_config=QUICK)
    second = nodes.add_node(**size)

    def kill() -> None:
        (raylet,) = second.all_processes["raylet"]
        for process in [raylet.process.pid, *children(raylet.process.pid)]:
            os.kill(process, signal.SIGKILL)

    try:
        yield nodes.address, kill
    finally:
        import ray

        ray.shutdown()
        nodes.shutdown()


def experiment(**changes: Any) -> Experiment:
    table: dict[str, Any] = {
        "data": {
            "dataset": "synthetic",
            "labels": "megc3",
            "settings": {"persons": 6, "clips_per_person": 6},
        },
        "protocol": {"name": "loso"},
        "model": {"name": "smallcnn"},
        "recipe": {"warmup": 0, "cooldown": 0, "batch": 8, "epochs": 12},
        "run": {"seeds": [0, 1], "selections": ["last", "inner"]},
    }
    return parse(table | changes)


def files(root: Path, *apart: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name not in apart
    }


def test_a_run_whose_second_node_is_killed_ends_with_the_same_bytes(
    two_nodes: tuple[str, Callable[[], None]], tmp_path: Path
) -> None:
    address, kill = two_nodes
    run_experiment(experiment(), None, tmp_path / "here")
    cores, seen = [], []

    def watch(what: str, done: int, of: int) -> None:
        seen.append((what, done, of))
        if done == 5:
            cores.append(on.cores)
            kill()

    with Cluster(address) as on:
        run_experiment(experiment(), None, tmp_path / "there", watch=watch, on=on)
        assert (cores, on.cores) == ([2], 1)
    assert seen == [("folds", done, 24) for done in range(25)]
    assert files(tmp_path / "there", "environment.json") == files(
        tmp_path / "here", "environment.json"
    )


def leave_a_note(task: tuple[Path, int]) -> int:
    """Says that it was begun, where, and works for a while."""
    folder, number = task
    (folder / f"{number}.{os.getpid()}").touch()
    time.sleep(1.0)
    return number


def test_the_tasks_of_a_killed_node_are_done_again(
    two_nodes: tuple[str, Callable[[], None]], tmp_path: Path
) -> None:
    address, kill = two_nodes
    tasks = [(tmp_path, number) for number in range(8)]
    done = []
    with Cluster(address) as on:
        for _, number in spread(leave_a_note, tasks, 1, on, [tmp_path]):
            done.append(number)
            if len(done) == 2:
                time.sleep(0.3)  # both nodes have begun another
                kill()
    assert sorted(done) == list(range(8))
    begun = [int(path.name.partition(".")[0]) for path in tmp_path.iterdir()]
    assert len(begun) > len(set(begun)) == 8


def test_preparing_is_the_same(alone: Cluster, trees: ModuleType, tmp_path: Path) -> None:
    root = trees.casme2(tmp_path / "casme2", trees.face, 1)
    done = {}
    for where, on in (("here", None), ("there", alone)):
        done[where] = prepare_dataset(
            "casme2", root, tmp_path / where, (), ["complete=false"], 2, 1, on=on
        )
    assert done["there"]["made"] == 4
    assert files(tmp_path / "there") == files(tmp_path / "here")


def test_analyzing_is_the_same(alone: Cluster, tmp_path: Path) -> None:
    script = write_script(5, fps=25, seconds=1.0, events=1, peak=(1.8, 2.0))
    videos = [tmp_path / "films" / f"{name}.mp4" for name in "ab"]
    for number, video in enumerate(videos):
        film(drawn_portrait(number), script, video)
    (tmp_path / "films" / "bad.mp4").write_bytes(b"no video")
    found = {}
    for where, on in (("here", None), ("there", alone)):
        outcomes = analyze_all([tmp_path / "films"], tmp_path / where, Settings(), jobs=1, on=on)
        found[where] = [(o.job.video, o.report, o.error) for o in outcomes]
    assert found["there"] == found["here"]
    assert [bool(error) for _, _, error in found["there"]] == [False, False, True]
    assert files(tmp_path / "there") == files(tmp_path / "here")  # moving pictures too


def test_searching_is_the_same(alone: Cluster, tmp_path: Path) -> None:
    phases = [
        {"name": "adapt", "mode": "adapt", "hold_out": 0.4, "epochs": 1},
        {"name": "search", "mode": "search", "hold_out": 0.4, "epochs": 2, "population": 4},
    ]
    small = experiment(
        model={"name": "ammsm", **Ammsm.smallest, "widths": [8, 8], "depths": [1, 1]},
        recipe={"warmup": 0, "cooldown": 0, "batch": 8, "phases": phases},
    )
    for where, on in (("here", None), ("there", alone)):
        search_experiment(small, None, tmp_path / where, on=on)
    assert files(tmp_path / "there") == files(tmp_path / "here")


def dies_at_first(folder: Path) -> str:
    """Killed from outside, as by the system when memory is short."""
    if not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.environ["OMP_NUM_THREADS"]


def test_a_lost_worker_is_replaced_and_has_one_thread(alone: Cluster, tmp_path: Path) -> None:
    assert list(spread(dies_at_first, [tmp_path], 1, alone, [tmp_path])) == [(tmp_path, "1")]


def refuse(task: int) -> int:
    raise UserError(f"{task} is refused")


def test_an_error_comes_back_as_it_is(alone: Cluster, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^7 is refused$"):
        list(spread(refuse, [7], 1, alone, [tmp_path]))
    with pytest.raises(UserError, match="does not see /nowhere"):
        list(spread(refuse, [7], 1, alone, [tmp_path, Path("/nowhere")]))


def test_the_command_can_be_stopped(tmp_path: Path) -> None:
    """Ctrl-C ends it and its ray in time, and leaves a folder that can be gone on with."""
    toml = tmp_path / "small.toml"
    toml.write_text(
        '[data]\ndataset = "synthetic"\nlabels = "megc3"\n'
        "settings = { persons = 4, clips_per_person = 4 }\n"
        '[protocol]\nname = "kfold"\nfolds = 2\n[model]\nname = "smallcnn"\n'
        "[recipe]\nepochs = 2000\nwarmup = 0\ncooldown = 0\n"
    )
    words = [sys.executable, "-m", "microexpr", "run", str(toml), "--engine", "ray", "--jobs", "1"]
    command = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
    out = tmp_path / "results" / "small"
    while not (out / ".cluster").exists():
        assert command.poll() is None
        time.sleep(0.1)
    time.sleep(1)
    ours = children(command.pid)
    assert any(map(of_ray, ours))
    os.killpg(command.pid, signal.SIGINT)  # as a terminal does
    _, said = command.communicate(timeout=60)
    assert command.returncode == 130
    assert "the same command goes on from here" in said
    assert "Traceback" not in said
    time.sleep(1)
    assert not any(map(of_ray, ours))
    assert {path.name for path in out.iterdir()} == {"experiment.toml", "cache"}
