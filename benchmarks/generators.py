"""Which synthetic people to train on: a small net for each kind, tried on all the other kinds.

    python benchmarks/generators.py [--jobs 2] [--persons 2000] [--epochs 4]

A model that has learned from one generator is right on new people of the same generator, whichever
it is; that says nothing about real ones. No real clip may choose. So each kind of `KINDS` stands
for the unknown in its turn: a row is the kind that smallcnn was trained on, a column the kind whose
new persons it reads, and the figure is UF1. What loses least where it was not trained is what to
train on: the last column but one is the mean over the kinds of another *look* (realism and
disturbance; mixes alone change which units occur, not how they look), the last the lowest of them.

Writes ``results/generators.json``, one row a kind; a kind that stands there is not trained again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from microexpr.datasets.synthetic import Synthetic
from microexpr.evaluation.metrics import confusion, uf1
from microexpr.evaluation.run import predict
from microexpr.files import write_text
from microexpr.jobs import check_jobs, keep_memory, spread
from microexpr.labels import label_scheme
from microexpr.models import create_model
from microexpr.training.data import TrainingSet, labelled
from microexpr.training.fit import fit
from microexpr.training.recipe import Phase, Recipe

RESULTS = Path(__file__).resolve().parent / "results" / "generators.json"
LOOKS: Mapping[str, dict[str, Any]] = {
    "smooth": {},
    "smooth x2": {"disturbance": 2.0},
    "rough": {"realism": "rough"},
    "published": {"realism": "published"},
    "published x1.5": {"realism": "published", "disturbance": 1.5},
}
KINDS: Mapping[str, dict[str, Any]] = {
    f"{look}, {mixes}": {**settings, "mixes": mixes}
    for look, settings in LOOKS.items()
    for mixes in ("textbook", "both")
}
TRAINED, TRIED = 0, 23  # seeds: other persons


@dataclass(frozen=True, slots=True)
class Task:
    """One training: on a kind, with so many persons and epochs."""

    kind: str
    persons: int
    epochs: int


def people(kind: str, persons: int, clips: int, seed: int) -> TrainingSet:
    """Clips of synthetic persons of one kind, as smallcnn eats them."""
    scheme, eats = label_scheme("megc3"), create_model("smallcnn", 3).eats
    data = Synthetic(None, persons, clips, seed, prior="megc3", **KINDS[kind])
    return TrainingSet(labelled(data.clips(), scheme), scheme, data, eats)


def do_task(task: Task) -> dict[str, float]:
    """UF1 on new persons of every kind, after training on one."""
    torch.set_num_threads(1)
    keep_memory()
    torch.manual_seed(0)
    phase = Phase(
        "pretrain",
        epochs=task.epochs,
        lr=2e-3,
        weight_decay=0.05,
        warmup=0.2,
        cooldown=0.2,
        ema=0.999,
        class_weights=True,
    )
    model = create_model("smallcnn", 3)
    train = people(task.kind, task.persons, 20, TRAINED)
    model = fit(model, train, Recipe((phase,)), 0)
    scores = {}
    for kind in KINDS:
        tried = people(kind, max(2, task.persons // 10), 10, TRIED)
        x = torch.from_numpy(tried.source.read_many(tried.clips, tried.wants))
        true = np.array([tried.scheme.index(clip) for clip in tried.clips])
        guess = predict(model, x)[0].numpy()
        scores[kind] = round(float(uf1(confusion(true, guess, 3))), 4)
    return scores


def elsewhere(kind: str, scores: Mapping[str, float]) -> list[float]:
    """The scores on kinds of another look."""
    return [score for other, score in scores.items() if other.split(",")[0] != kind.split(",")[0]]


def table(found: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown; kinds that were not trained yet are left out."""
    head = ["trained on", *KINDS, "elsewhere, mean", "lowest"]
    lines = [f"| {' | '.join(head)} |", f"|---|{'--:|' * (len(head) - 1)}"]
    for kind in (kind for kind in KINDS if kind in found):
        away = elsewhere(kind, found[kind])
        numbers = [*(found[kind][other] for other in KINDS), sum(away) / len(away), min(away)]
        lines.append(f"| {kind} | {' | '.join(f'{number:.3f}' for number in numbers)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--persons", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    found = json.loads(asked.out.read_text(encoding="utf-8")) if asked.out.exists() else {}
    left = [Task(kind, asked.persons, asked.epochs) for kind in KINDS if kind not in found]
    for task, scores in spread(do_task, left, check_jobs(asked.jobs)):
        found[task.kind] = scores
        write_text(json.dumps(found, indent=1) + "\n", asked.out)
        print(f"{len(found)} of {len(KINDS)}: {task.kind}", flush=True)
    print(table(found), end="")


if __name__ == "__main__":
    main()
