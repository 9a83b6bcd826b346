"""One annotated movement of one person (`Clip`), and a whole recording (`Video`)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clip:
    """A micro-expression as its data set annotates it. A value: it reads nothing.

    Attributes:
        dataset: Name of the data set whose people and clips these are (``"casme2"``).
        subject: The person, spelled as the data set's folders do (``"sub01"``, ``"006"``).
        name: The clip's name within the subject.
        source: Path of the video file or the folder of frames, relative to the data set's root;
            empty where the set ships no frames.
        onset: Frame number of the first visible movement, in the data set's own numbering.
        apex: Frame number of the greatest movement; None where the set gives none (SMIC).
        offset: Frame number at which the movement has gone.
        emotion: The data set's own label, lower case (``"happiness"``, ``"negative"``).
        fps: Frames per second; None if unknown.
        action_units: FACS codes as annotated (``("4", "L10")``); empty if none or unknown.
        video: `Video.id` of the recording that the clip was cut from; None if unknown.
        modality: ``"colour"``, ``"grey"``, ``"nir"``, ``"depth"`` or ``"flow"``.
        split: Name of the set's own fixed part (DFME: ``"train"``, ``"testA"``, ``"testB"``).
    """

    dataset: str
    subject: str
    name: str
    emotion: str
    source: str = ""
    onset: int | None = None
    apex: int | None = None
    offset: int | None = None
    fps: float | None = None
    action_units: tuple[str, ...] = ()
    video: str | None = None
    modality: str = "colour"
    split: str | None = None

    @property
    def person(self) -> str:
        """Who: the unit that a fold leaves out.

        >>> Clip("casme2", "sub01", "EP02_01f", "happiness").person
        'casme2/sub01'
        """
        return f"{self.dataset}/{self.subject}"

    @property
    def id(self) -> str:
        """What predictions, stores and lists are joined on.

        >>> Clip("casme2", "sub01", "EP02_01f", "happiness").id
        'casme2/sub01/EP02_01f'
        """
        return f"{self.dataset}/{self.subject}/{self.name}"


@dataclass(frozen=True, slots=True)
class Video:
    """A whole recording, with or without events; spotting is scored on all of them.

    Attributes:
        dataset: Name of the data set.
        subject: The person, spelled as the data set's folders do.
        name: The recording's name within the subject.
        source: Path of the video file or folder of frames, relative to the data set's root.
        fps: Frames per second; None if unknown.
        frames: Number of frames; None if unknown.
    """

    dataset: str
    subject: str
    name: str
    source: str = ""
    fps: float | None = None
    frames: int | None = None

    @property
    def person(self) -> str:
        """Who is filmed: ``dataset/subject``."""
        return f"{self.dataset}/{self.subject}"

    @property
    def id(self) -> str:
        """``dataset/subject/name``; `Clip.video` refers to it."""
        return f"{self.dataset}/{self.subject}/{self.name}"
