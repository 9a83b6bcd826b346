"""The demonstration: a small MERba on synthetic people, each tested by a net that never saw it."""

from __future__ import annotations

from microexpr.evaluation.experiment import Chosen, Data, Experiment, Run
from microexpr.training.recipe import Phase, Recipe


def demo_experiment() -> Experiment:
    """Thirty synthetic persons in five groups, MERba-nano, two dozen epochs."""
    return Experiment(
        Data(
            "synthetic",
            "megc3",
            {"persons": 30, "clips_per_person": 20, "prior": "megc3"},
            input={"normalisation": "relative"},
        ),
        Chosen("kfold", {"folds": 5}),
        Chosen("merba", {"size": "nano", "image": 28, "stem_stride": 2}),
        Recipe((Phase(epochs=24, warmup=2, cooldown=2, batch=64, lr=2e-3, ema=0.98),)),
        Run(seeds=(0,)),
    )
