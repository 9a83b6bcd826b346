"""The makers of miniature trees, as a module, for the tests of the data sets."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def trees() -> ModuleType:
    """`trees.py` beside this file."""
    path = Path(__file__).with_name("trees.py")
    spec = importlib.util.spec_from_file_location("microexpr_test_trees", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def annotations_root(shared_data: Path) -> Path:
    """Folder of the real label files."""
    return shared_data / "annotations"
