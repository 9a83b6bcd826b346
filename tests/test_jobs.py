from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from microexpr.errors import UserError
from microexpr.jobs import check_jobs, spread

FAULTS = """
import resource
import numpy as np
from microexpr.jobs import keep_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.empty(1 << 26, np.uint8)[::4096] = 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
assert keep_memory()
faults()
print(first, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_kept() -> None:
    """Pages of 64 MB, touched twenty times: cleared anew each time, and then not once more."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    given_back, kept = map(int, done.stdout.split())
    assert kept < given_back / 5


def test_one_job_works_here_and_in_order() -> None:
    seen: list[int] = []

    def work(task: int) -> int:
        seen.append(task)
        return -task

    assert list(spread(work, [3, 1, 2], 1)) == [(3, -3), (1, -1), (2, -2)]
    assert seen == [3, 1, 2]


def test_the_number_of_jobs() -> None:
    assert check_jobs(3) == 3
    assert check_jobs(None) >= 1
    with pytest.raises(UserError, match="--jobs must be at least 1, got 0"):
        check_jobs(0)
