"""What a model card says in numbers: how far a model can be trusted, and who has looked already.

Each score of a model that never learned from real clips is a look at them: whoever picks the best
of many looks has used the clips to choose. So looks are written into a list, before their result is
known, and the card tells how many there were.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from microexpr.errors import UserError
from microexpr.evaluation.calibration import (
    aurc,
    brier,
    calibration_error,
    certainty,
    log_loss,
    reliability,
)
from microexpr.evaluation.predictions import Predictions, datasets_of, selected, take
from microexpr.evaluation.tables import Run, Score, read_run, table
from microexpr.files import write_text


@dataclass(frozen=True, slots=True)
class Trust:
    """How far the probabilities of a model can be trusted, on all clips or one data set's.

    Attributes:
        name: ``"combined"`` or the data set.
        clips: Number of predictions.
        error: Expected calibration error, 15 bins of equal width.
        adaptive: The same, bins of equal counts.
        log_loss: Natural logarithm.
        brier: 0 to 2.
        area: Under the risk-coverage curve.
        named: Share of the clips whose confidence reaches the threshold.
        right: Share of those that is right; nan where there is none.
        all_right: Share of all clips that is right.
    """

    name: str
    clips: int
    error: float
    adaptive: float
    log_loss: float
    brier: float
    area: float
    named: float
    right: float
    all_right: float


@dataclass(frozen=True, slots=True)
class Look:
    """One or more scores of one candidate on the same real clips, seen by somebody.

    Attributes:
        count: How many scores were seen.
        candidate: What was measured: the stem of its experiment.
        experiment: First twelve digits of the SHA-256 of the experiment's file; may be empty.
        weights: Those of the checkpoint; empty where a run trained its own.
        data: The clips.
    """

    count: int
    candidate: str
    experiment: str
    weights: str
    data: str


def trust(predictions: Predictions, threshold: float) -> tuple[Trust, ...]:
    """All clips, then each data set where there are several; rows of one selection.

    Args:
        predictions: With several seeds every row counts alike.
        threshold: Confidence from which on a class is named.
    """
    sets = datasets_of(predictions)
    names = sorted(set(sets.tolist()))
    parts = [("combined", predictions)]
    if len(names) > 1:
        parts += [(name, take(predictions, sets == name)) for name in names]
    return tuple(_trust(name, part, threshold) for name, part in parts)


def _trust(name: str, p: Predictions, threshold: float) -> Trust:
    confidence, right = certainty(p.probabilities, p.pred, p.true)
    named = confidence >= threshold
    return Trust(
        name=name,
        clips=len(right),
        error=calibration_error(reliability(confidence, right)),
        adaptive=calibration_error(reliability(confidence, right, adaptive=True)),
        log_loss=log_loss(p.probabilities, p.true),
        brier=brier(p.probabilities, p.true),
        area=aurc(confidence, right),
        named=float(named.mean()),
        right=float(right[named].mean()) if named.any() else float("nan"),
        all_right=float(right.mean()),
    )


def card_to_markdown(run: Path | Run, threshold: float) -> str:
    """Two tables: scores with intervals, and calibration and abstention.

    Args:
        run: Folder with ``predictions.csv``; its last epoch counts.
        threshold: Of the card.
    """
    read = run if isinstance(run, Run) else read_run(run)
    parts = table(read).columns[0].parts
    scores = [
        (
            part.name,
            str(part.clips),
            str(part.persons),
            *(_interval(part.scores[key]) for key in ("uf1", "uar", "accuracy")),
        )
        for part in parts
    ]
    rows = [
        (
            t.name,
            *map(_number, (t.error, t.adaptive, t.log_loss, t.brier, t.area)),
            *map(_percent, (t.named, t.right, t.all_right)),
        )
        for t in trust(selected(read.predictions, "last"), threshold)
    ]
    named = f"named at {threshold:.2f}"
    head = ["clips of", "ECE", "ECE, equal counts", "log loss", "Brier", "AURC"]
    lines = [
        *_table(("clips of", "clips", "persons", "UF1", "UAR", "accuracy"), scores),
        "",
        "In brackets: 95 % interval, persons resampled.",
        "",
        *_table([*head, named, "right of those", "right of all"], rows),
        "",
        "ECE: expected calibration error, 15 bins. AURC: area under the risk-coverage curve. "
        "One reading of each clip; `analyze` averages ten and asks that they agree.",
        "",
    ]
    return "\n".join(lines)


def validation_to_markdown(told: Mapping[str, Any]) -> str:
    """How a model was calibrated, from the ``validation.json`` of `benchmarks/default_model.py`."""
    rows = [
        (
            name,
            *(_number(told[key][field]) for field in ("error", "adaptive", "log_loss", "brier")),
            *(_percent(told[key][field]) for field in ("named", "right", "all_right")),
        )
        for key, name in (("before", "as trained"), ("after", "calibrated"))
    ]
    named = f"named at {told['confidence']:.2f}"
    films = ""
    if "films" in told:
        hours = told["films"] * told["film_seconds"] / 3600
        films = (
            f", its {told['films']:,} films and their flow {told['film_seconds']:.1f} seconds each "
            f"({hours:.1f} core-hours)"
        )
    head = ["synthetic validation", "ECE", "ECE, equal counts", "log loss", "Brier", named]
    lines = [
        f"Calibrated on {told['clips']:,} clips of {told['persons']:,} synthetic people that it "
        f"had not seen: temperature {told['temperature']:.3f}; at a confidence of "
        f"{told['confidence']:.2f} or more at most {told['risk']:.0%} of their named emotions are "
        f"wrong. Training took {told['core_seconds']:,} seconds of one processor"
        f"{films}.",
        "",
        *_table([*head, "right of those", "right of all"], rows),
        "",
    ]
    return "\n".join(lines)


def failures_to_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of `benchmarks/failures.py`, from its ``failures.json``."""
    lines = []
    for row in rows:
        lost = f", {row['lost']} without a face" if row["lost"] else ""
        low, value, high = (_number(row[key]) for key in ("low", "uf1", "high"))
        right = float("nan") if row["right"] is None else row["right"]
        shares = (_percent(row["named"]), _percent(right))
        lines.append(
            (row["kind"], row["case"], f"{row['clips']}{lost}", f"{value} [{low}, {high}]", *shares)
        )
    head = ("synthetic", "what is different", "clips", "UF1", "named", "right of those")
    return "\n".join([*_table(head, lines), ""])


def digest(path: Path) -> str:
    """First twelve hexadecimal digits of a file's SHA-256."""
    return sha256(path.read_bytes()).hexdigest()[:12]


def read_looks(path: Path) -> list[Look]:
    """The list of looks; empty where there is no file yet.

    Raises:
        UserError: The file is no such list.
    """
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        try:
            return [Look(int(row.pop("count")), **row) for row in reader]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}, line {reader.line_num}: no list of looks ({error})") from None


def add_look(path: Path, look: Look) -> None:
    """Adds a look to the end of the list; one that is there already would show nothing new."""
    looks = read_looks(path)
    if look in looks:
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Look)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(one) for one in [*looks, look])
    write_text(text.getvalue(), path)


def looks_to_markdown(looks: Sequence[Look]) -> str:
    """The list and its sum."""
    rows = [(one.candidate, one.data, str(one.count), f"`{one.experiment}`") for one in looks]
    rows = [(a, b, c, "" if d == "``" else d) for a, b, c, d in rows]
    total = sum(one.count for one in looks)
    lines = _table(("candidate", "clips", "scores seen", "experiment"), rows)
    return "\n".join([*lines, "", f"{total} in all.", ""])


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, *rows)]
    return [lines[0], "|" + "---|" * len(header), *lines[1:]]


def _interval(score: Score) -> str:
    if np.isnan(score.low):
        return _number(score.value)
    return f"{_number(score.value)} [{_number(score.low)}, {_number(score.high)}]"


def _number(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 0.9995 else f"{value:.3f}"


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.0f} %"
