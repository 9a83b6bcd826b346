"""Facial micro-expression recognition with an evaluation that cannot leak."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from microexpr.predictor import Predictor

__version__ = "0.1.0"


def load(
    name: str | Path | None = None,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Predictor:
    """A model, ready to read clips and videos.

    Args:
        name: A checkpoint of ``microexpr train``, a folder of `Predictor.save_pretrained`, or
            ``owner/name`` on the Hugging Face hub, which is asked only where nothing here has that
            name. None: the default model, which is in the package.
        revision: Of a model of the hub: branch, tag or commit.
        local_files_only: Never ask the hub, take what was fetched before.
        token: For a private model of the hub; None: that of ``hf auth login``.

    Raises:
        UserError: Nothing of that name, a pickle, or a damaged model.

    >>> load().labels
    ('negative', 'positive', 'surprise')
    """
    from microexpr.predictor import Predictor  # torch: not before it is needed

    return Predictor.from_pretrained(
        name, revision=revision, local_files_only=local_files_only, token=token
    )
