"""Runs a zero-shot experiment on real clips, and counts it as a look before it begins.

    python benchmarks/looks.py benchmarks/candidates/zero_shot_smallcnn.toml --data FOLDER

The same as ``microexpr run``, for experiments that learn from synthetic people alone: each seed of
each arm is a score of the real clips, written into ``results/zero_shot_looks.csv``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from microexpr.errors import UserError
from microexpr.evaluation.bench import Bench, open_sets
from microexpr.evaluation.experiment import Experiment, read_experiment
from microexpr.evaluation.run import run_experiment
from microexpr.evaluation.trust import Look, add_look, digest

RESULTS = Path(__file__).resolve().parent / "results"


def looks(path: Path, data: Path) -> list[Look]:
    """What running an experiment would show.

    Raises:
        UserError: It learns from the clips that it is tested on.
    """
    found = []
    for arm, experiment in read_experiment(path).items():
        clips, others = open_sets(experiment, data)
        if Bench(experiment, clips, {}, others).lead < len(experiment.recipe.phases):
            raise UserError(f"{path} learns from real clips; this list counts those that do not")
        name = f"{path.stem} {arm}".strip()
        about = f"{experiment.data.dataset}, {len(clips.clips)} clips"
        found.append(Look(len(experiment.run.seeds), name, digest(path), "", about))
    return found


def run(path: Path, data: Path, results: Path = RESULTS, jobs: int = 1) -> None:
    """Writes the looks down, then carries out every arm, into ``results`` beside the experiment."""
    for look in looks(path, data):
        add_look(results / "zero_shot_looks.csv", look)
    arms: dict[str, Experiment] = read_experiment(path)
    for arm, experiment in arms.items():
        table = run_experiment(experiment, data, path.parent / "results" / path.stem / arm, jobs)
        print(f"{table}: microexpr report {table.parent}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("toml", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real clips")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    asked = parser.parse_args()
    try:
        run(asked.toml, asked.data, jobs=asked.jobs)
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
