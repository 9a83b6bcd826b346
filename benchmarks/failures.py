"""Where the default model fails: synthetic fields and films, disturbed one thing at a time.

    python benchmarks/failures.py [--model CHECKPOINT] [--films 30] [--persons 100]

*Fields* are optical flow from `microexpr.simulation`, of people of another seed than any the model
was trained or calibrated on, with more errors, or with parts of the face covered: there the flow is
noise, or that of a hand. *Films* pass detection, alignment and TV-L1: drawn faces, one movement
each, seen at its onset and apex. Glasses (dark rims, two reflections that stay where the lamp is)
and a beard (hair that hides the skin and follows the head alone) are painted over the face; a head
that is turned is the face on a cylinder. What real frames, lenses, hair and turning heads do beside
that is not emulated. Low frame rates only take the nearest frames; they do not blur.

Writes ``failures.json`` to ``--out``; the table in docs/model_card.md comes from it. About four
minutes of one processor.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from microexpr.clip import Clip
from microexpr.datasets.synthetic import Synthetic
from microexpr.encoding import encode
from microexpr.errors import UserError
from microexpr.evaluation.metrics import confusion, uf1
from microexpr.evaluation.statistics import bootstrap_interval
from microexpr.files import write_text
from microexpr.film import Script, drawn_portrait, write_script
from microexpr.film.script import course, emotions_of, head, light
from microexpr.film.warp import Pose, Scene, developed, sampled, stage
from microexpr.inputs import Input
from microexpr.labels import label_scheme
from microexpr.preprocess.face import FaceModels, load_face_models
from microexpr.preprocess.pipeline import prepare_clip
from microexpr.training.checkpoint import Checkpoint, load_checkpoint
from microexpr.training.data import labelled
from microexpr.training.default import CONFIDENCE, WEIGHTS, default_card
from microexpr.video import Image
from microexpr.videowriter import write_video

ROOT = Path(__file__).resolve().parents[1]
SCHEME = label_scheme("megc3")
DEFAULT = WEIGHTS / "default.safetensors"
FIELD_SEED, FIRST_FILM = 31, 97000
SIDE = 56
TOP, BOTTOM, HALF = -0.56, 1.72, 0.99  # of the mean crop: distances between the eyes, from them
COVERED = 0.004  # noise under what covers the face, in distances between the eyes
CYLINDER = 1.3  # radius of a turned face, distances between the eyes
Array = NDArray[np.floating[Any]]
Flow = NDArray[np.float32]
Says = tuple[str, int, Array | None]  # person, class, probabilities


# --- fields ---------------------------------------------------------------------------------------


def places() -> tuple[Array, Array]:
    """Where the pixels of the mean crop lie on the face: x and y in distances between the eyes."""
    share = (np.arange(SIDE) + 0.5) / SIDE
    x, y = np.meshgrid(HALF * (2 * share - 1), TOP + share * (BOTTOM - TOP))
    return x, y


def covered(flow: Flow, where: NDArray[np.bool_], rng: np.random.Generator) -> Flow:
    """Noise in the place of the flow of a part of the face."""
    noise = rng.standard_normal(flow.shape).astype(np.float32) * COVERED * SIDE / (2 * HALF)
    return np.where(where, noise, flow)


def glasses_on(flow: Flow, rng: np.random.Generator) -> Flow:
    """Nothing to be seen around the eyes."""
    x, y = places()
    return covered(flow, (np.abs(x) < 0.85) & (y > -0.25) & (y < 0.33), rng)


def beard_on(flow: Flow, rng: np.random.Generator) -> Flow:
    """Nothing to be seen below the nose but the lips."""
    x, y = places()
    lips = (np.abs(x) < 0.42) & (y > 0.9) & (y < 1.2)
    return covered(flow, (y > 0.72) & ~lips, rng)


def hand_on(flow: Flow, rng: np.random.Generator) -> Flow:
    """An ellipse over some place of the face, all of which moves alike."""
    found = flow.copy()
    x, y = places()
    for one in found:
        at = rng.uniform((-0.7, -0.3), (0.7, 1.5))
        inside = ((x - at[0]) / 0.5) ** 2 + ((y - at[1]) / 0.4) ** 2 < 1
        one[:, inside] = rng.normal(0, 0.015 * SIDE / (2 * HALF), (2, 1))
    return found


def as_it_is(flow: Flow, rng: np.random.Generator) -> Flow:
    """The flow itself."""
    return flow


FIELDS: dict[str, tuple[float, Callable[[Flow, np.random.Generator], Flow]]] = {
    "as they are": (1.0, as_it_is),
    "errors and head motion twice as large, crops twice as varied": (2.0, as_it_is),
    "the same, three times": (3.0, as_it_is),
    "nothing seen around the eyes (dark glasses)": (1.0, glasses_on),
    "nothing seen around the lips (full beard)": (1.0, beard_on),
    "a hand over some part of the face": (1.0, hand_on),
}


def read_fields(found: Checkpoint, case: str, persons: int) -> list[Says]:
    """What the model says of every clip in one case."""
    disturbance, change = FIELDS[case]
    data = Synthetic(None, persons, 6, FIELD_SEED, SIDE, "megc3", disturbance)
    clips = labelled(data.clips(), SCHEME)
    has = Input(("u", "v"), SIDE, "tvl1", "none")
    flow = change(data.read_many(clips, has), np.random.default_rng(FIELD_SEED))
    planes = encode(flow, has, found.model.eats)
    _, said = found.model.predict(torch.from_numpy(np.ascontiguousarray(planes)))
    rows = zip(clips, said.numpy().astype(np.float64), strict=True)
    return [(clip.person, SCHEME.index(clip), row) for clip, row in rows]


# --- films ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """How a film differs from the plain one.

    Attributes:
        script: Fields of `Script` to replace.
        fps: Of the camera: key frames are its nearest frames.
        turned: Degrees about the vertical axis.
        worn: ``glasses``, ``beard`` or nothing.
        crf: Compression by H.264; None: none.
    """

    script: tuple[tuple[str, float], ...] = ()
    fps: float = 1000.0
    turned: float = 0.0
    worn: str = ""
    crf: int | None = None


FILMS = {
    "as they are": Case(),
    "100 frames a second": Case(fps=100),
    "50 frames a second": Case(fps=50),
    "25 frames a second": Case(fps=25),
    "face turned by 15 degrees": Case(turned=15),
    "face turned by 30 degrees": Case(turned=30),
    "head drifts by 8 % of the eyes' distance": Case((("drift", 8.0),)),
    "glasses": Case(worn="glasses"),
    "beard": Case(worn="beard"),
    "noise of 8 grey levels": Case((("noise", 8.0),)),
    "eyes 40 pixels apart": Case((("eyes", 40.0),)),
    "compressed, crf 33": Case(crf=33),
    "compressed, crf 43": Case(crf=43),
}


def script(seed: int) -> Script:
    """One second with one movement; the seed decides its class in turn, and all the rest."""
    label = SCHEME.labels[seed % len(SCHEME.labels)]
    plan = write_script(
        seed,
        seconds=1.0,
        events=1,
        blinks_per_minute=0,
        drift=1.0,
        emotions=emotions_of(SCHEME, label),
    )
    return replace(plan, noise=2.0)


def read_film(found: Checkpoint, case: Case, seed: int) -> Says:
    """What the model says of one film's movement; None where no face was found."""
    changes: dict[str, Any] = dict(case.script)
    plan = replace(script(seed), **changes)
    scene = stage(drawn_portrait(seed), plan)
    event, phase = plan.events[0], np.random.default_rng([seed, 8]).random()
    start, top = (
        (round(t * case.fps - phase) + phase) / case.fps for t in (event.onset, event.apex)
    )
    times = [start, max(top, start + 1 / case.fps)]
    with tempfile.TemporaryDirectory() as folder:
        clip = _shot(scene, case, times, Path(folder), seed)
        try:
            planes = prepare_clip(clip, Path(folder), found.model.eats, _faces()).planes
        except UserError:
            return f"film/{seed}", seed % len(SCHEME.labels), None
    said = found.model.predict(torch.from_numpy(planes[None]))[1][0]
    return f"film/{seed}", seed % len(SCHEME.labels), said.numpy().astype(np.float64)


def _shot(scene: Scene, case: Case, times: Sequence[float], folder: Path, seed: int) -> Clip:
    """Onset and apex as two pictures; compressed, with all frames between them."""
    view = partial(picture, scene, case, seed)
    if case.crf is None:
        for number, time in enumerate(times, start=1):
            image = cv2.cvtColor(view(time), cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(folder / f"{number}.png"), image)
        return Clip("film", "p", "f", "x", source=".", onset=1, apex=2, offset=2)
    count = max(2, round((times[1] - times[0]) * scene.script.fps) + 1)
    moments: Iterator[Image] = (view(time) for time in np.linspace(times[0], times[1], count))
    write_video(folder / "f.mp4", moments, scene.script.fps, case.crf)
    return Clip("film", "p", "f", "x", source="f.mp4", onset=1, apex=count, offset=count)


def picture(scene: Scene, case: Case, seed: int, time: float) -> Image:
    """What the camera sees at one moment."""
    plan, now = scene.script, np.array([time])
    pose = Pose(*(float(values[0]) for values in head(plan, now)))
    acts = [float(course(now, e.onset, e.apex, e.offset)[0]) for e in plan.events]
    seen = sampled(scene, pose, np.array([*acts, 0.0], np.float32))
    if case.worn:
        _put_on(seen, scene, pose, case.worn, seed)
    if case.turned:
        seen = turned(seen, scene, case.turned)
    grain = [seed, 9, round(time * 1e6) % 2**31]
    return developed(seen, float(light(plan, now)[0]), plan.noise, grain)


def turned(image: Array, scene: Scene, degrees: float) -> Array:
    """The picture as if the face were painted on a cylinder that is turned to the right."""
    radius = CYLINDER * scene.script.eyes
    out = np.arcsin(np.clip(scene.x / radius, -1, 1))
    there = np.clip(out - np.radians(degrees), -np.pi / 2, np.pi / 2)
    left = scene.portrait.lids.reshape(-1, 2).mean(axis=0)[0]
    across = np.where(np.abs(scene.x) < radius, radius * np.sin(there), scene.x) + left
    rows = scene.y + scene.portrait.lids.reshape(-1, 2).mean(axis=0)[1]
    seen = cv2.remap(
        image, across.astype(np.float32), rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(seen, np.float32)


def _put_on(image: Array, scene: Scene, pose: Pose, what: str, seed: int) -> None:
    """Paints something on the picture that follows the head, in place."""
    x, y = _on_head(scene, pose)
    rng = np.random.default_rng([seed, 10])
    if what == "beard":
        fine = cv2.GaussianBlur(rng.standard_normal((240, 240)).astype(np.float32), None, 0.8)
        column, row = (((part + 2) * 60).astype(np.float32) for part in (x, y))
        hair = 55 + 60 * cv2.remap(fine, column, row, cv2.INTER_LINEAR)
        lips = (np.abs(x) / 0.45) ** 2 + ((y - 1.06) / 0.16) ** 2
        jaw = (np.abs(x) / 1.05) ** 2 + ((y - 0.85) / 0.98) ** 2
        cover = _edge(y - 0.76) * _edge(lips - 1) * _edge(1 - jaw)
        image += (0.9 * cover)[..., None] * (hair[..., None] - image)
        return
    for side in (-0.5, 0.5):
        ring = np.abs(np.hypot((x - side) / 0.36, (y - 0.03) / 0.28) - 1)
        image += _edge(0.09 - ring)[..., None] * (25 - image)
        still_x, still_y = (part / scene.script.eyes for part in (scene.x, scene.y))
        glare = _edge(0.1 - np.hypot(still_x - side - 0.12, still_y + 0.06))
        image += (0.8 * glare)[..., None] * (250 - image)
    bridge = _edge(0.025 - np.abs(y + 0.03)) * _edge(0.15 - np.abs(x))
    image += bridge[..., None] * (25 - image)


def _on_head(scene: Scene, pose: Pose) -> tuple[Array, Array]:
    """Each pixel's place on a head in some pose, in distances between the eyes."""
    dx, dy = scene.x - pose.x * scene.script.eyes, scene.y - pose.y * scene.script.eyes
    cos, sin = np.cos(pose.turn) / pose.zoom, np.sin(pose.turn) / pose.zoom
    return (cos * dx + sin * dy) / scene.script.eyes, (cos * dy - sin * dx) / scene.script.eyes


def _edge(inside: Array) -> Array:
    """1 well inside, 0 outside, soft over about a pixel."""
    return np.asarray(np.clip(inside / 0.015 + 0.5, 0, 1), np.float32)


_MODELS: list[FaceModels] = []


def _faces() -> FaceModels:
    if not _MODELS:
        _MODELS.append(load_face_models())
    return _MODELS[0]


# --- figures --------------------------------------------------------------------------------------


def figures(kind: str, case: str, said: Sequence[Says], threshold: float) -> dict[str, Any]:
    """Scores of one case; clips without a face are left out and counted."""
    seen = [(person, true, row) for person, true, row in said if row is not None]
    count = len(SCHEME.labels)
    persons = sorted({person for person, _, _ in seen})
    matrices = np.zeros((len(persons), count, count), np.int64)
    for person, true, row in seen:
        matrices[persons.index(person)] += confusion(
            np.array([true]), np.array([int(row.argmax())]), count
        )
    score = bootstrap_interval(matrices, uf1)
    named = [int(row.argmax()) == true for _, true, row in seen if row.max() >= threshold]
    return {
        "kind": kind,
        "case": case,
        "clips": len(seen),
        "lost": len(said) - len(seen),
        "uf1": round(score.value, 4),
        "low": round(score.low, 4),
        "high": round(score.high, 4),
        "named": round(len(named) / len(seen), 4),
        "right": round(sum(named) / len(named), 4) if named else None,
    }


def measure(model: Path, persons: int, films: int, threshold: float) -> list[dict[str, Any]]:
    """Every case, fields first."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    found = load_checkpoint(model)
    if found.labels != SCHEME.labels:
        raise UserError(f"{model} knows {', '.join(found.labels)}, not {', '.join(SCHEME.labels)}")
    rows = []
    for case in FIELDS:
        rows.append(figures("fields", case, read_fields(found, case, persons), threshold))
        print(*rows[-1].values(), sep="\t", flush=True)
    for case, how in FILMS.items() if films else ():
        said = [read_film(found, how, FIRST_FILM + i) for i in range(films)]
        rows.append(figures("films", case, said, threshold))
        print(*rows[-1].values(), sep="\t", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=DEFAULT)
    parser.add_argument("--films", type=int, default=30, help="films of each case")
    parser.add_argument("--persons", type=int, default=100, help="persons of the fields")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/default_model")
    asked = parser.parse_args()
    threshold = default_card().confidence if asked.model == DEFAULT else CONFIDENCE
    try:
        rows = measure(asked.model, asked.persons, asked.films, threshold)
    except UserError as error:
        parser.error(str(error))
    write_text(json.dumps(rows, indent=1) + "\n", asked.out / "failures.json")


if __name__ == "__main__":
    main()
