"""One file a data set; the folder is the registry."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
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


def every_setting(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a data set with its own defaults for those that are not given.

    >>> every_setting("casme2", {"coding": "2019"})["pictures"]
    'raw'

    Raises:
        UserError: Unknown name.
    """
    parameters = inspect.signature(dataset_class(name)).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {key: settings.get(key, default) for key, default in defaults.items() if key != "root"}
