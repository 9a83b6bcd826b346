"""One file a data set; the folder is the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from microexpr import registry
from microexpr.datasets.base import Dataset


def dataset_names() -> list[str]:
    """Every data set this package reads, in alphabetical order."""
    return registry.names(__name__)


def dataset_class(name: str) -> type[Dataset]:
    """The class of a data set: title, paper, access.

    Raises:
        UserError: Unknown name; the message names the nearest.
    """
    return registry.member(__name__, name, Dataset)  # type: ignore[type-abstract]


def open_dataset(name: str, root: Path, /, **settings: Any) -> Dataset:
    """Opens a data set.

    Args:
        name: One of `dataset_names`.
        root: Its folder.
        settings: What its constructor takes besides the root.

    Raises:
        UserError: Unknown name or setting, or a folder that does not hold the set.
    """
    cls = dataset_class(name)
    registry.check_settings(f"data set '{name}'", cls, settings, {"root"})
    return cls(root, **settings)
