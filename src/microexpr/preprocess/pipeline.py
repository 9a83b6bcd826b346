"""From the frames of annotated clips to the planes that models eat.

Frames -> face at the onset -> alignment, one for all frames -> apex, where none is annotated ->
flow from the onset, less the motion of the head -> `Input`. It is the road of
`microexpr.preprocess.closeup`, which `microexpr analyze` takes too: training and use cannot differ.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from microexpr.clip import Clip
from microexpr.cluster import Cluster, spread
from microexpr.drawing import contact_sheet, flow_to_rgb, save
from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.layout import numbered_pictures
from microexpr.preprocess.align import FACE, TIGHT, alignment, grey, warp
from microexpr.preprocess.apex import apex
from microexpr.preprocess.closeup import SIZE, Closeup, model_input
from microexpr.preprocess.face import FaceModels, load_face_models
from microexpr.preprocess.store import (
    Recipe,
    Record,
    enter_set,
    is_whole,
    placed,
    recipe_here,
    sweep,
    write_clip,
    write_manifest,
)
from microexpr.preprocess.track import Tracker
from microexpr.video import Image, frames, open_video, read_picture

DEFAULT = Input(("u", "v"), SIZE, "tvl1", "none")  # every size and normalisation follows from it
MOST = 400  # frames looked at in one clip; longer ones are thinned
SHEET = "contact_sheet.png"

Array = NDArray[np.float32]
Watch = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """One clip, ready for a model.

    Attributes:
        planes: Float32 ``(channels, size, size)``; ``(frames, channels, size, size)`` for several.
        closeup: The aligned frames that were used.
        onset: Frame number.
        apex: Frame number, annotated or found.
    """

    planes: Array
    closeup: Closeup
    onset: int
    apex: int


@dataclass(frozen=True, slots=True)
class Task:
    """One clip for a worker process."""

    clip: Clip
    root: Path
    recipe: Recipe
    store: Path


@dataclass(frozen=True, slots=True)
class Summary:
    """What a call of `prepare` did.

    Attributes:
        made: Clips prepared now.
        kept: Clips that were there already.
        failed: Ids of the clips that could not be prepared, and why.
    """

    made: int
    kept: int
    failed: Mapping[str, str]


def prepare(
    name: str,
    clips: Sequence[Clip],
    root: Path,
    store: Path,
    wants: Input = DEFAULT,
    settings: Mapping[str, Any] | None = None,
    jobs: int = 1,
    watch: Watch = lambda what, done, of: None,
    on: Cluster | None = None,
) -> Summary:
    """Prepares a data set into a store; killed and started again, it goes on.

    A clip that cannot be prepared is noted with its reason, and tried again the next time.

    Args:
        name: The data set, under which the store gives its clips again.
        clips: All of its clips.
        root: Folder of the data set, which `Clip.source` is relative to.
        store: Folder of the store; made if need be.
        wants: What to store.
        settings: Those of the data set, for the record.
        jobs: Processes.
        watch: Called with (what, done, of).
        on: A cluster whose machines do the work in place of processes here.

    Raises:
        UserError: No face models; or the store holds this data set with other settings.
    """
    load_face_models()  # missing ones would fail every clip alike
    recipe = recipe_here(wants)
    enter_set(store, name, clips, settings or {})
    sweep(store)
    tasks = [Task(clip, root, recipe, store) for clip in clips]
    watch("checking", 0, 1)
    left = [task for task in tasks if not is_whole(store, recipe, task.clip.id)]
    watch("checking", 1, 1)
    watch("clips", len(tasks) - len(left), len(tasks))
    failed = {}
    outcomes = spread(do_clip, left, jobs, on, (store, root))
    for done, (task, reason) in enumerate(outcomes, start=1):
        watch("clips", len(tasks) - len(left) + done, len(tasks))
        if reason:
            failed[task.clip.id] = reason
    write_manifest(store)
    sweep(store)
    ordered = {clip.id: failed[clip.id] for clip in clips if clip.id in failed}
    return Summary(len(left) - len(failed), len(tasks) - len(left), ordered)


def do_clip(task: Task) -> str:
    """Prepares one clip and stores it; for worker processes.

    Returns:
        Why it failed; empty if it did not.
    """
    cv2.setNumThreads(1)
    try:
        done = prepare_clip(task.clip, task.root, task.recipe.input, _models())
    except (UserError, OSError, cv2.error) as error:
        reason = " ".join(str(error).split())
        write_clip(task.store, task.recipe, Record(task.clip.id, failed=reason), None)
        return reason
    offset = task.clip.offset
    record = Record(task.clip.id, onset=done.onset, apex=done.apex, offset=offset)
    write_clip(task.store, task.recipe, record, done.planes)
    return ""


@lru_cache(maxsize=1)
def _models() -> FaceModels:
    """The face models, loaded once in each process."""
    return load_face_models()


def prepare_clip(clip: Clip, root: Path, wants: Input, models: FaceModels) -> Prepared:
    """Prepares one clip.

    With an annotated apex, and one moment wanted, only onset and apex are decoded.

    Args:
        clip: As annotated.
        root: Folder of the data set.
        wants: What the model eats.
        models: From `load_face_models`.

    Raises:
        UserError: Frames are missing or damaged, there is no face at the onset, or onset and apex
            are no two frames in this order.
    """
    if not clip.source:
        raise UserError("its frames are not there, only its row in the label file")
    needed, others = _wanted(clip, wants)
    pictures = _read(root / clip.source, needed, others)
    numbers = np.array(sorted(pictures), np.int64)
    found = Tracker(models).look(pictures[int(numbers[0])])
    if found is None:
        raise UserError(f"no face is to be seen at the onset, frame {numbers[0]}")
    faces, tight = (
        _aligned(pictures, numbers, alignment(found.points, crop, SIZE)) for crop in (FACE, TIGHT)
    )
    last = len(numbers) - 1
    if clip.apex is None:
        views = np.stack([grey(face) for face in faces])
        top = max(apex(views, 0, last), 1)
    else:
        top = int(np.abs(numbers - clip.apex).argmin())
    times = numbers / (clip.fps or np.nan)
    seen = Closeup(numbers, times, faces, tight, 0, top, last)
    return Prepared(model_input(seen, wants, 0, top), seen, int(numbers[0]), int(numbers[top]))


def _wanted(clip: Clip, wants: Input) -> tuple[list[int], list[int]]:
    """Numbers of the frames that must be there, the onset first, and of others that help.

    Raises:
        UserError: The annotation names no two frames in order.
    """
    onset, top, end = clip.onset, clip.apex, clip.offset
    if onset is None or (end is None and top is None):
        raise UserError("its annotation has no onset, or neither apex nor offset")
    if top is not None and not onset < top:
        raise UserError(f"its apex, frame {top}, does not come after its onset, frame {onset}")
    if top is not None and wants.frames == 1:
        return [onset, top], []
    last = max(end or 0, top or 0)
    if not onset < last:
        raise UserError(f"its offset, frame {last}, does not come after its onset, frame {onset}")
    even = np.linspace(onset, last, min(MOST, last - onset + 1)).round().astype(int).tolist()
    return sorted({onset, last, *([] if top is None else [top])}), even


def _read(source: Path, needed: Sequence[int], others: Sequence[int]) -> dict[int, Image]:
    """Pictures by frame number, from a folder or from a video file whose first frame is 1.

    Args:
        source: Folder or file.
        needed: Numbers of frames that must be there, in order.
        others: Numbers between them of frames that may be missing.

    Raises:
        UserError: One that must be there is not, one is damaged, or their sizes differ.
    """
    wanted = sorted({*needed, *others})
    if source.is_dir():
        there = numbered_pictures(source)
        pictures = {n: read_picture(there[n]) for n in wanted if n in there}
    else:
        video = open_video(source)
        pictures = {
            frame.number + 1: frame.image
            for frame in frames(video, wanted[0] - 1, wanted[-1])
            if frame.number + 1 in wanted
        }
    for number in needed:
        if number not in pictures:
            raise UserError(f"frame {number} is missing in {source.name}")
    sizes = sorted({picture.shape[:2] for picture in pictures.values()})
    if len(sizes) > 1:
        kinds = ", ".join(f"{width}x{height}" for height, width in sizes)
        raise UserError(f"the frames of {source.name} differ in size: {kinds}")
    return pictures


def _aligned(
    pictures: Mapping[int, Image], numbers: NDArray[np.int64], matrix: NDArray[np.float64]
) -> Image:
    return np.stack([warp(pictures[int(n)], matrix, SIZE) for n in numbers])


def draw_sheet(
    clips: Sequence[Clip], root: Path, store: Path, wants: Input, count: int, seed: int = 0
) -> Path | None:
    """A sheet to look at: onset, apex and flow of some clips of a store, drawn by chance.

    Args:
        clips: Those of a data set.
        root: Its folder.
        store: The store's folder, where the sheet is written.
        wants: What was stored.
        count: How many clips.
        seed: Decides which.

    Returns:
        The picture's path; None where no clip was prepared.
    """
    recipe = recipe_here(wants)
    there = [clip for clip in clips if is_whole(store, recipe, clip.id)]
    chosen = sorted(random.Random(seed).sample(range(len(there)), min(count, len(there))))
    rows = [_sheet_row(there[i], root, wants) for i in chosen]
    if not rows:
        return None
    labels = [f"{there[i].id}\n{there[i].emotion}" for i in chosen]
    key = "flow: red right, green up, cyan left, violet down"
    sheet = contact_sheet(rows, labels, ("onset", "apex", "flow"), key, 1.3)
    with placed(store, store / SHEET) as unfinished:
        save(sheet, unfinished)
    return store / SHEET


def _sheet_row(clip: Clip, root: Path, wants: Input) -> list[Image]:
    flow = Input(("u", "v"), SIZE, wants.flow, "none")
    done = prepare_clip(clip, root, flow, _models())
    first, top = done.closeup.tight[done.closeup.onset], done.closeup.tight[done.closeup.apex]
    return [first, top, flow_to_rgb(done.planes[0], done.planes[1])]
