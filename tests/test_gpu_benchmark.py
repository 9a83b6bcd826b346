"""The GPU's benchmark: what it computes, on a CPU; and what it says where there is no GPU."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "speed" / "gpu.py"


@pytest.fixture(scope="module")
def gpu(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("speed/gpu.py")


def by_host(call: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        call()
    return 1e3 * (time.perf_counter() - start)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_in_one_line(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, SCRIPT], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert ran.stdout == "nothing measured: there is no CUDA device here\n"


def test_its_figures(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the blocked scan in the place of Triton."""
    monkeypatch.setattr(gpu, "SHORTEST", 0.0)
    shapes = {"tiny": (5, 4)}
    found = list(gpu.figures(shapes, 1, torch.float32, "cpu", "blocked", by_host))
    by_name = {figure.what: figure for figure in found}
    assert by_name["tiny: blocked from float64"].value < 1e-6
    forward = by_name["tiny, forward: blocked over floor"]
    assert set(forward.times) == {"blocked", "naive", "per order", "floor"}
    assert forward.value == forward.times["blocked"] / forward.times["floor"]
    assert forward.most == 2.0
    assert by_name["tiny, forward: naive over blocked"].least == 5.0
    assert len(found) == 1 + 1 + 2 * 3


def test_the_rivals_agree(gpu: ModuleType) -> None:
    values, orders = gpu.arguments(5, 4, torch.float32, "cpu")
    one, *others = (
        function(*values) for function in gpu.rivals(values, orders, "blocked").values()
    )
    for other in others:
        torch.testing.assert_close(one, other)


def test_bytes_moved(gpu: ModuleType) -> None:
    values, _ = gpu.arguments(5, 4, torch.bfloat16, "cpu")
    w, k, t, d, n = 5, 4, 49, 4, 8
    parameters = 4 * k * (d * n + 2 * d)
    read = 2 * (2 * w * k * t * d + 2 * w * k * t * n) + parameters
    assert gpu.moved(values, both=False) == read + 2 * w * t * d
    assert gpu.moved(values, both=True) == 3 * read + 2 * 2 * w * t * d
