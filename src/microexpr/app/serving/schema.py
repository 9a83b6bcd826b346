"""The shape of report.json (docs/video.md) and of the other answers of the REST interface."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Span = tuple[float, float]


class _Shape(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


class KeyFrames(_Shape):
    """Known frame numbers of one movement."""

    onset: int
    apex: int | None
    offset: int | None


class Settings(_Shape):
    """How the video was analysed."""

    video: str = Field(description="Name of the file, as it was sent.")
    bytes: int | None
    model: str
    face: int = Field(description="0: the largest.")
    key_frames: KeyFrames | None
    confidence: float | None = Field(description="Null: the model's own.")
    fps: float | None


class Video(_Shape):
    """The recording."""

    path: str = Field(description="Name of the file, as it was sent.")
    width: int
    height: int
    fps: float | None
    variable_fps: bool
    frames: int
    first_frame: int
    duration: float = Field(description="Seconds.")
    codec: str


class Face(_Shape):
    """The face over the whole recording; medians, null without a face."""

    seen: bool
    most_at_once: int
    eye_distance: float | None = Field(description="Pixels.")
    yaw: float | None = Field(description="Degrees.")
    pitch: float | None = Field(description="Degrees.")
    blur: float | None = Field(description="Variance of the Laplacian.")
    exposure: float | None = Field(description="Mean grey, 0..255.")


class Model(_Shape):
    """The model, and how well it reads real clips; null where that was not measured."""

    name: str
    trained_on: str
    measured_on: str
    uf1: float | None
    uar: float | None
    low: float | None = Field(description="Lower end of the 95 % interval of UF1.")
    high: float | None
    confidence: float | None = Field(description="Its own threshold for naming an emotion.")
    how: str = Field(description="In what way those clips were new to it.")
    labels: list[str]


class Moment(_Shape):
    """A point in time."""

    frame: int
    time: float = Field(description="Seconds since the first frame.")


class Probability(_Shape):
    """Of one class, over ten readings."""

    mean: float
    lowest: float
    highest: float


class Region(_Shape):
    """How far a region moved, in % of the distance between the eyes."""

    name: str
    right: float
    down: float


class ActionUnit(_Shape):
    """An action unit that would move the face like this: a suggestion."""

    unit: str
    side: Literal["both", "left", "right"] = Field(description="Of the picture.")
    strength: float
    explains: float = Field(description="Share of the motion, 0..1.")


class Event(_Shape):
    """One movement."""

    number: int
    kind: Literal["micro", "macro"]
    onset: Moment
    apex: Moment
    offset: Moment
    duration: float = Field(description="Seconds.")
    complete: bool = Field(description="False where the recording ends before the movement.")
    score: float | None = Field(description="Standard deviations of the noise; null if given.")
    displacement: float = Field(description="% of the distance between the eyes.")
    emotion: str | None = Field(description="Null: none is named.")
    probabilities: dict[str, Probability] | None
    agreement: float | None = Field(description="Share of the ten readings, 0..1.")
    by_hand: list[str] = Field(description="What a person gave; empty here.")
    quality: Literal["good", "fair", "poor"]
    problems: list[str]
    regions: list[Region]
    action_units: list[ActionUnit]
    unit_probabilities: dict[str, float] | None = Field(description="Action unit: the model's.")


class Report(_Shape):
    """What was found: the content of report.json."""

    schema_: Literal["microexpr-report-1"] = Field(alias="schema")
    microexpr: str = Field(description="Version of the program.")
    settings: Settings
    summary: str = Field(description="One sentence.")
    video: Video
    face: Face
    model: Model
    confidence: float
    threshold: float
    key_frames_given: bool
    not_analysed: list[Span] = Field(description="Seconds, from and to.")
    blinks: list[Span] = Field(description="Seconds, from and to.")
    warnings: list[str]
    events: list[Event] = Field(description="In order of time.")


class Job(_Shape):
    """Where an analysis stands."""

    ticket: str
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    ahead: int = Field(description="Analyses that wait before this one.")
    step: str
    done: int = Field(description="Steps that are done.")
    of: int = Field(description="Steps in all.")
    seconds_left: float | None = Field(description="A rough guess.")
    error: str = Field(description="One line; empty unless it failed or was cancelled.")
    report: Report | None = Field(description="Once it is done.")


class Error(_Shape):
    """Why a request was not served."""

    error: str = Field(description="One line.")
