"""Fixtures that several test files share."""

from __future__ import annotations

from pathlib import Path

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
