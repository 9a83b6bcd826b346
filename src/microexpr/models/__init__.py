"""One paper a file; the folder is the registry."""

from __future__ import annotations

from typing import Any

from microexpr import registry
from microexpr.errors import UserError
from microexpr.models.base import Classifier


def model_names() -> list[str]:
    """Every model, in alphabetical order."""
    return registry.names(__name__)


def model_class(name: str) -> type[Classifier]:
    """The class of a model: paper, input, smallest settings.

    Raises:
        UserError: Unknown name; the message names the nearest.
    """
    return registry.member(__name__, name, Classifier)  # type: ignore[type-abstract]


def create_model(name: str, /, classes: int, **settings: Any) -> Classifier:
    """Builds a model with random weights.

    Args:
        name: One of `model_names`.
        classes: Number of classes, at least 2.
        settings: What its constructor takes besides.

    Raises:
        UserError: Unknown model or setting, or a value the model refuses.
    """
    cls = model_class(name)
    if classes < 2:
        raise UserError(f"a classifier needs at least 2 classes, got {classes}")
    registry.check_settings(f"model '{name}'", cls, settings, {"classes"})
    model = cls(classes=classes, **settings)
    model.classes = classes
    model.settings = dict(settings)
    return model
