"""Reading weights that others published, strictly: every key and shape must fit."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from microexpr.errors import UserError


def read_state_dict(source: str | Path | Mapping[str, Any]) -> dict[str, Tensor]:
    """A state dict from a ``.pth`` file, or as given.

    Nothing is unpickled but tensors and plain containers (``weights_only=True``). A dict that
    holds the weights under ``state_dict`` or ``model`` is opened.

    Raises:
        UserError: No such file, not a file of weights, or no tensors in it.
    """
    loaded: Any = source if isinstance(source, Mapping) else _read(Path(source))
    for key in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not loaded:
        raise UserError(f"{_name(source)} holds no state dict")
    for key, value in loaded.items():
        if not isinstance(value, Tensor):
            raise UserError(f"{_name(source)} is no state dict: '{key}' is {type(value).__name__}")
    return dict(loaded)


def load_strict(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Copies a state dict into a module; all keys and shapes must fit, or nothing is copied.

    Args:
        module: Takes the weights.
        state: Of `read_state_dict`.
        what: For the message: "MambaVision-B with 1000 classes".

    Raises:
        UserError: Missing or unknown keys, or other shapes; the message names the first of each.
    """
    own = module.state_dict()
    missing = [key for key in own if key not in state]
    unknown = [key for key in state if key not in own]
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    faults = {"missing": missing, "unknown": unknown, "of another shape": shapes}
    found = [f"{len(v)} {kind} (first: {v[0]})" for kind, v in faults.items() if v]
    if found:
        raise UserError(f"these are not the weights of {what}: {'; '.join(found)}")
    module.load_state_dict(dict(state))


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"no file of weights at {path}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        line = str(error).strip().splitlines()
        raise UserError(f"{path} is no file of weights: {line[0] if line else error!r}") from error


def _name(source: str | Path | Mapping[str, Any]) -> str:
    return "the given dict" if isinstance(source, Mapping) else str(source)
