"""A folder is a registry: each module in it holds exactly one member, found by file name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from microexpr.errors import UserError, suggest

T = TypeVar("T")


def names(package: str) -> list[str]:
    """The members of a package, in alphabetical order, without importing any of them.

    Args:
        package: Dotted name, for example ``"microexpr.models"``.
    """
    path = importlib.import_module(package).__path__
    return sorted(m.name for m in pkgutil.iter_modules(path) if m.name != "base")


def member(package: str, name: str, base: type[T]) -> type[T]:
    """The one final subclass of `base` that the module ``package.name`` defines.

    Raises:
        UserError: No such module; the message names the nearest one.
        TypeError: The module defines none, or several (a mistake of ours, not the user's).
    """
    known = names(package)
    if name not in known:
        kind = package.rsplit(".", 1)[-1].rstrip("s")
        raise UserError(f"unknown {kind} '{name}': {suggest(name, known)}")
    module = importlib.import_module(f"{package}.{name}")
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, base)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
        and not value.__name__.startswith("_")
    ]
    if len(found) != 1:
        raise TypeError(f"{module.__name__} must define one {base.__name__}, found {found}")
    return found[0]


def check_settings(what: str, build: Any, settings: dict[str, Any], reserved: set[str]) -> None:
    """Refuses settings that the constructor `build` does not take, naming the nearest.

    Args:
        what: For the message: ``"model 'merba'"``.
        build: The class.
        settings: What the user gave.
        reserved: Parameters that are not settings (``{"self", "classes"}``).

    Raises:
        UserError: An unknown setting.
    """
    known = {
        p for p in inspect.signature(build.__init__).parameters if p not in reserved | {"self"}
    }
    for key in settings:
        if key not in known:
            raise UserError(f"{what} has no setting '{key}': {suggest(key, known)}")


def parse_settings(what: str, words: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Settings written as ``KEY=VALUE``, each as its default is: number, yes or no, list, text.

    >>> parse_settings("a model", ["size=28", "names=u,v"], {"size": 224, "names": ("u",)})
    {'size': 28, 'names': ('u', 'v')}

    Raises:
        UserError: Not of that form, an unknown key, or a value of another kind.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"{what}: expected KEY=VALUE, got '{word}'")
        if key not in defaults:
            raise UserError(f"{what} has no setting '{key}': {suggest(key, defaults)}")
        default = defaults[key]
        if isinstance(default, bool):
            if value not in {"true", "false"}:
                raise UserError(f"{what}: {key} is true or false, not '{value}'")
            found[key] = value == "true"
        elif isinstance(default, int):
            if not re.fullmatch(r"-?[0-9]+", value):
                raise UserError(f"{what}: {key} is a whole number, not '{value}'")
            found[key] = int(value)
        else:
            found[key] = tuple(value.split(",")) if isinstance(default, tuple) else value
    return found
