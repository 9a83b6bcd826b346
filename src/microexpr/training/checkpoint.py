"""One safetensors file: weights, model name, settings, input and labels. Nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from microexpr.errors import UserError
from microexpr.files import replacing
from microexpr.inputs import Input
from microexpr.models import create_model
from microexpr.models.base import Adaptive, Classifier, input_shape

PICKLES = frozenset({".pth", ".pt", ".bin", ".pkl", ".pickle", ".ckpt", ".joblib"})
_PICKLED = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # how they begin
_FORMAT = "microexpr-1"
_KINDS = {"model": str, "settings": dict, "input": dict, "labels": list}
_KEYS = {"format", *_KINDS, "temperature", "sha256"}  # no others: one may be damaged


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
        checkpoint: The model's settings, `eats`, temperature and weights are written with it.

    Raises:
        UserError: The model was made by `Classifier.deploy`.
    """
    model = checkpoint.model
    if model.deployed:
        raise UserError("a deployed model is not saved: save the model it was made of")
    about: dict[str, Any] = {
        "format": _FORMAT,
        "model": checkpoint.name,
        "settings": model.settings,
        "input": asdict(model.eats),
        "labels": checkpoint.labels,
    }
    if model.temperature != 1:
        about["temperature"] = model.temperature
    weights = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
    about["sha256"] = _digest(json.dumps(about, sort_keys=True), weights)
    text = json.dumps(about, sort_keys=True)
    with replacing(path) as unfinished:  # one entry: several would come in any order
        unfinished.touch()
        usual = unfinished.stat().st_mode
        save_file(weights, unfinished, metadata={"microexpr": text})
        unfinished.chmod(usual)  # safetensors makes files that nobody else can read


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint.

    Raises:
        UserError: No such file, a pickle, not a checkpoint of ours, damaged, or weights, settings,
            input and labels that do not fit each other.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}")
    refuse_pickle(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            about = _about(path, metadata)
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged or no safetensors file: {error}") from error
    saved = about.pop("sha256", None)  # the first files had none
    if saved not in (None, _digest(json.dumps(about, sort_keys=True), weights)):
        raise UserError(f"{path} is damaged: it does not hold what was saved (its SHA-256 differs)")
    try:
        model = _model(about, weights)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # settings out of a file can break a constructor in any way
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        why = [line for line in lines if not line.startswith("Error(s) in loading")]
        told = why[0] if why else type(error).__name__
        raise UserError(f"{path} does not fit the model {about['model']}: {told}") from error
    return Checkpoint(model, about["model"], tuple(about["labels"]))


def refuse_pickle(path: Path) -> None:
    """Refuses a file that would have to be unpickled, by its name or its first bytes.

    Raises:
        UserError: It is one; the message says why it is not read, and what to do.
    """
    with path.open("rb") as file:
        begins = file.read(4)
    if path.suffix.lower() in PICKLES or begins.startswith(_PICKLED):
        raise UserError(
            f"{path} is a pickle and is not read: unpickling runs whatever code the file brings; "
            "ask for the .safetensors file, or make one with `microexpr train`"
        )


def _about(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What the file says about its weights: all keys there, each of its kind."""
    try:
        about: Any = json.loads(metadata.get("microexpr", "{}"))
    except (ValueError, RecursionError):
        about = {}
    if not isinstance(about, dict) or about.get("format") != _FORMAT:
        raise UserError(f"{path} is no checkpoint of microexpr: train one with `microexpr train`")
    wrong = [key for key, kind in _KINDS.items() if not isinstance(about.get(key), kind)]
    wrong += sorted((set(metadata) - {"microexpr"}) | (set(about) - _KEYS))
    if wrong:
        raise UserError(f"{path} is damaged: '{wrong[0]}' in its metadata is not what it should be")
    labels = about["labels"]
    if not all(isinstance(label, str) and label for label in labels):
        raise UserError(f"{path} is damaged: its labels are no names")
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise UserError(f"{path} needs two labels or more, each once, but has {labels}")
    temperature = about.get("temperature", 1.0)
    if not (isinstance(temperature, float) and 0 < temperature < float("inf")):
        raise UserError(f"{path} is damaged: a temperature must be above 0")
    return about


def _model(about: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Classifier:
    """The model, after a trial of shapes alone: what a damaged file asks for may be enormous.

    Raises:
        UserError: Unknown model, setting or input, or labels that are not as many as the outputs.
        Exception: Of any kind, where the parts do not fit each other.
    """
    with torch.device("meta"):
        trial = _filled(about, {name: value.to("meta") for name, value in weights.items()})
    model = _filled(about, weights)
    if isinstance(model, Adaptive):
        model.choose(model.chosen)  # refuses what is out of range
    shape = (1, *input_shape(model.eats))
    try:
        _, probabilities = trial.predict(torch.zeros(shape, device="meta"))
    except RuntimeError as error:
        if "meta tensor" not in str(error):
            raise
        _, probabilities = model.predict(torch.zeros(shape))  # it looks at values
    if probabilities.shape != (1, len(about["labels"])):
        raise UserError(f"{len(about['labels'])} labels for {probabilities.shape[1]} outputs")
    return model


def _filled(about: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Classifier:
    model = create_model(about["model"], classes=len(about["labels"]), **about["settings"])
    built, model.eats = model.eats, Input(**about["input"])
    for what, needs, has in (
        ("planes", len(built.channels), len(model.eats.channels)),
        ("frames", built.frames, model.eats.frames),
    ):
        if needs != has:
            raise UserError(f"{about['model']} with these settings eats {needs} {what}, not {has}")
    model.temperature = about.get("temperature", 1.0)
    model.load_state_dict(weights)
    return model.eval()


def _digest(about: str, weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over the description and, by name, each tensor's type, shape and bytes."""
    found = sha256(about.encode())
    for name, value in sorted(weights.items()):
        found.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
