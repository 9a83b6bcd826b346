"""Several runs side by side, with paired differences to the first, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from microexpr.errors import UserError
from microexpr.evaluation.metrics import metric
from microexpr.evaluation.predictions import selected
from microexpr.evaluation.statistics import Difference, holm, paired_difference
from microexpr.evaluation.tables import TITLES, Column, Run, about, column, read_run


@dataclass(frozen=True, slots=True)
class Compared:
    """One run in a comparison.

    Attributes:
        name: Of the run.
        about: Model, protocol, data and labels in one line.
        column: Its scores under the selection compared.
        differences: By metric, this run minus the first; empty for the first.
        adjusted: By metric, the p-value after Holm's correction over all runs but the first.
    """

    name: str
    about: str
    column: Column
    differences: Mapping[str, Difference]
    adjusted: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several runs side by side; differences are to the first.

    Attributes:
        title: Of the selection.
        rows: One per run.
        flags: What a reader must know.
    """

    title: str
    rows: tuple[Compared, ...]
    flags: tuple[str, ...]


def compare(
    sources: Sequence[Path | Run],
    selection: str = "last",
    *,
    metrics: Sequence[str] = ("uf1", "uar"),
    resamples: int = 2000,
) -> Comparison:
    """Scores several runs of the same clips and labels, each with its difference to the first.

    Args:
        sources: Runs' folders, or what they hold; the first is the one compared to.
        selection: Which column of each.
        metrics: Names from `METRICS` for the differences.
        resamples: Of the bootstrap, and of the permutation test.

    Raises:
        UserError: As `read_run`; no run; a run without that selection; runs of other labels or
            without a common clip.
    """
    if not sources:
        raise UserError("nothing to compare: name at least one run")
    runs = _read_all(sources)
    rows = [selected(run.predictions, selection) for run in runs]
    differences = {
        name: [
            paired_difference(other, rows[0], metric(name), resamples=resamples)
            for other in rows[1:]
        ]
        for name in metrics
    }
    adjusted = {name: holm([d.p for d in found]) for name, found in differences.items()}
    compared = [
        Compared(
            name=run.name,
            about=about(run.experiment),
            column=column(own, selection, resamples),
            differences={name: differences[name][i - 1] for name in metrics if i > 0},
            adjusted={name: adjusted[name][i - 1] for name in metrics if i > 0},
        )
        for i, (run, own) in enumerate(zip(runs, rows, strict=True))
    ]
    folds = [set(zip(own.clip.tolist(), own.fold.tolist(), strict=True)) for own in rows]
    other_folds = tuple(
        f"{run.name}: other folds than {runs[0].name}, so other training clips"
        for run, own in zip(runs, folds, strict=True)
        if own != folds[0]
    )
    return Comparison(TITLES[selection], tuple(compared), other_folds + _flags(compared))


def _read_all(sources: Sequence[Path | Run]) -> list[Run]:
    """The runs; arms of several grids, and folders of one name, are told with their folder's."""
    runs = [source if isinstance(source, Run) else read_run(source) for source in sources]
    names = [run.name for run in runs]
    paths = [source.resolve() for source in sources if isinstance(source, Path)]
    folders = [path if path.is_dir() else path.parent for path in paths]
    if len(folders) < len(runs) or len({folder.parent for folder in folders}) == 1:
        return runs
    return [
        replace(run, name=f"{folder.parent.name}/{run.name}")
        if "=" in run.name or names.count(run.name) > 1
        else run
        for run, folder in zip(runs, folders, strict=True)
    ]


def _flags(rows: Sequence[Compared]) -> tuple[str, ...]:
    first = rows[0].column.parts[0]
    lines = []
    for row in rows[1:]:
        common = next(iter(row.differences.values())).clips if row.differences else first.clips
        if common < max(first.clips, row.column.parts[0].clips):
            lines.append(f"{row.name}: the difference is over {common} common clips only")
    lines += [
        f"{row.name}, {part.name}: {line}"
        for row in rows
        for part in row.column.parts
        for line in part.flags
    ]
    return tuple(lines)
