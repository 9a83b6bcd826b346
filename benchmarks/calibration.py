"""Which synthetic people to calibrate on: each set's temperature, tried on all the others.

    python benchmarks/calibration.py [--model CHECKPOINT] [--persons 200]

Real recordings are harder than what a model was trained on, and a temperature that is right for
easy clips leaves it too sure of hard ones. No real clip may decide, so synthetic persons stand for
them, of any look, whose recordings are `DISTURBANCES` times worse
(`microexpr.simulation.disturbed`). Each row is a set to calibrate on; the columns are the expected
calibration errors on other persons. The set whose largest error is the smallest goes into
``disturbance`` of ``[data.others.validation]`` in default_model.toml.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from microexpr.datasets.synthetic import Synthetic
from microexpr.errors import UserError
from microexpr.evaluation.calibration import (
    calibration_error,
    certainty,
    fit_temperature,
    reliability,
    risk_coverage,
    tempered,
    threshold_at,
)
from microexpr.evaluation.run import predict
from microexpr.labels import label_scheme
from microexpr.training.checkpoint import Checkpoint, load_checkpoint
from microexpr.training.data import TrainingSet, labelled, tensors
from microexpr.training.default import WEIGHTS

DISTURBANCES = (1.0, 1.5, 2.0, 2.5, 3.0)
FITTED, TRIED = 12, 13  # seeds: other persons than any model was trained on, and than each other
RISK = 0.10
Floats = NDArray[np.float64]
Set = tuple[Floats, NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Row:
    """What calibrating on one set gives.

    Attributes:
        disturbance: Of the set.
        accuracy: There.
        temperature: Fitted there.
        threshold: Lowest confidence with a risk of at most `RISK` there, after calibration.
        errors: Expected calibration error on other persons, by their disturbance.
    """

    disturbance: float
    accuracy: float
    temperature: float
    threshold: float
    errors: Mapping[float, float]


def said(found: Checkpoint, disturbance: float, seed: int, persons: int) -> Set:
    """Uncalibrated probabilities and true classes of the clips of some persons."""
    scheme, eats = label_scheme("megc3"), found.model.eats
    if found.labels != scheme.labels:
        raise UserError(f"the model knows {', '.join(found.labels)}, not {scheme.name}'s classes")
    data = Synthetic(None, persons, 10, seed, prior="megc3", realism="any", disturbance=disturbance)
    x, true = tensors(TrainingSet(labelled(data.clips(), scheme), scheme, data, eats))
    return predict(found.model, x)[1].numpy().astype(np.float64), true.numpy()


def compare(found: Checkpoint, persons: int) -> list[Row]:
    """A row for each disturbance."""
    found.model.temperature = 1.0
    fitted = {d: said(found, d, FITTED, persons) for d in DISTURBANCES}
    tried = {d: said(found, d, TRIED, persons) for d in DISTURBANCES}
    rows = []
    for disturbance, (probabilities, true) in fitted.items():
        temperature = fit_temperature(probabilities, true)
        right = certainty(probabilities, probabilities.argmax(axis=1), true)[1]
        rows.append(
            Row(
                disturbance,
                float(right.mean()),
                temperature,
                threshold_at(risk_coverage(*_sure(probabilities, true, temperature)), RISK),
                {
                    d: calibration_error(reliability(*_sure(*other, temperature)))
                    for d, other in tried.items()
                },
            )
        )
    return rows


def _sure(
    probabilities: Floats, true: NDArray[np.int64], temperature: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """Confidence after calibration, and whether each is right."""
    after = tempered(probabilities, temperature)
    return certainty(after, after.argmax(axis=1), true)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=WEIGHTS / "default.safetensors")
    parser.add_argument("--persons", type=int, default=200)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print("calibrated on\taccuracy\ttemperature\tthreshold", end="")
    print(*(f"\tECE on {d:g}" for d in DISTURBANCES), sep="")
    for row in compare(load_checkpoint(asked.model), asked.persons):
        numbers = (row.accuracy, row.temperature, row.threshold, *row.errors.values())
        print(f"{row.disturbance:g}", *(f"{number:.3f}" for number in numbers), sep="\t")


if __name__ == "__main__":
    main()
