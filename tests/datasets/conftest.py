"""Where the real label files are."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def annotations_root(shared_data: Path) -> Path:
    """Folder of the real label files."""
    return shared_data / "annotations"
