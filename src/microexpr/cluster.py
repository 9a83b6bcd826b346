"""Work spread over the machines of a ray cluster; what tasks write is what they write here.

Tasks travel as paths: every machine must see the folders of data and results under the same name.
A task whose worker is lost is done again, elsewhere. That does no harm: what tasks write is renamed
into place, whole, and the same task writes the same bytes.
"""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar

import microexpr
from microexpr import jobs as processes
from microexpr.errors import UserError

Task = TypeVar("Task")
Result = TypeVar("Result")

RETRIES = 5  # times a task is done again whose worker was lost
PATIENCE = 10.0  # seconds until a file written elsewhere must be seen; NFS shows it with a delay
MARK = ".cluster"
_STORE = 100 * 2**20  # bytes for objects of a local ray: tasks and results are paths and numbers
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}
_TOKENS = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}  # by which ray knows its own
_LONE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # ray's word for: do not listen on the network


@dataclass(frozen=True, slots=True)
class Place:
    """What a machine must see to take part.

    Attributes:
        here: Working folder of the command; relative paths in tasks start there.
        mark: A file in the folder of the results.
        says: What it says, new for each command: a folder of the same name is not enough.
        reads: Folders that tasks read.
        version: Of this package.
    """

    here: Path
    mark: Path
    says: str
    reads: tuple[Path, ...]
    version: str


class Cluster:
    """A ray cluster, connected to when the first work comes and left by `close` or ``with``.

    Args:
        address: Of a cluster that runs (``auto``: the one this machine belongs to); None: one of
            this machine alone, which ends with the command and listens on 127.0.0.1 only.
        jobs: Most tasks at a time; None: as many as there are cores.
        gpus: Share of a GPU that a task takes; 0.25 puts four tasks on each, 0 leaves them out.

    Raises:
        UserError: ray is not installed, or `gpus` is negative.
    """

    def __init__(
        self, address: str | None = None, jobs: int | None = None, gpus: float = 0.0
    ) -> None:
        if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
            raise UserError(f"--gpus-per-task must be a share up to 1, or whole GPUs, got {gpus:g}")
        self.address, self.jobs, self.gpus = address, jobs, gpus
        self._ray: Any = None
        self._folder: Path | None = None
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if address is None:
            os.environ[_LONE] = "0"  # ray reads it when it is imported
        try:
            importlib.import_module("ray")
        except ImportError as error:
            raise UserError("--engine ray needs ray: pip install 'microexpr[cluster]'") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the cluster; one that was started here ends, and its logs go."""
        if self._ray is not None:
            self._ray.shutdown()
            self._ray = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    @property
    def cores(self) -> int:
        """Cores of all machines that take part now; at least 1."""
        return max(1, int(self._connected().cluster_resources().get("CPU", 0)))

    def spread(
        self, work: Callable[[Task], Result], tasks: Sequence[Task], folders: Sequence[Path]
    ) -> Iterator[tuple[Task, Result]]:
        """Does every task on some machine, and yields as they end.

        An exception in a task ends the whole with that exception; tasks under way are given up.

        Args:
            work: A function at the top level of a module that every machine has.
            tasks: Its arguments, one each.
            folders: That of the results, which is made if need be, and those that are read.

        Raises:
            UserError: No cluster at the address, no GPU where tasks ask for one, a machine that
                does not see a folder or has another version of this package, or a task that lost
                its worker again and again.
        """
        if not tasks:
            return
        ray = self._connected()
        place = _mark(folders)
        remote = ray.remote(carry_out).options(
            num_cpus=1, num_gpus=self.gpus, max_retries=RETRIES, scheduling_strategy="SPREAD"
        )
        left: dict[Any, Task] = {}
        waiting = iter(tasks)
        try:
            while True:
                for task in islice(waiting, max(0, self._room() - len(left))):
                    left[remote.remote(work, task, place)] = task
                if not left:
                    return
                for ref in ray.wait(list(left), num_returns=1)[0]:
                    task = left.pop(ref)
                    yield task, _result(ray, ref)
        finally:
            for ref in left if self._ray is not None else ():
                ray.cancel(ref, force=True)
            place.mark.unlink(missing_ok=True)

    def _room(self) -> int:
        """How many tasks are handed over at a time: a second one waits for each core."""
        return self.jobs if self.jobs and self.address else 2 * self.cores

    def _connected(self) -> Any:
        """The module ray, after connecting once."""
        if self._ray is not None:
            return self._ray
        ray: Any = importlib.import_module("ray")
        settings: dict[str, Any] = {"address": self.address}
        if self.address is None:
            if not _TOKENS & set(os.environ):  # else ray writes one into the home folder
                os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
            root = "/tmp" if os.name == "posix" else None  # sockets bear no long path
            self._folder = Path(tempfile.mkdtemp(prefix="microexpr-ray-", dir=root))
            settings = {
                "address": "local",
                "num_cpus": processes.check_jobs(self.jobs),
                "object_store_memory": _STORE,
                "include_dashboard": False,
                "_system_config": {"worker_niceness": 0},  # else they yield to all else
                "_temp_dir": str(self._folder),
            }
        try:
            ray.init(
                **settings,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": _ENVIRONMENT},
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            why = " ".join(str(error).split())
            if self.address is None:
                raise UserError(f"cannot start ray here: {why}") from error
            raise UserError(
                f"cannot join the cluster at {self.address}: {why}; does it run, and if it wants a "
                "token, are RAY_AUTH_MODE and RAY_AUTH_TOKEN set here too?"
            ) from error
        self._ray = ray
        if self.gpus and ray.cluster_resources().get("GPU", 0) < self.gpus:
            raise UserError(
                f"--gpus-per-task {self.gpus:g}, but the cluster has no GPU; leave the option out, "
                "or start a node that has one"
            )
        return ray


def spread(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    jobs: int,
    on: Cluster | None,
    folders: Sequence[Path],
) -> Iterator[tuple[Task, Result]]:
    """Does every task and yields as they end: on a cluster, or in processes of this machine.

    Args:
        work: A function at the top level of a module.
        tasks: Its arguments, one each.
        jobs: Processes, where there is no cluster.
        on: The cluster; None: this machine.
        folders: That of the results first, then those that tasks read.
    """
    if on is None:
        return processes.spread(work, tasks, jobs)
    return on.spread(work, tasks, folders)


def carry_out(work: Callable[[Task], Result], task: Task, place: Place) -> Result:
    """One task on one machine. For the workers of a cluster.

    Raises:
        UserError: The machine cannot take part.
    """
    look_around(place)
    for name, function in (("torch", "set_num_threads"), ("cv2", "setNumThreads")):
        if name in sys.modules:
            getattr(sys.modules[name], function)(1)
    return work(task)


def look_around(place: Place) -> None:
    """Goes to the working folder of the command, where there is one, and checks what is seen here.

    Raises:
        UserError: Another version of this package, or a folder that is not shared.
    """
    node = socket.gethostname()
    if microexpr.__version__ != place.version:
        raise UserError(
            f"node {node} has microexpr {microexpr.__version__}, the command {place.version}: "
            "install the same version on every node"
        )
    if place.here.is_dir():
        os.chdir(place.here)
    missing = [folder for folder in place.reads if not folder.exists()]
    if not _within(PATIENCE, lambda: _reads(place.mark) == place.says):
        missing.insert(0, place.mark.parent)
    if missing:
        raise UserError(
            f"node {node} does not see {missing[0]}: data and results must lie in folders that all "
            "nodes share under the same path (NFS, Lustre, a ReadWriteMany volume)"
        )


def wait_for(paths: Sequence[Path], patience: float = 12 * PATIENCE) -> None:
    """Waits until files that other machines wrote are seen here.

    Raises:
        UserError: One never comes.
    """
    for path in paths:
        if not _within(patience, path.exists, path.parent):
            raise UserError(
                f"{path} was written by another node but is not seen here: is its folder shared?"
            )


def _within(seconds: float, seen: Callable[[], bool], folder: Path | None = None) -> bool:
    """Whether something is seen in time; listing a folder makes NFS ask its server again."""
    end = time.monotonic() + seconds
    while not seen():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
        if folder is not None and folder.is_dir():
            list(folder.iterdir())
    return True


def _reads(path: Path) -> str:
    try:
        list(path.parent.iterdir())
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _mark(folders: Sequence[Path]) -> Place:
    """Leaves the mark in the folder of the results, by which other machines know it."""
    out, *reads = (folder.absolute() for folder in folders)
    out.mkdir(parents=True, exist_ok=True)
    place = Place(Path.cwd(), out / MARK, uuid.uuid4().hex, tuple(reads), microexpr.__version__)
    place.mark.write_text(place.says, encoding="utf-8")
    return place


def _result(ray: Any, ref: Any) -> Any:
    """What a task returned, or its exception as it was raised there."""
    kinds = ("WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "ObjectLostError")
    lost = tuple(getattr(ray.exceptions, kind) for kind in kinds)
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        if "failed to import on the worker" in str(error):
            raise UserError(
                "a node of the cluster cannot import microexpr or what it needs: install the same "
                "version on every node"
            ) from error
        if isinstance(error.cause, Exception):
            raise error.cause from error
        raise
    except lost as error:
        raise UserError(
            f"a task lost its worker {RETRIES + 1} times ({type(error).__name__}): is memory too "
            "small? The same command goes on from here"
        ) from error
