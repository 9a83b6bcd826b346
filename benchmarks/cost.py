"""Extrapolates what the experiments of this folder cost, from a few steps of each on this machine.

    python benchmarks/cost.py [--out benchmarks/results/cost.json]

No data is needed: steps are taken on random flow, and how many clips and persons the data sets have
is known (tests/test_lists.py). `benchmarks/tables.py` writes the table of docs/cluster.md from the
file and from the ``environment.json`` of the runs that were made.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from microexpr.evaluation.cost import estimate, write_estimates
from microexpr.evaluation.experiment import read_experiment
from microexpr.speed.timing import machine

HERE = Path(__file__).resolve().parent
CASME2 = (24, 145 * 23 // 24)  # leaving one person out, in three classes
MEGC = (68, 442 * 67 // 68)
FOLDS = {  # folds, training clips of a fold
    "ststnet_flow442": MEGC,
    "merba_nano_flow442": MEGC,
    "merba_scan_flow442/mixer=scan": (10, 442 * 9 // 10),
    "ammsm_nano_flow442": (10, 442 * 9 // 10),
    "merba_3db": MEGC,
    "mambavision_3db": MEGC,
    "ammsm_casme2_3": CASME2,
    "merba_dfme": (1, 1856),
    "mambavision_dfme": (1, 1856),
    "htnet_dfme": (1, 1856),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=HERE / "results" / "cost.json")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    found = []
    for name, (folds, clips) in FOLDS.items():
        stem, _, arm = name.partition("/")
        experiment = read_experiment(HERE / f"{stem}.toml")[arm]
        people = {key: other.settings for key, other in experiment.data.others.items()}
        others = {key: s["persons"] * s["clips_per_person"] for key, s in people.items()}
        found.append(estimate(name, experiment, folds, clips, others))
        print(found[-1], flush=True)
    write_estimates(found, machine()["processor"], out)


if __name__ == "__main__":
    main()
