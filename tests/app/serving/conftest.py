"""Fixtures for the server's tests."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def asgi() -> ModuleType:
    """The client of `asgi.py`."""
    path = Path(__file__).parent / "asgi.py"
    spec = importlib.util.spec_from_file_location("microexpr_test_asgi", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def obey() -> Iterator[Any]:
    """The work of `obedient.py`, in a module that new processes find too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        yield importlib.import_module("obedient").obey
