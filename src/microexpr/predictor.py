"""A trained model in a user's own program: it reads clips and videos, is saved and shared.

It stands above `analysis` and `evaluation`, because it brings both together: the one reads videos,
the other writes the model card.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from microexpr import hub
from microexpr.analysis import Analysis, analyze
from microexpr.errors import UserError
from microexpr.evaluation.modelcard import card_of, document, read_reports
from microexpr.inputs import PICTURES, Input
from microexpr.models.base import check_input
from microexpr.training.default import ModelCard
from microexpr.training.pretrained import Pretrained, load_pretrained, save_folder

BATCH = 256  # clips at a time
ROUNDED = 1e-3  # how far beyond its range rounding may take a value
_RANGES = {"relative": (-1.0, 1.0), "minmax8": (0.0, 255.0)}


@final
class Predictor:
    """A trained model and what is known about it; `microexpr.load` makes one.

    Args:
        pretrained: The model, its classes and its card.

    Attributes:
        model: The network, in eval mode; ``predictor.model.to("cuda")`` moves it.
        card: Where it comes from and how well it does.
    """

    def __init__(self, pretrained: Pretrained) -> None:
        self._pretrained = pretrained
        self.model = pretrained.checkpoint.model
        self.card: ModelCard = pretrained.card

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path | None = None,
        *,
        revision: str | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
    ) -> Predictor:
        """See `microexpr.load`."""
        found = load_pretrained(
            name, revision=revision, local_files_only=local_files_only, token=token
        )
        return cls(found)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return self._pretrained.checkpoint.labels

    @property
    def eats(self) -> Input:
        """What `predict` takes: planes, size, units."""
        return self.model.eats

    @property
    def units(self) -> tuple[str, ...]:
        """Action units that `predict_units` tells; most models have none."""
        return self.model.units

    def predict(self, flow: NDArray[Any] | Tensor) -> tuple[list[str], NDArray[np.float32]]:
        """Reads clips.

        Args:
            flow: ``(b, channels, size, size)`` in the units of `eats` (with several frames
                ``(b, frames, channels, size, size)``), any number type.
                `microexpr.encoding.encode` makes it from flow in pixels.

        Returns:
            The label of each clip by the model's own rule, and the probabilities ``(b, classes)``;
            their rows sum to one.

        Raises:
            UserError: Another shape, values that are no numbers, or outside the range of `eats`.
        """
        x = self._checked(flow)
        if len(x) == 0:
            return [], np.zeros((0, len(self.labels)), np.float32)
        pieces = torch.split(x, BATCH)
        parts = [self.model.predict(piece.to(self._device)) for piece in pieces]
        said = torch.cat([label for label, _ in parts]).tolist()
        probabilities = torch.cat([p for _, p in parts]).float().cpu().numpy()
        return [self.labels[label] for label in said], probabilities

    def predict_units(self, flow: NDArray[Any] | Tensor) -> NDArray[np.float32]:
        """How likely each of `units` is active; ``(b, units)``, no column for a model without.

        Args:
            flow: As `predict` takes it.

        Raises:
            UserError: As `predict`.
        """
        x = self._checked(flow)
        if len(x) == 0:
            return np.zeros((0, len(self.units)), np.float32)
        pieces = torch.split(x, BATCH)
        parts = [self.model.unit_probabilities(piece.to(self._device)) for piece in pieces]
        return np.asarray(torch.cat(parts).cpu().numpy(), np.float32)

    def analyze(self, video: str | Path, **options: Any) -> Analysis:
        """Finds the movements in a video and reads them with this model.

        Args:
            video: A video, an animation, or a folder of frames.
            options: ``face``, ``key_frames``, ``confidence``, ``fps``, ``watch`` of
                `microexpr.analysis.analyze`.

        Raises:
            UserError: As `microexpr.analysis.analyze`.
        """
        return analyze(video, model=self._pretrained, **options)

    def deploy(self) -> Predictor:
        """A faster copy for reading alone (`Classifier.deploy`); it is not saved."""
        folded = replace(self._pretrained.checkpoint, model=self.model.deploy())
        return Predictor(replace(self._pretrained, checkpoint=folded))

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        run: str | Path | Sequence[str | Path] = (),
        license: str | None = None,
    ) -> None:
        """Writes ``model.safetensors``, ``config.json`` and ``README.md``, the model card.

        Args:
            folder: Made if need be.
            run: Folders of ``microexpr run`` that measured this model; the card is written from
                their files, the first of them is the headline. Without any the model keeps the
                card it has.
            license: Of the weights, as the hub spells it (``"mit"``); None: as it is.

        Raises:
            UserError: Runs of another model or other labels, or a deployed model.
        """
        self._save(Path(folder), run, license, Path(folder).resolve().name)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        run: str | Path | Sequence[str | Path] = (),
        license: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        commit_message: str = "Upload a model of microexpr",
        create_pr: bool = False,
    ) -> str:
        """Shares the model: what `save_pretrained` writes, as a commit on the hub.

        Args:
            repo_id: ``owner/name``; made if need be.
            run: See `save_pretrained`.
            license: See `save_pretrained`.
            private: Of a new repository.
            token: With the right to write; None: that of ``hf auth login``.
            revision: Branch; None: ``main``.
            commit_message: One line.
            create_pr: Propose the commit instead of making it.

        Returns:
            The address of the commit.

        Raises:
            UserError: As `save_pretrained`; huggingface_hub is missing, or the hub refuses.
        """
        if not hub.is_hub_id(repo_id):
            raise UserError(f"a model of the hub is named owner/name, got '{repo_id}'")
        with tempfile.TemporaryDirectory() as folder:
            self._save(Path(folder), run, license, repo_id)
            return hub.upload(
                Path(folder),
                repo_id,
                private=private,
                token=token,
                revision=revision,
                message=commit_message,
                create_pr=create_pr,
            )

    def _save(
        self, folder: Path, run: str | Path | Sequence[str | Path], license: str | None, name: str
    ) -> None:
        runs = [run] if isinstance(run, str | Path) else run
        mine = self._pretrained
        reports = read_reports([Path(one) for one in runs], mine.checkpoint)
        card, readme, terms = mine.card, mine.readme, license or mine.license
        if reports:
            card = replace(card_of(reports), confidence=card.confidence)
        if reports or license or not readme:
            readme = document(card, mine.checkpoint, reports, license=terms, source=name)
        save_folder(folder, Pretrained(mine.checkpoint, card, readme, terms))

    @property
    def _device(self) -> torch.device:
        return next((p.device for p in self.model.parameters()), torch.device("cpu"))

    def _checked(self, flow: NDArray[Any] | Tensor) -> Tensor:
        """Float32 planes in the units of `eats`, or an error that says what is wrong."""
        try:
            given = torch.as_tensor(flow if isinstance(flow, Tensor) else np.array(flow))
        except (TypeError, ValueError) as error:
            raise UserError(f"clips must be an array of numbers: {error}") from error
        if given.is_complex():
            raise UserError("clips must be real numbers, got complex ones: stack u and v")
        x = given.detach().to(torch.float32)
        check_input(x, self.eats)
        if not bool(x.isfinite().all()):
            raise UserError("clips must hold finite numbers, found nan or infinity")
        for what, planes, (low, high) in self._ranges():
            values = x[..., planes, :, :]
            if (
                values.numel()
                and not low - ROUNDED <= values.min() <= values.max() <= high + ROUNDED
            ):
                found = f"{values.min():.3g} to {values.max():.3g}"
                raise UserError(
                    f"{what} runs from {low:g} to {high:g} in this model's input, got {found}: "
                    "microexpr.encoding.encode turns flow in pixels into it"
                )
        return x

    def _ranges(self) -> list[tuple[str, list[int], tuple[float, float]]]:
        """Names, places and range of the planes whose range is known."""
        names = self.eats.channels
        flow = [i for i, name in enumerate(names) if name not in PICTURES]
        pictures = [i for i, name in enumerate(names) if name in PICTURES]
        known = _RANGES.get(self.eats.normalisation)
        found = [("the flow", flow, known)] if flow and known else []
        return found + ([("a picture", pictures, (0.0, 255.0))] if pictures else [])
