"""Makes the default model: trains, calibrates and chooses when it abstains; or measures it.

    python benchmarks/default_model.py [--films build/default-films]
    python benchmarks/default_model.py --measure --data FOLDER

The first command does what the experiment (``default_model.toml``, or ``--toml``) says, on
synthetic persons alone. Films that it learns from are made and prepared below ``--films`` first, if
they are not there; killed and started again, it goes on with them. It writes
``default.safetensors`` and ``default.json`` to ``--out`` (the package's own weights): the same
bytes each time on one kind of machine. The experiment describes a set
``[data.others.validation]`` of other synthetic persons: on them the temperature is fitted and the
lowest confidence is found at which at most `RISK` of the named emotions are wrong. What came out
goes to ``benchmarks/results/<stem of the experiment>/validation.json``.

The second command is a look at real clips. It is written into ``results/zero_shot_looks.csv``
before anything is predicted; then ``predictions.csv`` is written beside ``validation.json`` and the
scores into ``default.json``. The tables and pictures of docs/model_card.md come from these files,
by ``benchmarks/tables.py`` and ``benchmarks/pictures.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from microexpr.datasets import open_dataset
from microexpr.errors import UserError
from microexpr.evaluation import calibration
from microexpr.evaluation.bench import open_sets
from microexpr.evaluation.experiment import Experiment, read_experiment
from microexpr.evaluation.metrics import uar, uf1
from microexpr.evaluation.predictions import Predictions, write_predictions
from microexpr.evaluation.run import predict, train_on_all
from microexpr.evaluation.statistics import bootstrap_interval, person_confusions
from microexpr.evaluation.trust import Look, add_look, digest, trust
from microexpr.files import write_text
from microexpr.film.archive import Archive, make_archive
from microexpr.labels import label_scheme
from microexpr.preparation import prepare_dataset
from microexpr.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from microexpr.training.data import TrainingSet, labelled, tensors
from microexpr.training.default import WEIGHTS, ModelCard, fingerprint

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
RISK = 0.10  # share of the named emotions that may be wrong, on synthetic persons
VALIDATION = "validation"
FILMS = Archive(persons=1000, clips=8, seed=0, prior="megc3")


@dataclass(frozen=True, slots=True)
class Places:
    """Where things lie.

    Attributes:
        toml: The experiment.
        out: Folder of ``default.safetensors`` and ``default.json``.
        results: Folder of the figures of all experiments, and of the list of looks.
        films: Folder of the films and, in a folder below it, of their flow.
    """

    toml: Path
    out: Path
    results: Path
    films: Path

    @property
    def weights(self) -> Path:
        """The checkpoint."""
        return self.out / "default.safetensors"

    @property
    def figures(self) -> Path:
        """Folder of this experiment's figures."""
        return self.results / self.toml.stem


def make(places: Places) -> ModelCard:
    """Trains, calibrates, and writes checkpoint, card and ``validation.json``."""
    experiment = _experiment(places.toml)
    filmed = {}
    for other in experiment.data.others.values():
        if other.dataset == "films":
            make_films(places.films, other.folder, FILMS)
            filmed = {"films": FILMS.persons * FILMS.clips, "film_seconds": film_seconds(FILMS)}
    train, others = open_sets(experiment, places.films)
    held = _validation(train, others)
    start = time.process_time()
    train_on_all(experiment, places.films, places.weights, experiment.run.seeds[0], _tell)
    seconds = time.process_time() - start
    found = load_checkpoint(places.weights)
    threshold, about = calibrate(found, held)
    save_checkpoint(places.weights, found)
    settings = experiment.data.settings
    size = str(experiment.model.settings.get("size", ""))
    card = ModelCard(
        name="-".join([found.name, *([size] if size else [])]) + ", the default",
        trained_on=_told(train, others),
        confidence=threshold,
    )
    about = {"persons": len(held.persons), "clips": len(held.clips), **about}
    about |= {"training_settings": settings, "core_seconds": round(seconds), **filmed}
    write_text(json.dumps(about, indent=1) + "\n", places.figures / "validation.json")
    _write_card(card, places)
    return card


def make_films(root: Path, folder: str, asked: Archive) -> None:
    """Films of drawn people below ``root/films``, and their flow in the store ``root/folder``.

    Raises:
        UserError: One could not be prepared.
    """
    make_archive(root / "films", asked, watch=_tell)
    done = prepare_dataset("films", root / "films", root / folder, sheet=0, watch=_seldom)
    for clip, reason in done["failed"].items():
        raise UserError(f"{clip} could not be prepared: {reason}")


def film_seconds(asked: Archive) -> float:
    """Core-seconds that a film and its flow take: those of four persons, made for the purpose."""
    with tempfile.TemporaryDirectory() as folder:
        start = sum(os.times()[:4])  # of this process and of those that it started
        few = replace(asked, persons=min(4, asked.persons))
        make_films(Path(folder), "flow", few)
        return round((sum(os.times()[:4]) - start) / (few.persons * few.clips), 2)


def _told(train: TrainingSet, others: dict[str, TrainingSet]) -> str:
    """What the model learned from, in one line."""
    parts = [
        f"{len(train.clips):,} synthetic optical flow fields of {len(train.persons):,} synthetic "
        "people"
    ]
    for name, other in others.items():
        if name != VALIDATION:
            what = "films" if other.clips[0].dataset == "films" else "further fields"
            parts.append(f"{len(other.clips):,} {what} of {len(other.persons):,} drawn people")
    return " and ".join(parts) + ", made from anatomy; no real face took part"


def calibrate(found: Checkpoint, held: TrainingSet) -> tuple[float, dict[str, object]]:
    """Sets the model's temperature; gives the threshold, and figures to keep.

    The threshold is rounded up to two places.
    """
    x, true = tensors(held)
    found.model.temperature = 1.0
    before = predictions(found, held, x)
    temperature = calibration.fit_temperature(before.probabilities, true.numpy())
    found.model.temperature = round(temperature, 4)
    after = predictions(found, held, x)
    sure = calibration.certainty(after.probabilities, after.pred, after.true)
    curve = calibration.risk_coverage(*sure)
    threshold = float(np.ceil(100 * calibration.threshold_at(curve, RISK)) / 100)
    figures = {
        "temperature": found.model.temperature,
        "risk": RISK,
        "confidence": threshold,
        "before": asdict(trust(before, threshold)[0]),
        "after": asdict(trust(after, threshold)[0]),
    }
    return threshold, figures


def measure(places: Places, data: Path) -> ModelCard:
    """One counted look at the real clips; writes ``predictions.csv`` and the card."""
    found = load_checkpoint(places.weights)
    scheme = label_scheme(_experiment(places.toml).data.labels)
    if found.labels != scheme.labels:
        raise UserError(f"{places.weights} knows {found.labels}, the experiment {scheme.labels}")
    dataset = open_dataset("flow442", data)
    real = TrainingSet(labelled(dataset.clips(), scheme), scheme, dataset, found.model.eats)
    x, _ = tensors(real)
    marks = (digest(places.toml), digest(places.weights))
    look = Look(1, places.toml.stem, *marks, f"flow442, {len(real.clips)} clips")
    add_look(places.results / "zero_shot_looks.csv", look)
    rows = predictions(found, real, x)
    write_predictions(rows, places.figures / "predictions.csv")
    persons = person_confusions(rows)
    f1, recall = (bootstrap_interval(persons, score) for score in (uf1, uar))
    card = replace(
        _read_card(places),
        measured_on=f"{len(real.clips)} real clips (SMIC, CASME II, SAMM) with known onset and "
        "apex",
        uf1=round(f1.value, 3),
        uar=round(recall.value, 3),
        low=round(f1.low, 3),
        high=round(f1.high, 3),
    )
    _write_card(card, places)
    return card


def predictions(found: Checkpoint, clips: TrainingSet, x: torch.Tensor) -> Predictions:
    """What a model says of clips, as rows of one fold."""
    guess, probabilities = predict(found.model, x)
    count = len(clips.clips)
    return Predictions(
        labels=found.labels,
        clip=np.array([clip.id for clip in clips.clips]),
        person=np.array([clip.person for clip in clips.clips]),
        fold=np.array(["all"] * count),
        seed=np.zeros(count, np.int64),
        selection=np.array(["last"] * count),
        true=np.array([clips.scheme.index(clip) for clip in clips.clips]),
        pred=guess.numpy().astype(np.int64),
        probabilities=probabilities.numpy().astype(np.float64),
    )


def _experiment(path: Path) -> Experiment:
    """The one experiment of a file.

    Raises:
        UserError: It has several arms, or data other than synthetic ones.
    """
    arms = read_experiment(path)
    if len(arms) != 1:
        raise UserError(f"{path} has a grid of {len(arms)} arms; the default model is one")
    (experiment,) = arms.values()
    data = experiment.data
    used = {data.dataset, *(other.dataset for other in data.others.values())}
    if data.dataset != "synthetic" or used - {"synthetic", "films"}:
        raise UserError(
            f"{path}: the default model learns from the data set 'synthetic', and from 'films' "
            "beside it, alone"
        )
    return experiment


def _validation(train: TrainingSet, others: dict[str, TrainingSet]) -> TrainingSet:
    if VALIDATION not in others:
        raise UserError(f"describe the persons to calibrate on under [data.others.{VALIDATION}]")
    held = others[VALIDATION]
    if held.persons & train.persons:
        raise UserError(
            f"[data.others.{VALIDATION}] shows persons of the training: change its seed"
        )
    return held


def _read_card(places: Places) -> ModelCard:
    about = json.loads((places.out / "default.json").read_text(encoding="utf-8"))
    if about.pop("sha256") != fingerprint(places.weights):
        raise UserError(f"{places.out / 'default.json'} is about other weights: make them first")
    return ModelCard(**about)


def _write_card(card: ModelCard, places: Places) -> None:
    about = {**asdict(card), "sha256": fingerprint(places.weights)}
    write_text(json.dumps(about, indent=1) + "\n", places.out / "default.json")


def _tell(what: str, done: int, of: int) -> None:
    print(f"{what} {done}/{of}", flush=True)


def _seldom(what: str, done: int, of: int) -> None:
    if done % 100 == 0 or done == of:
        _tell(what, done, of)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toml", type=Path, default=BENCHMARKS / "default_model.toml")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder of weights and card")
    parser.add_argument("--results", type=Path, default=BENCHMARKS / "results")
    parser.add_argument(
        "--films", type=Path, default=ROOT / "build" / "default-films", help="where films are made"
    )
    parser.add_argument("--measure", action="store_true", help="a counted look at real clips")
    parser.add_argument("--data", type=Path, help="folder of flow442, for --measure")
    asked = parser.parse_args()
    if asked.measure != (asked.data is not None):
        parser.error("--measure and --data FOLDER go together")
    places = Places(asked.toml.resolve(), asked.out, asked.results, asked.films)
    try:
        card = measure(places, asked.data) if asked.measure else make(places)
    except UserError as error:
        parser.error(str(error))
    print(json.dumps(asdict(card), indent=1))


if __name__ == "__main__":
    main()
