"""What every data set offers: its clips, its videos and, where it ships them, its flow fields."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from microexpr.clip import Clip, Video
from microexpr.errors import UserError, suggest
from microexpr.inputs import Input
from microexpr.layout import numbered_pictures


class Dataset(ABC):
    """A data set as its owners ship it. Subclasses are final, one file each.

    Class attributes:
        title: Full name and size, one line.
        paper: Authors, venue, year.
        access: How a researcher obtains it, one line.
        members: Of a composite, the names of the sets it is made of.
        unverified: Written from published descriptions; the real files were never at hand.
        ships: The `Input` in which the set ships flow fields; None where it ships frames. An
            instance may narrow it by its settings.

    Args:
        root: Folder of the data set.
    """

    title: ClassVar[str]
    paper: ClassVar[str]
    access: ClassVar[str]
    members: ClassVar[tuple[str, ...]] = ()
    unverified: ClassVar[bool] = False
    ships: Input | None = None

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    @abstractmethod
    def clips(self) -> list[Clip]:
        """Every annotated clip, in the set's own order."""

    def videos(self) -> list[Video]:
        """Every recording, those without an event too; empty where the set holds cut clips only."""
        return []

    def frames(self, clip: Clip) -> dict[int, Path]:
        """The pictures of one of this set's clips by frame number, in ascending order.

        Where a clip was not cut out of its recording these are all frames of the recording;
        the clip's onset, apex and offset are keys of the same numbering.

        Raises:
            UserError: The frames are not under the root, or lie in a video file.
        """
        if not clip.source:
            raise UserError(
                f"the frames of {clip.id} are not under {self.root}; to obtain them: {self.access}"
            )
        if (self.root / clip.source).is_file():
            raise UserError(f"{clip.id} is a video file, {clip.source}: read it as a video")
        return numbered_pictures(self.root / clip.source)

    def read(self, clip: Clip, wants: Input) -> NDArray[np.float32]:
        """The flow field of one of this set's clips, encoded as `wants`.

        Returns:
            Float32 ``(channels, size, size)``.

        Raises:
            UserError: The set ships frames, not flow; or `wants` cannot be had from what it ships.
        """
        name = type(self).__module__.rpartition(".")[2]
        raise UserError(
            f"{name} ships frames, and models eat flow: run `microexpr prepare {name} {self.root} "
            f"--out STORE` first, then give STORE as the data (wanted {clip.id})"
        )

    def read_many(self, clips: Sequence[Clip], wants: Input) -> NDArray[np.float32]:
        """The flow fields of several of this set's clips: what `read` gives for each, stacked.

        Returns:
            Float32 ``(clips, channels, size, size)``.

        Raises:
            UserError: As `read`.
        """
        shape = (len(wants.channels), wants.size, wants.size)
        fields = [self.read(clip, wants) for clip in clips]
        return np.stack(fields) if fields else np.zeros((0, *shape), np.float32)


def check_choice(setting: str, value: object, known: Iterable[str]) -> None:
    """Refuses a value that a setting does not take.

    Raises:
        UserError: `value` is none of `known`; the message names the nearest.
    """
    names = list(known)
    if value not in names:
        raise UserError(f"{setting} cannot be '{value}': {suggest(str(value), names)}")
