"""What the engine does with tasks, on a ray that is made up; `test_cluster_ray.py` has the real."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from microexpr import cluster
from microexpr.cluster import MARK, Cluster, Place, look_around, spread, wait_for
from microexpr.errors import UserError


class TaskError(Exception):
    """As ray's: what a task raised stands in `cause`."""

    def __init__(self, cause: Exception, says: str = "") -> None:
        super().__init__(says)
        self.cause = cause


class Lost(Exception):
    """Stands for each of ray's words for a worker that was lost."""


@dataclass(frozen=True, eq=False)
class Ref:
    """A task that was handed over."""

    call: tuple[Callable[..., Any], tuple[Any, ...]]


class MadeUp:
    """A ray whose tasks are done when they are asked for, the last handed over first."""

    def __init__(self, resources: dict[str, float], lose: int | None = None) -> None:
        self.resources, self.lose = resources, lose
        self.exceptions = SimpleNamespace(
            RayTaskError=TaskError,
            WorkerCrashedError=Lost,
            NodeDiedError=Lost,
            OutOfMemoryError=Lost,
            ObjectLostError=Lost,
        )
        self.init_settings: dict[str, Any] = {}
        self.options_given: dict[str, Any] = {}
        self.begun: list[Any] = []
        self.most = self.downs = 0
        self.cancelled: list[Any] = []

    def init(self, **settings: Any) -> None:
        if settings["address"] == "nowhere":
            raise ConnectionError("no\n such cluster")
        self.init_settings = settings

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def remote(self, function: Callable[..., Any]) -> Any:
        def options(**given: Any) -> Any:
            self.options_given = given
            return SimpleNamespace(remote=lambda *words: Ref((function, words)))

        return SimpleNamespace(options=options)

    def wait(self, refs: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        self.most = max(self.most, len(refs))
        return refs[-num_returns:], refs[:-num_returns]

    def get(self, ref: Any) -> Any:
        function, words = ref.call
        self.begun.append(words[1])
        if words[1] == self.lose:
            raise Lost
        try:
            return function(*words)
        except Exception as error:
            raise TaskError(error) from error

    def cancel(self, ref: Any, force: bool) -> None:
        assert force
        self.cancelled.append(ref.call[1][1])

    def shutdown(self) -> None:
        self.downs += 1


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    made_up = MadeUp({"CPU": 2.0})
    monkeypatch.setitem(sys.modules, "ray", made_up)  # type: ignore[arg-type]
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)
    return made_up


def halved(task: int) -> float:
    if task % 2:
        raise UserError(f"{task} is odd")
    return task / 2


def test_every_task_is_done_once_and_few_are_handed_over_at_a_time(
    ray: MadeUp, tmp_path: Path
) -> None:
    tasks = list(range(0, 40, 2))
    with Cluster(jobs=2) as on:
        done = dict(spread(halved, tasks, 1, on, [tmp_path / "out", tmp_path]))
        assert done == {task: task / 2 for task in tasks}
        assert sorted(ray.begun) == tasks
        assert ray.most == 4  # two cores: each has one to do and one that waits
        assert ray.options_given["num_cpus"] == 1
        assert ray.options_given["num_gpus"] == 0
        assert ray.options_given["max_retries"] > 0
        assert not (tmp_path / "out" / MARK).exists()
        assert not ray.downs
    assert ray.downs == 1
    assert ray.cancelled == []


def test_a_local_ray_is_small_alone_and_tells_nobody(ray: MadeUp, tmp_path: Path) -> None:
    with Cluster(jobs=3) as on:
        list(spread(halved, [2], 1, on, [tmp_path]))
        given = ray.init_settings
        assert (given["address"], given["num_cpus"]) == ("local", 3)
        assert given["include_dashboard"] is False
        assert given["object_store_memory"] <= 2**27
        assert given["runtime_env"]["env_vars"]["OMP_NUM_THREADS"] == "1"
        folder = Path(given["_temp_dir"])
        assert folder.is_dir()
    assert not folder.exists()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"  # listens on 127.0.0.1 alone


def test_a_running_cluster_is_left_as_it_is(ray: MadeUp, tmp_path: Path) -> None:
    with Cluster("10.0.0.1:6379", jobs=3, gpus=0.25) as on:
        ray.resources = {"CPU": 64.0, "GPU": 1.0}
        list(spread(halved, [2, 4, 6, 8, 10], 1, on, [tmp_path]))
    assert ray.init_settings["address"] == "10.0.0.1:6379"
    assert {"num_cpus", "object_store_memory"}.isdisjoint(ray.init_settings)
    assert ray.most == 3  # --jobs holds it back
    assert ray.options_given["num_gpus"] == 0.25


def test_no_work_no_ray(ray: MadeUp, tmp_path: Path) -> None:
    with Cluster() as on:
        assert list(spread(halved, [], 1, on, [tmp_path])) == []
    assert ray.init_settings == {}
    assert ray.downs == 0


def test_an_error_of_a_task_ends_the_whole_as_it_is(ray: MadeUp, tmp_path: Path) -> None:
    with Cluster(jobs=2) as on, pytest.raises(UserError, match=r"^5 is odd$"):
        list(spread(halved, [2, 4, 6, 5], 1, on, [tmp_path]))
    assert ray.cancelled == [2, 4, 6]
    assert ray.begun == [5]
    assert not (tmp_path / MARK).exists()


def test_stopping_gives_up_what_is_under_way(ray: MadeUp, tmp_path: Path) -> None:
    with Cluster(jobs=1) as on:
        left = spread(halved, [2, 4, 6], 1, on, [tmp_path])
        next(left)
        left.close()  # type: ignore[attr-defined]
    assert ray.cancelled == [2, 4]


def test_a_worker_lost_for_good_is_one_line(ray: MadeUp, tmp_path: Path) -> None:
    ray.lose = 4
    with Cluster() as on, pytest.raises(UserError, match=r"lost its worker 6 times.*goes on"):
        list(spread(halved, [2, 4], 1, on, [tmp_path]))


def test_what_cannot_be_joined_is_one_line(ray: MadeUp, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cluster at nowhere: no such cluster; does it run"):
        list(spread(halved, [2], 1, Cluster("nowhere"), [tmp_path]))
    with Cluster(gpus=0.5) as on, pytest.raises(UserError, match="the cluster has no GPU"):
        list(spread(halved, [2], 1, on, [tmp_path]))
    assert ray.downs == 1
    for gpus in (-1.0, 1.5):
        with pytest.raises(UserError, match="--gpus-per-task must be"):
            Cluster(gpus=gpus)


def test_without_the_package_a_node_says_so(ray: MadeUp, tmp_path: Path) -> None:
    def fails(ref: Any) -> Any:
        raise TaskError(RuntimeError("x"), "The remote function failed to import on the worker.")

    ray.get = fails  # type: ignore[method-assign]
    with Cluster() as on, pytest.raises(UserError, match="install the same version on every node"):
        list(spread(halved, [2], 1, on, [tmp_path]))


def test_without_ray_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def missing(name: str, *rest: Any) -> Any:
        if name == "ray":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UserError, match=r"pip install 'microexpr\[cluster\]'"):
        Cluster()


def test_no_cluster_is_this_machine(tmp_path: Path) -> None:
    assert list(spread(halved, [2, 4], 1, None, [tmp_path])) == [(2, 1.0), (4, 2.0)]


def test_a_node_looks_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 0.0)
    monkeypatch.chdir(tmp_path)
    here, data = tmp_path / "here", tmp_path / "data"
    here.mkdir()
    place = cluster._mark([here / "out", data])
    assert place.mark.parent == here / "out"
    with pytest.raises(UserError, match=r"node .* does not see .*/data: .* folders that all nodes"):
        look_around(place)
    data.mkdir()
    look_around(replace(place, here=here))
    assert Path.cwd() == here
    with pytest.raises(UserError, match=r"has microexpr .*, the command 0\.0"):
        look_around(replace(place, version="0.0"))
    for other in (replace(place, says="of another folder of that name"), elsewhere(place)):
        with pytest.raises(UserError, match="does not see"):
            look_around(other)


def elsewhere(place: Place) -> Place:
    return replace(place, mark=place.mark.parent / "not" / MARK)


def test_what_appears_late_is_waited_for(tmp_path: Path) -> None:
    late = tmp_path / "late"
    threading.Thread(target=lambda: (time.sleep(0.3), late.touch())).start()
    wait_for([late], 30)
    with pytest.raises(UserError, match="written by another node"):
        wait_for([tmp_path / "never"], 0.0)


def test_help_needs_no_ray() -> None:
    code = "import sys, microexpr.cli, microexpr.cluster; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
