"""The model that comes with the package, and what is known about it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from microexpr.errors import UserError
from microexpr.training.checkpoint import Checkpoint, load_checkpoint

CONFIDENCE = 0.6  # mean probability below which no emotion is named, where no card says better
WEIGHTS = Path(__file__).resolve().parents[1] / "weights"


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Where a model comes from and how well it reads real clips.

    Attributes:
        name: For the reader.
        trained_on: One sentence; empty where it is not known.
        measured_on: Real clips on which it was measured; empty where it was not.
        uf1: Unweighted F1 there, 0..1; None where it was not measured.
        uar: Unweighted average recall there.
        how: In what way those clips were new to it; it goes on after `measured_on`.
        low: Lower end of the 95 % interval of UF1, persons resampled.
        high: Upper end.
        confidence: Probability below which `microexpr.analysis` names no emotion; of the default
            model chosen on synthetic persons (``benchmarks/default_model.py``).
    """

    name: str
    trained_on: str = ""
    measured_on: str = ""
    uf1: float | None = None
    uar: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float = CONFIDENCE
    how: str = "none of which it had seen"


def load_default() -> Checkpoint:
    """The model that `microexpr analyze` uses when none is given.

    Trained by ``benchmarks/default_model.toml`` on synthetic faces alone.

    Raises:
        UserError: The weights are missing: the package is damaged.
    """
    return load_checkpoint(WEIGHTS / "default.safetensors")


def default_card() -> ModelCard:
    """What is known about the default model, from ``weights/default.json``.

    Raises:
        UserError: The file was written for other weights.
    """
    about: dict[str, Any] = json.loads((WEIGHTS / "default.json").read_text(encoding="utf-8"))
    if about.pop("sha256") != fingerprint(WEIGHTS / "default.safetensors"):
        raise UserError("weights/default.json is about other weights: the package is damaged")
    return ModelCard(**about)


def fingerprint(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return sha256(path.read_bytes()).hexdigest()
