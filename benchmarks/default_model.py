"""Writes what is known about the default model, src/microexpr/weights/default.json.

    python benchmarks/default_model.py                                 after training: not measured
    python benchmarks/default_model.py --data ../shared/data/flow442   measures it on real clips

Each measurement is a look at the real clips and belongs into the count of outer runs.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from microexpr.datasets import open_dataset
from microexpr.evaluation.metrics import uar, uf1
from microexpr.evaluation.predictions import Predictions
from microexpr.evaluation.statistics import bootstrap_interval, person_confusions
from microexpr.files import write_text
from microexpr.labels import label_scheme
from microexpr.training.checkpoint import load_checkpoint
from microexpr.training.data import labelled
from microexpr.training.default import WEIGHTS, ModelCard, fingerprint

CARD = ModelCard(
    name="small convolutional net (smallcnn), the default",
    trained_on="40 000 synthetic optical flow fields of 2000 synthetic people, made from anatomy; "
    "no real face took part",
)


def measured(card: ModelCard, data: Path) -> ModelCard:
    """The card with its scores on the 442 published flow images."""
    checkpoint, scheme = load_checkpoint(WEIGHTS / "default.safetensors"), label_scheme("megc3")
    dataset = open_dataset("flow442", data)
    clips = labelled(dataset.clips(), scheme)
    x = torch.from_numpy(np.ascontiguousarray(dataset.read_many(clips, checkpoint.model.eats)))
    with torch.no_grad():
        guess, probabilities = checkpoint.model.predict(x)
    table = Predictions(
        labels=checkpoint.labels,
        clip=np.array([clip.id for clip in clips]),
        person=np.array([clip.person for clip in clips]),
        fold=np.array(["all"] * len(clips)),
        seed=np.zeros(len(clips), np.int64),
        selection=np.array(["last"] * len(clips)),
        true=np.array([scheme.index(clip) for clip in clips]),
        pred=guess.numpy().astype(np.int64),
        probabilities=probabilities.numpy().astype(np.float64),
    )
    persons = person_confusions(table)
    f1, recall = (bootstrap_interval(persons, score) for score in (uf1, uar))
    about = f"{len(clips)} real clips (SMIC, CASME II, SAMM) with known onset and apex"
    return replace(
        card,
        measured_on=about,
        uf1=round(f1.value, 3),
        uar=round(recall.value, 3),
        low=round(f1.low, 3),
        high=round(f1.high, 3),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of flow442; without it: not measured")
    data = parser.parse_args().data
    card = measured(CARD, data) if data else CARD
    about = {**asdict(card), "sha256": fingerprint(WEIGHTS / "default.safetensors")}
    write_text(json.dumps(about, indent=1) + "\n", WEIGHTS / "default.json")
    print(json.dumps(about, indent=1))


if __name__ == "__main__":
    main()
