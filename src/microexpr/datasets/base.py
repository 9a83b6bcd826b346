"""What every data set offers: its clips, its videos and, where it ships them, its flow fields."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from microexpr.clip import Clip, Video
from microexpr.errors import UserError
from microexpr.inputs import Input


class Dataset(ABC):
    """A data set as its owners ship it. Subclasses are final, one file each.

    Class attributes:
        title: Full name and size, one line.
        paper: Authors, venue, year.
        access: How a researcher obtains it, one line.
        ships: The `Input` in which the set ships flow fields; None where it ships frames.

    Args:
        root: Folder of the data set.
    """

    title: ClassVar[str]
    paper: ClassVar[str]
    access: ClassVar[str]
    ships: ClassVar[Input | None] = None

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    @abstractmethod
    def clips(self) -> list[Clip]:
        """Every annotated clip, in the set's own order."""

    def videos(self) -> list[Video]:
        """Every recording, those without an event too; empty where the set holds cut clips only."""
        return []

    def read(self, clip: Clip, wants: Input) -> NDArray[np.float32]:
        """The flow field of one of this set's clips, encoded as `wants`.

        Returns:
            Float32 ``(channels, size, size)``.

        Raises:
            UserError: The set ships frames, not flow; or `wants` cannot be had from what it ships.
        """
        raise UserError(
            f"{self.title} ships frames: run `microexpr prepare` on it first (wanted {clip.id})"
        )
