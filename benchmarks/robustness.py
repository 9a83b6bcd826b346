"""How much of a model's score survives wrong key frames, a slow camera, and compression.

    python benchmarks/robustness.py [--model CHECKPOINT ...] [--films 90] [--jobs 2]

Synthetic films of one second with one movement each, a face of its own in every film, the three
classes of MEGC2019 in turn. Each is read by the road of `microexpr prepare`: face at the onset,
alignment, flow from onset to apex, the model. Disturbed is one thing at a time, the rest being
`BASE`:

- onset, apex: the frame is taken that many frames too late (at 200 frames a second; negative: too
  early; onset and apex stay at least one frame apart, within the film);
- fps: the camera's rate, key frames being the nearest ones;
- crf: compression by H.264; 0 is without loss.

Films and the default model's training fields come from one anatomy of action units, so the level of
a curve is that of an easy test; what it is good for is where it falls.

One line of JSON for each film is kept in ``runs/robustness``, so that a run that was stopped goes
on. (After a change of the program, remove that folder.) ``curves.csv`` and a picture for each
disturbance go to ``--out``; intervals resample films.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from microexpr.clip import Clip
from microexpr.drawing import save
from microexpr.errors import UserError
from microexpr.evaluation.metrics import confusion, uf1
from microexpr.evaluation.pictures import Series, draw_curves
from microexpr.evaluation.statistics import Interval, bootstrap_interval
from microexpr.files import write_text
from microexpr.film import Script, drawn_portrait, shoot, write_script
from microexpr.film import truth as what_happens
from microexpr.film.script import emotions_of
from microexpr.jobs import spread
from microexpr.labels import label_scheme
from microexpr.preprocess.face import FaceModels, load_face_models
from microexpr.preprocess.pipeline import prepare_clip
from microexpr.training.checkpoint import Checkpoint, load_checkpoint
from microexpr.training.default import WEIGHTS
from microexpr.videowriter import write_video

ROOT = Path(__file__).resolve().parents[1]
SCHEME = label_scheme("megc3")
BASE = {"onset": 0, "apex": 0, "fps": 200, "crf": 23}
PLACES: dict[str, tuple[int, ...]] = {
    "onset": (-32, -16, -8, -4, 0, 4, 8, 16, 32),
    "apex": (-32, -16, -8, -4, 0, 4, 8, 16, 32),
    "fps": (25, 30, 50, 60, 100, 200),
    "crf": (0, 18, 23, 28, 33, 38, 43),
}
AXES = {
    "onset": "onset taken too late by frames (200 a second)",
    "apex": "apex taken too late by frames (200 a second)",
    "fps": "frames a second",
    "crf": "constant rate factor of H.264",
}
FIRST_SEED = 95000
DEFAULT = WEIGHTS / "default.safetensors"
Row = dict[str, Any]
Case = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Task:
    """One film: its seed decides the face, the movement, the head's path and the noise."""

    seed: int
    models: tuple[Path, ...]

    @property
    def label(self) -> str:
        """The class of its movement."""
        return SCHEME.labels[self.seed % len(SCHEME.labels)]


def script(task: Task) -> Script:
    """What happens in a film."""
    return write_script(
        task.seed,
        seconds=1.0,
        events=1,
        blinks_per_minute=0,
        drift=1.0,
        crf=BASE["crf"],
        emotions=emotions_of(SCHEME, task.label),
    )


def cases() -> list[Case]:
    """The undisturbed film and every disturbance of it, each once."""
    return [("base", 0)] + [
        (what, place) for what, places in PLACES.items() for place in places if place != BASE[what]
    ]


def measure(task: Task) -> Row:
    """Makes a film in all its forms, reads each, and deletes it."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    plan, portrait = script(task), drawn_portrait(task.seed)
    frames = list(shoot(portrait, plan))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_video(root / "base.mp4", frames, plan.fps, plan.crf)
        for what, place in cases():
            if what == "crf":
                write_video(root / f"crf{place}.mp4", frames, plan.fps, place)
            if what == "fps":
                slow = shoot(portrait, replace(plan, fps=float(place)))
                write_video(root / f"fps{place}.mp4", slow, float(place), plan.crf)
        said = {f"{what} {place}": _read(task, plan, root, what, place) for what, place in cases()}
    return {"seed": task.seed, "models": _names(task.models), "label": task.label, "said": said}


def _read(task: Task, plan: Script, root: Path, what: str, place: int) -> list[str | None]:
    """What each model says of one form of a film; None where the face was not found."""
    fps = float(place) if what == "fps" else plan.fps
    (event,) = what_happens(replace(plan, fps=fps)).events
    last = max(1, round(plan.seconds * fps)) - 1
    onset = event.onset + (place if what == "onset" else 0)
    onset = min(max(onset, 0), event.apex - 1 if what == "onset" else last - 1)
    apex = event.apex + (place if what == "apex" else 0)
    apex = min(max(apex, onset + 1), last)
    name = f"{what}{place}.mp4" if what in ("fps", "crf") else "base.mp4"
    # numbers of a video's frames begin with 1 where it stands for a folder of pictures
    key = {"onset": onset + 1, "apex": apex + 1, "offset": apex + 1}
    clip = Clip("film", "p", name, task.label, source=name, **key)
    return [_said(clip, root, path) for path in task.models]


def _said(clip: Clip, root: Path, path: Path) -> str | None:
    checkpoint = _checkpoint(path)
    try:
        planes = prepare_clip(clip, root, checkpoint.model.eats, _faces()).planes
    except UserError:
        return None
    guess = int(checkpoint.model.predict(torch.from_numpy(planes[None]))[0])
    return checkpoint.labels[guess]


@lru_cache(maxsize=8)
def _checkpoint(path: Path) -> Checkpoint:
    found = load_checkpoint(path)
    if sorted(found.labels) != sorted(SCHEME.labels):
        raise UserError(f"{path} knows {', '.join(found.labels)}, not {', '.join(SCHEME.labels)}")
    return found


@lru_cache(maxsize=1)
def _faces() -> FaceModels:
    return load_face_models()


def _names(models: Sequence[Path]) -> list[str]:
    """Name and fingerprint of each checkpoint: another one under the same name is another row."""
    return [f"{p.stem} {hashlib.sha256(p.read_bytes()).hexdigest()[:12]}" for p in models]


def gather(tasks: Sequence[Task], kept: Path, jobs: int) -> list[Row]:
    """Measures what is not in `kept` yet, and keeps a line for each film as it ends."""
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    names, wanted = _names(tasks[0].models), {task.seed for task in tasks}
    rows = [json.loads(line) for line in lines]
    rows = [row for row in rows if row["models"] == names and row["seed"] in wanted]
    done = {row["seed"] for row in rows}
    left = [task for task in tasks if task.seed not in done]
    for _, row in spread(measure, left, jobs):
        rows.append(row)
        write_text("".join(json.dumps(r) + "\n" for r in rows), kept)
        print(f"{len(rows)}/{len(tasks)} films", flush=True)
    return sorted(rows, key=lambda row: int(row["seed"]))


def score(rows: Sequence[Row], case: str, model: int) -> tuple[Interval, int]:
    """UF1 of one model in one case, and in how many films no face was found.

    Those are left out: the model was not asked.
    """
    index = {label: i for i, label in enumerate(SCHEME.labels)}
    said = [(index[r["label"]], r["said"][case][model]) for r in rows]
    films = [
        confusion(np.array([true]), np.array([index[guess]]), len(index))
        for true, guess in said
        if guess is not None
    ]
    lost = len(said) - len(films)
    if not films:
        return Interval(np.nan, np.nan, np.nan), lost
    return bootstrap_interval(np.stack(films), uf1), lost


def curves(rows: Sequence[Row], what: str, model: int) -> list[Row]:
    """One line for each place of a disturbance."""
    found = []
    for place in PLACES[what]:
        case = "base 0" if place == BASE[what] else f"{what} {place}"
        interval, lost = score(rows, case, model)
        found.append(
            {
                "model": rows[0]["models"][model].split()[0],
                "disturbance": what,
                "place": place,
                "uf1": round(interval.value, 4),
                "low": round(interval.low, 4),
                "high": round(interval.high, 4),
                "films": len(rows) - lost,
                "lost": lost,
            }
        )
    return found


def write(rows: Sequence[Row], out: Path) -> list[Row]:
    """Writes the curves as a table and as pictures."""
    lines: list[Row] = []
    for what, places in PLACES.items():
        parts = [curves(rows, what, model) for model in range(len(rows[0]["models"]))]
        series = [_series(part) for part in parts]
        figure = draw_curves(places, series, AXES[what], even=True, chance=1 / 3)
        save(figure, out / f"{what}.png")
        lines += [line for part in parts for line in part]
    text = io.StringIO()
    table = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(lines)
    write_text(text.getvalue(), out / "curves.csv")
    return lines


def _series(lines: Sequence[Mapping[str, Any]]) -> Series:
    columns = (tuple(float(line[key]) for line in lines) for key in ("uf1", "low", "high"))
    return Series(str(lines[0]["model"]), *columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, nargs="+", default=[DEFAULT], help="checkpoints")
    parser.add_argument("--films", type=int, default=90)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "robustness")
    asked = parser.parse_args()
    models = tuple(path.resolve() for path in asked.model)
    for path in models:
        _checkpoint(path)  # a bad one ends it here
    tasks = [Task(FIRST_SEED + i, models) for i in range(asked.films)]
    rows = gather(tasks, ROOT / "runs" / "robustness" / "films.jsonl", asked.jobs)
    for line in write(rows, asked.out):
        print(*line.values(), sep="\t")


if __name__ == "__main__":
    main()
