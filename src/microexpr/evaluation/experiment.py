"""An experiment is a TOML file read into frozen values; an unknown key is an error.

The tables of the file:

    [data]      dataset, labels, settings = {...}, input = {...}; [data.others.NAME] likewise
    [protocol]  name, ...settings
    [model]     name, ...settings
    [recipe]    defaults of every phase, precision, devices; [[recipe.phases]]
    [run]       seeds, selections
    [grid]      "model.orders" = [[...], [...]]: every combination is an arm
    [published] figures of a paper to set beside the arms (`microexpr.evaluation.ablation`)
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from microexpr.errors import UserError, suggest
from microexpr.evaluation.predictions import SELECTIONS
from microexpr.training.recipe import Phase, Recipe

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OtherData:
    """A further data set that phases of the recipe train on.

    Attributes:
        dataset: Its name in the registry.
        settings: What its constructor takes.
        folder: Its folder below the data folder.
    """

    dataset: str
    settings: dict[str, Any] = field(default_factory=dict)
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Data:
    """The clips that are tested on, and those around them.

    Attributes:
        dataset: Name in the registry.
        labels: Name of the label scheme.
        settings: What the data set's constructor takes.
        folder: Its folder below the data folder; the data folder itself if empty.
        input: Fields of the model's `Input` to replace.
        others: Further data sets by the name that phases use.
    """

    dataset: str
    labels: str
    settings: dict[str, Any] = field(default_factory=dict)
    folder: str = ""
    input: dict[str, Any] = field(default_factory=dict)
    others: dict[str, OtherData] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A member of a registry and its settings: a protocol, a model."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """How often, and which columns.

    Attributes:
        seeds: One training of every fold for each.
        selections: ``last`` epoch; ``inner`` validation; ``oracle``: leaky, for comparison only.
    """

    seeds: tuple[int, ...] = (0,)
    selections: tuple[str, ...] = ("last",)

    def __post_init__(self) -> None:
        for name in self.selections:
            if name not in SELECTIONS:
                raise UserError(f"unknown selection '{name}': {suggest(name, SELECTIONS)}")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise UserError("[run] seeds must name at least one seed, each once")
        if "last" not in self.selections:
            raise UserError("[run] selections must include 'last', the headline")


@dataclass(frozen=True, slots=True)
class Experiment:
    """Everything that decides the predictions."""

    data: Data
    protocol: Chosen
    model: Chosen
    recipe: Recipe = field(default_factory=Recipe)
    run: Run = field(default_factory=Run)


def read_experiment(path: Path) -> dict[str, Experiment]:
    """Reads a TOML file.

    Returns:
        The arms by name; one arm with an empty name where the file has no grid.

    Raises:
        UserError: No such file, no TOML, an unknown key (with the nearest known one), a wrong type.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the experiment {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is no valid TOML: {error}") from error
    grid = table.pop("grid", {})
    table.pop("published", None)  # decides no prediction: see `microexpr.evaluation.ablation`
    try:
        return {name: parse(arm) for name, arm in _arms(table, grid).items()}
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def parse(table: Mapping[str, Any]) -> Experiment:
    """An experiment from the nested dictionaries of a TOML file (or of `to_table`)."""
    parts = copy.deepcopy(dict(table))
    for section in ("protocol", "model"):
        if isinstance(parts.get(section), dict):
            parts[section] = _chosen(section, parts[section])
    if "recipe" in parts:
        parts["recipe"] = _recipe(parts["recipe"])
    return build(Experiment, parts, "")


def to_table(experiment: Experiment) -> dict[str, Any]:
    """The nested dictionaries that `parse` reads back, every default written out."""
    table = dataclasses.asdict(experiment)
    for section in ("protocol", "model"):
        chosen = table[section]
        table[section] = {"name": chosen["name"], **chosen["settings"]}
    plain: dict[str, Any] = _plain(table)
    return plain


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """The first field in which two tables differ, in words; None if they are equal.

    A field that one of them lacks has its default: it may have been written before there was one.

    >>> difference({"a": {"b": 1}}, {"a": {"b": 2}})
    'a.b is 1 there and 2 here'
    """
    there, here = _flat(_complete(old)), _flat(_complete(new))
    for key in sorted(there.keys() | here.keys()):
        if there.get(key) != here.get(key):
            return f"{key} is {there.get(key, 'absent')} there and {here.get(key, 'absent')} here"
    return None


def _complete(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """The table with every default written out; as it is where it is no experiment of ours."""
    try:
        return to_table(parse(table))
    except UserError:
        return table


def _chosen(section: str, table: dict[str, Any]) -> dict[str, Any]:
    name = table.pop("name", None)
    if not isinstance(name, str):
        raise UserError(f"[{section}] needs a name")
    return {"name": name, "settings": table}


def _recipe(table: Any) -> dict[str, Any]:
    """Spreads the recipe's own keys, which are defaults, over its phases."""
    if not isinstance(table, dict):
        raise UserError("[recipe] must be a table")
    machine = {key: table.pop(key) for key in ("precision", "devices") if key in table}
    phases = table.pop("phases", [{}])
    if not isinstance(phases, list) or not all(isinstance(phase, dict) for phase in phases):
        raise UserError("phases must be written as [[recipe.phases]]")
    return {"phases": [{**table, **phase} for phase in phases], **machine}


def _arms(table: dict[str, Any], grid: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(grid, dict) or not all(isinstance(v, list) and v for v in grid.values()):
        raise UserError('[grid] must be of the form "model.setting" = [value, value]')
    arms = {}
    for values in itertools.product(*grid.values()):
        arm = copy.deepcopy(table)
        for key, value in zip(grid, values, strict=True):
            *parents, leaf = key.split(".")
            place = arm
            for parent in parents:
                place = place.setdefault(parent, {})
            place[leaf] = value
        name = ",".join(
            f"{key.rsplit('.', 1)[-1]}={_slug(value)}"
            for key, value in zip(grid, values, strict=True)
        )
        arms[name] = arm
    return arms


def _slug(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(_slug(part) for part in value)
    return re.sub(
        r"[^A-Za-z0-9.+_-]", "-", str(value).lower() if value in (True, False) else str(value)
    )


def build(cls: type[T], table: Any, where: str) -> T:
    """Builds a frozen value from a table of a TOML file; an unknown key is an error.

    Args:
        cls: A dataclass.
        table: Its fields.
        where: The table's dotted name, for messages.

    Raises:
        UserError: An unknown or missing key, or a value of another type.
    """
    if not isinstance(table, dict):
        raise UserError(f"[{where}] must be a table")
    hints = get_type_hints(cls)
    for key in table:
        if key not in hints:
            dotted = f"{where}.{key}" if where else key
            raise UserError(f"unknown key '{dotted}': {suggest(key, hints)}")
    values = {
        key: _convert(hints[key], value, f"{where}.{key}" if where else key)
        for key, value in table.items()
    }
    missing = [
        f.name
        for f in dataclasses.fields(cls)  # type: ignore[arg-type]
        if f.name not in values
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise UserError(f"missing key '{where + '.' if where else ''}{missing[0]}'")
    return cls(**values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    """A TOML value as the field's type, or an error that names the field."""
    origin = get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)  # type: ignore[arg-type]
    if origin in (Union, UnionType):
        return _convert(get_args(hint)[0], value, where)
    if origin is tuple and isinstance(value, list | tuple):
        part = get_args(hint)[0]
        return tuple(_convert(part, v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict and isinstance(value, dict):
        part = get_args(hint)[1]
        if part is Any:
            return dict(value)
        return {key: _convert(part, v, f"{where}.{key}") for key, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wanted = origin or hint
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise UserError(f"{where} must be a {getattr(wanted, '__name__', wanted)}, got {value!r}")
    return value


def _plain(value: Any) -> Any:
    """Tuples as lists, so that what is written equals what is read."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        parts = value.items()
    elif isinstance(value, list) and any(isinstance(part, dict) for part in value):
        parts = ((str(i), part) for i, part in enumerate(value))  # type: ignore[assignment]
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, part in parts:
        flat |= _flat(part, f"{prefix}.{key}" if prefix else str(key))
    return flat


__all__ = [
    "SELECTIONS",
    "Chosen",
    "Data",
    "Experiment",
    "OtherData",
    "Phase",
    "Recipe",
    "Run",
    "build",
    "difference",
    "parse",
    "read_experiment",
    "to_table",
]
