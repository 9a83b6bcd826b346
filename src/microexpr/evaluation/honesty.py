"""What honesty costs: a run's last, inner and oracle columns side by side, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from microexpr.evaluation.metrics import uf1
from microexpr.evaluation.predictions import SELECTIONS, selected
from microexpr.evaluation.statistics import Difference, paired_difference
from microexpr.evaluation.tables import Score, about, column, read_run


@dataclass(frozen=True, slots=True)
class Honesty:
    """The columns of one run.

    Attributes:
        name: Of the run.
        about: Model, protocol, data and labels in one line.
        folds: Number of folds.
        scores: ``selection -> metric -> Score``, over all clips.
        inflation: UF1 of the oracle minus that of the last epoch, paired by person; None where
            there is no oracle.
    """

    name: str
    about: str
    folds: int
    scores: Mapping[str, Mapping[str, Score]]
    inflation: Difference | None


def honesty(folders: Sequence[Path], *, resamples: int = 2000) -> tuple[Honesty, ...]:
    """Scores the columns of several runs; a folder without predictions is left out.

    Args:
        folders: Of runs.
        resamples: Of the bootstrap.

    Raises:
        UserError: As `microexpr.evaluation.tables.read_run`.
    """
    there = [folder for folder in folders if (folder / "predictions.csv").exists()]
    return tuple(_columns(folder, resamples) for folder in there)


def _columns(folder: Path, resamples: int) -> Honesty:
    run = read_run(folder)
    recorded = set(run.predictions.selection.tolist())
    rows = {name: selected(run.predictions, name) for name in SELECTIONS if name in recorded}
    scores = {name: column(own, name, resamples).parts[0].scores for name, own in rows.items()}
    both = "last" in rows and "oracle" in rows
    return Honesty(
        name=run.name,
        about=about(run.experiment),
        folds=len(set(run.predictions.fold.tolist())),
        scores=scores,
        inflation=paired_difference(rows["oracle"], rows["last"], uf1, resamples=resamples)
        if both
        else None,
    )
