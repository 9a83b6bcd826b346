"""Fixtures that several test files share."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None)  # a busy machine is no reason to fail
settings.load_profile("patient")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The team's real data beside the checkout; a clone without it skips, saying so."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("real data (../shared/data) is not here")
    return path


@pytest.fixture(scope="session")
def flow442_root(shared_data: Path) -> Path:
    """Folder of the 442 published flow images."""
    return shared_data / "flow442"


BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def _module(path: Path) -> ModuleType:
    """A file that is on no import path, as a module."""
    spec = importlib.util.spec_from_file_location(f"microexpr_test_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def program() -> Callable[[str], ModuleType]:
    """Imports a program of `benchmarks/`, named as there: ``program("speed/gpu.py")``."""
    return lambda name: _module(BENCHMARKS / name)


@pytest.fixture(scope="session")
def trees() -> ModuleType:
    """The makers of miniature data sets, `tests/datasets/trees.py`."""
    return _module(Path(__file__).parent / "datasets" / "trees.py")


@pytest.fixture(scope="session")
def rehearsal() -> ModuleType:
    """The folder in which documents are tried, `tests/rehearsal.py`."""
    return _module(Path(__file__).parent / "rehearsal.py")
