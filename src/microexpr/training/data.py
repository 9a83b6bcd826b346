"""What `fit` is given: training clips, their labels, and where to read their flow. Nothing else."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from microexpr.clip import Clip
from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.labels import LabelScheme
from microexpr.lists import unit_numbers


class Source(Protocol):
    """Whatever gives flow fields for clips: a data set that ships flow, or a store."""

    def read_many(self, clips: Sequence[Clip], wants: Input) -> NDArray[np.float32]:
        """Float32 ``(clips, channels, size, size)`` in the order of `clips`."""
        ...


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The clips a model may learn from, and only those.

    Attributes:
        clips: Every one has a label in `scheme`.
        scheme: The classes.
        source: Where their flow is read, when it is needed.
        wants: What the model eats.
    """

    clips: tuple[Clip, ...]
    scheme: LabelScheme
    source: Source
    wants: Input

    @property
    def persons(self) -> frozenset[str]:
        """Whom the clips show."""
        return frozenset(clip.person for clip in self.clips)


def labelled(clips: Sequence[Clip], scheme: LabelScheme) -> tuple[Clip, ...]:
    """The clips that the scheme gives a label, in their order.

    Raises:
        UserError: Not one of them has a label.
    """
    kept = tuple(clip for clip in clips if scheme(clip) is not None)
    if not kept:
        found = ", ".join(sorted({clip.emotion for clip in clips})) or "no clips"
        raise UserError(f"no clip has a label in the scheme {scheme.name} (emotions: {found})")
    return kept


def without(train: TrainingSet, persons: Collection[str]) -> TrainingSet:
    """The same set less everything of these persons."""
    return replace(train, clips=tuple(c for c in train.clips if c.person not in persons))


def tensors(train: TrainingSet) -> tuple[Tensor, Tensor]:
    """Reads the whole set.

    Returns:
        Float32 ``(n, channels, size, size)`` and int64 ``(n,)``.

    Raises:
        UserError: The set is empty.
    """
    if not train.clips:
        raise UserError("there are no training clips: every person is held out")
    x = torch.from_numpy(np.ascontiguousarray(train.source.read_many(train.clips, train.wants)))
    y = torch.tensor([train.scheme.index(clip) for clip in train.clips])
    return x, y


def unit_mass(clips: Sequence[Clip], units: Sequence[str]) -> Tensor:
    """Target mass of action units: whether each was active, on either side of the face.

    Args:
        clips: What was coded stands in `Clip.action_units`.
        units: Their numbers in FACS.

    Returns:
        Float32 ``(n, 2 * units)``: 1 in the first half where a unit was active, 1 in the second
        where it was not. A clip without any code has no mass: it may not have been coded.

    >>> coded = Clip("samm", "006", "a", "happiness", action_units=("L12",))
    >>> unit_mass([coded, Clip("samm", "006", "b", "anger")], ["6", "12"]).tolist()
    [[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    seen = [unit_numbers(clip) for clip in clips]
    active = torch.tensor([[int(u) in numbers for u in units] for numbers in seen]).float()
    coded = torch.tensor([bool(clip.action_units) for clip in clips]).float()[:, None]
    return torch.cat([active, coded - active], dim=1)


class ArrayFile:
    """A `Source` over one ``.npy`` file, mapped into memory so that processes share it.

    Args:
        path: Float32 ``(clips, channels, size, size)``.
        clips: Whose rows these are, in order.
    """

    def __init__(self, path: Path, clips: Sequence[Clip]) -> None:
        self.array: NDArray[np.float32] = np.load(path, mmap_mode="r")
        self.row = {clip.id: i for i, clip in enumerate(clips)}

    def read_many(self, clips: Sequence[Clip], wants: Input) -> NDArray[np.float32]:
        """The rows of these clips; the file was written for this one `Input`."""
        rows: NDArray[np.float32] = self.array[[self.row[clip.id] for clip in clips]]
        return rows
