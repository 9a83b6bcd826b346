"""One notion of "which model": the default, a file, a folder, or a model of the hub.

Whatever takes a model (`microexpr.load`, ``analyze --model``, ``export``) asks here.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from microexpr import hub
from microexpr.errors import UserError
from microexpr.files import write_text
from microexpr.training.checkpoint import (
    PICKLES,
    Checkpoint,
    load_checkpoint,
    refuse_pickle,
    save_checkpoint,
)
from microexpr.training.default import ModelCard, default_card, fingerprint, load_default


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A model and what is known about it.

    Attributes:
        checkpoint: The model and its classes.
        card: Where it comes from and how well it does.
        readme: Its model card in full, Markdown; empty where it has none.
        license: Of the weights, as the hub spells it; empty where nobody said.
    """

    checkpoint: Checkpoint
    card: ModelCard
    readme: str = ""
    license: str = ""


def load_pretrained(
    name: str | Path | None = None,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Pretrained:
    """The model that a name means.

    Args:
        name: See `locate`; None: the default model, which is in the package.
        revision: Of a model of the hub: branch, tag or commit.
        local_files_only: Never ask the hub, take what was fetched before.
        token: For a private model of the hub.

    Raises:
        UserError: Nothing of that name, a pickle, or a damaged model.
    """
    if name is None:
        return Pretrained(load_default(), default_card(), license="mit")  # the package's own
    path = locate(name, revision=revision, local_files_only=local_files_only, token=token)
    if path.name == hub.MODEL and (path.parent / hub.CONFIG).is_file():
        path = path.parent
    if not path.is_dir():
        return Pretrained(load_checkpoint(path), ModelCard(name=path.name))
    checkpoint = load_checkpoint(_model_file(path))
    readme = path / hub.CARD
    told = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    card, license = _read_config(path)
    return Pretrained(checkpoint, card, told, license)


def locate(
    name: str | Path,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """The file or folder that a name means.

    Args:
        name: A checkpoint, a folder of `save_folder`, or ``owner/name`` on the hub. The hub is
            asked only for a text of that form that names nothing here; a `Path` is always local.
        revision: Of a model of the hub.
        local_files_only: Never ask the hub.
        token: For a private model of the hub.

    Raises:
        UserError: Nothing here or on the hub has that name.
    """
    path = Path(name)
    if path.exists():
        return path
    if isinstance(name, str) and hub.is_hub_id(name):
        return hub.download(name, revision=revision, local_files_only=local_files_only, token=token)
    told = f"no checkpoint at {path}: give a .safetensors file, a folder with {hub.MODEL}"
    raise UserError(f"{told}, or owner/name of a model on the hub")


def save_folder(folder: Path, pretrained: Pretrained) -> None:
    """Writes ``model.safetensors``, ``config.json`` and ``README.md``, as the hub likes them.

    ``config.json`` repeats what the checkpoint says about itself, for readers of the hub, and holds
    the card; by the checkpoint's SHA-256 a reader knows that the two belong together.

    Raises:
        UserError: The model was made by `Classifier.deploy`.
    """
    checkpoint = pretrained.checkpoint
    save_checkpoint(folder / hub.MODEL, checkpoint)
    about = {
        "library_name": "microexpr",
        "model": checkpoint.name,
        "settings": checkpoint.model.settings,
        "input": asdict(checkpoint.model.eats),
        "labels": checkpoint.labels,
        "license": pretrained.license,
        "card": asdict(pretrained.card),
        "sha256": fingerprint(folder / hub.MODEL),
    }
    write_text(json.dumps(about, indent=1) + "\n", folder / hub.CONFIG)
    write_text(pretrained.readme, folder / hub.CARD)


def _model_file(folder: Path) -> Path:
    """The checkpoint in a folder; where there is only a pickle, the reason why it is not read."""
    path = folder / hub.MODEL
    if not path.is_file():
        for other in sorted(folder.iterdir()):
            if other.is_file() and other.suffix.lower() in PICKLES:
                refuse_pickle(other)
        raise UserError(f"{folder} holds no {hub.MODEL}: it is no folder of `save_pretrained`")
    return path


def _read_config(folder: Path) -> tuple[ModelCard, str]:
    """Card and licence in a folder's ``config.json``; a name alone where there is none.

    Raises:
        UserError: It cannot be read, or is about other weights.
    """
    path = folder / hub.CONFIG
    if not path.is_file():
        return ModelCard(name=folder.name), ""
    try:
        about: Any = json.loads(path.read_text(encoding="utf-8"))
        if about["sha256"] != fingerprint(folder / hub.MODEL):
            raise UserError(f"{path} is about other weights than {hub.MODEL} beside it")
        card, license = ModelCard(**about["card"]), str(about.get("license", ""))
    except UserError:
        raise
    except (OSError, ValueError, RecursionError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged: {type(error).__name__} {error}") from error
    for field in fields(ModelCard):
        value = getattr(card, field.name)
        if field.name == "name" or isinstance(field.default, str):
            right = isinstance(value, str)
        elif value is None:
            right = field.default is None
        else:
            right = type(value) in (int, float) and math.isfinite(value)
        if not right:
            raise UserError(f"{path} is damaged: its card has {field.name} = {value!r}")
    return card, license
