"""Work spread over processes, with progress and time left."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import TypeVar

from microexpr.errors import UserError

Task = TypeVar("Task")
Result = TypeVar("Result")
_TRIM, _MMAP_MAX = -1, -4  # of glibc's mallopt: M_TRIM_THRESHOLD, M_MMAP_MAX


def check_jobs(jobs: int | None) -> int:
    """The number of worker processes: as asked, or one a core.

    Raises:
        UserError: Fewer than one.
    """
    if jobs is None:
        return (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )
    if jobs < 1:
        raise UserError(f"--jobs must be at least 1, got {jobs}")
    return jobs


def spread(
    work: Callable[[Task], Result], tasks: Sequence[Task], jobs: int
) -> Iterator[tuple[Task, Result]]:
    """Does every task, in `jobs` processes, and yields as they end.

    With one job the work is done in this process. An exception in a task ends the whole; the tasks
    that are under way are given up, those that ended keep what they wrote.

    Args:
        work: A function at the top level of a module, so that a new process finds it.
        tasks: Its arguments, one each.
        jobs: Processes.
    """
    if jobs == 1 or len(tasks) <= 1:
        for task in tasks:
            yield task, work(task)
        return
    pool = ProcessPoolExecutor(
        min(jobs, len(tasks)),
        multiprocessing.get_context("spawn"),
        initializer=die_with,
        initargs=(os.getpid(),),
    )
    try:
        left: dict[Future[Result], Task] = {}
        waiting = iter(tasks)
        for task in waiting:
            left[pool.submit(work, task)] = task
            if len(left) >= 2 * jobs:
                break
        while left:
            done, _ = wait(left, return_when=FIRST_COMPLETED)
            for future in done:
                task = left.pop(future)
                yield task, future.result()
                more = next(waiting, None)
                if more is not None:
                    left[pool.submit(work, more)] = more
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def keep_memory() -> bool:
    """Makes this process keep the memory it frees, where the C library can be told (glibc).

    A training step takes and frees the same arrays of several megabytes again and again. By default
    each goes back to the system, which clears its pages before it gives them out again; that is a
    fifth to a third of the step of a small net (``benchmarks/speed/folds.py``).

    Returns:
        Whether it was done.
    """
    tell = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if tell is None:
        return False
    return all(tell(what, value) == 1 for what, value in ((_MMAP_MAX, 0), (_TRIM, 2**31 - 1)))


def die_with(parent: int) -> None:
    """Ends this worker when the process that started it is gone, killed perhaps."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.05)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
