"""One file a data set; the folder is the registry."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from microexpr import registry
from microexpr.datasets.base import Dataset
from microexpr.errors import UserError


def dataset_names() -> list[str]:
    """Every data set this package reads, in alphabetical order."""
    return registry.names(__name__)


def dataset_class(name: str) -> type[Dataset]:
    """The class of a data set: title, paper, access.

    Raises:
        UserError: Unknown name; the message names the nearest, or those that are called so.
    """
    known = dataset_names()
    meant = [] if name in known else _called(name, known)
    if meant:
        words = " or ".join(f"'{other}' ({_class(other).title.split(':')[0]})" for other in meant)
        raise UserError(f"unknown dataset '{name}': did you mean {words}?")
    return _class(name)


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


def other_pictures(name: str, root: Path, settings: Mapping[str, Any]) -> str:
    """What to set where frames are not found as set, but others are: cropped ones, or raw ones.

    Args:
        name: Of the data set.
        root: Its folder.
        settings: Those with which no frames are found.

    Returns:
        ``"pictures=cropped"``, ``"pictures=raw"``, or nothing.
    """
    now = every_setting(name, settings).get("pictures")
    for value in ("raw", "cropped") if now else ():
        try:
            clips = open_dataset(name, root, **{**settings, "pictures": value}).clips()
        except UserError:
            continue
        if any(clip.source for clip in clips):
            return f"pictures={value}"
    return ""


def _class(name: str) -> type[Dataset]:
    return registry.member(__name__, name, Dataset)  # type: ignore[type-abstract]


def _called(name: str, known: Sequence[str]) -> list[str]:
    """The data sets that people call so: CASME II, CAS(ME)^3, 4DME."""
    if name.lower() in known:
        return [name.lower()]
    titles = {other: (other, _class(other).title.split(":")[0]) for other in known}
    return [other for other in known if _plain(name) in map(_plain, titles[other])]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


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
