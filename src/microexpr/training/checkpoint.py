"""One safetensors file: weights, model name, settings, input and labels. Nothing is unpickled."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from microexpr.errors import UserError
from microexpr.files import replacing
from microexpr.inputs import Input
from microexpr.models import create_model
from microexpr.models.base import Classifier

_FORMAT = "microexpr-1"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model and what its outputs mean.

    Attributes:
        model: In eval mode.
        name: Its name in the registry.
        labels: Class names in the order of the outputs.
    """

    model: Classifier
    name: str
    labels: tuple[str, ...]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint under a temporary name and renames it.

    Args:
        path: Ends in ``.safetensors``.
        checkpoint: The model's settings, `eats` and weights are written with it.

    Raises:
        UserError: The model was made by `Classifier.deploy`.
    """
    model = checkpoint.model
    if model.deployed:
        raise UserError("a deployed model is not saved: save the model it was made of")
    about = {
        "format": _FORMAT,
        "model": checkpoint.name,
        "settings": model.settings,
        "input": asdict(model.eats),
        "labels": checkpoint.labels,
    }
    weights = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
    with replacing(path) as unfinished:
        save_file(weights, unfinished, metadata={"microexpr": json.dumps(about, sort_keys=True)})


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint.

    Raises:
        UserError: No such file, not a checkpoint of ours, damaged, or weights that do not fit.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            about = _about(path, file.metadata())
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged or no safetensors file: {error}") from error
    labels = tuple(about["labels"])
    model = create_model(about["model"], classes=len(labels), **about["settings"])
    model.eats = Input(**about["input"])
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise UserError(f"{path} does not fit the model {about['model']}: {first}") from error
    return Checkpoint(model.eval(), about["model"], labels)


def _about(path: Path, metadata: dict[str, str] | None) -> dict[str, Any]:
    text = (metadata or {}).get("microexpr")
    about: dict[str, Any] = json.loads(text) if text else {}
    if about.get("format") != _FORMAT:
        raise UserError(f"{path} is no checkpoint of microexpr: train one with `microexpr train`")
    return about
