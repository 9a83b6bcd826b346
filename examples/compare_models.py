"""Trains two models on the same synthetic people and folds and compares them: about a minute.

    python examples/compare_models.py [MODEL MODEL] [--persons 20] [--epochs 8] [--out runs/compare]

No clip of a person who is tested takes part in training; a difference comes with its interval.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from microexpr.evaluation.experiment import Chosen, Data, Experiment
from microexpr.evaluation.report import compare, comparison_to_markdown
from microexpr.evaluation.run import run_experiment
from microexpr.training.recipe import Phase, Recipe


def main() -> None:
    """Prints a table; the runs stay in the folder, for `microexpr report`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["smallcnn", "ststnet"])
    parser.add_argument("--persons", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("runs/compare"))
    given = parser.parse_args()
    people = {"persons": given.persons, "clips_per_person": 20, "prior": "megc3"}
    recipe = Recipe((Phase(epochs=given.epochs, batch=32, lr=2e-3, warmup=0.5, cooldown=0.5),))
    for model in given.models:
        data = Data("synthetic", "megc3", people)
        experiment = Experiment(data, Chosen("kfold", {"folds": 5}), Chosen(model), recipe)
        run_experiment(experiment, None, given.out / model)
    print(comparison_to_markdown(compare([given.out / model for model in given.models])))


if __name__ == "__main__":
    main()
