"""Scores as pure functions of confusion matrices ``(..., classes, classes)``, rows = truth.

All are pooled: count over all folds first, then score. A mean of per-fold scores is another
quantity, and none of these functions can be handed folds.

Edge cases, where public implementations disagree:

=============================  =========  =========  =======================================
class                          F1         recall     in the means
=============================  =========  =========  =======================================
in neither                     undefined  undefined  left out, flagged
only in the prediction         0          undefined  counts in UF1, left out of UAR, flagged
only in the truth              0          0          counted
=============================  =========  =========  =======================================

Undefined is nan. A mean over no class is nan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from microexpr.errors import UserError, suggest

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Metric = Callable[[Counts], Floats]


@dataclass(frozen=True, slots=True, eq=False)
class PerClass:
    """Scores of each class, float64 ``(..., classes)``; nan where undefined.

    Attributes:
        precision: TP / (TP + FP); undefined for a class never predicted.
        recall: TP / (TP + FN); undefined for a class without a true clip.
        f1: 2 TP / (2 TP + FP + FN); undefined for a class in neither.
        support: True clips, int64.
    """

    precision: Floats
    recall: Floats
    f1: Floats
    support: Counts


def confusion(true: NDArray[np.int64], pred: NDArray[np.int64], classes: int) -> Counts:
    """Counts of (true, predicted) pairs.

    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]

    Args:
        true: Indices 0..classes-1, shape ``(n,)``.
        pred: The same.
        classes: Number of classes.

    Returns:
        Int64 ``(classes, classes)``, rows = true.

    Raises:
        ValueError: An index out of range, or unequal lengths.
    """
    true, pred = np.asarray(true, dtype=np.int64), np.asarray(pred, dtype=np.int64)
    if true.shape != pred.shape or true.ndim != 1:
        raise ValueError(f"true {true.shape} and pred {pred.shape} must be vectors of one length")
    if true.size and not (
        0 <= min(true.min(), pred.min()) <= max(true.max(), pred.max()) < classes
    ):
        raise ValueError(f"a label is not in 0..{classes - 1}")
    return np.bincount(true * classes + pred, minlength=classes**2).reshape(classes, classes)


def per_class(matrix: Counts) -> PerClass:
    """Precision, recall, F1 and support of each class.

    Args:
        matrix: Int ``(..., classes, classes)``, rows = true.
    """
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    support, predicted = matrix.sum(axis=-1), matrix.sum(axis=-2)
    return PerClass(
        precision=_ratio(hits, predicted),
        recall=_ratio(hits, support),
        f1=_ratio(2 * hits, support + predicted),
        support=support,
    )


def uf1(matrix: Counts) -> Floats:
    """Unweighted F1 (macro F1): the mean of F1 over the classes where it is defined.

    MEGC 2019: with TP, FP and FN pooled over all folds.

    >>> float(uf1(np.array([[3, 1], [1, 3]])))
    0.75

    Args:
        matrix: Int ``(..., classes, classes)``, rows = true.

    Returns:
        Float64 ``(...)`` in [0, 1].
    """
    return _mean_defined(per_class(matrix).f1)


def uar(matrix: Counts) -> Floats:
    """Unweighted average recall: the mean of recall over the classes with a true clip.

    >>> float(uar(np.array([[1, 1], [0, 4]])))
    0.75

    Args:
        matrix: Int ``(..., classes, classes)``, rows = true.

    Returns:
        Float64 ``(...)`` in [0, 1].
    """
    return _mean_defined(per_class(matrix).recall)


def accuracy(matrix: Counts) -> Floats:
    """Part of the clips that are predicted right.

    >>> float(accuracy(np.array([[1, 1], [0, 2]])))
    0.75

    Args:
        matrix: Int ``(..., classes, classes)``, rows = true.

    Returns:
        Float64 ``(...)`` in [0, 1]; nan without a clip.
    """
    return _ratio(np.trace(matrix, axis1=-2, axis2=-1), matrix.sum(axis=(-2, -1)))


def flags(matrix: Counts, labels: Sequence[str]) -> tuple[str, ...]:
    """One line for each class without a true clip: it changes what the means are over.

    >>> flags(np.array([[2, 1], [0, 0]]), ["negative", "positive"])
    ('positive: no true clip, but predicted; F1 counts as 0, recall is left out of UAR',)
    """
    lines = []
    for index, label in enumerate(labels):
        if matrix[index].sum() > 0:
            continue
        if matrix[:, index].sum() > 0:
            what = "no true clip, but predicted; F1 counts as 0, recall is left out of UAR"
        else:
            what = "neither a true clip nor a prediction; left out of UF1 and UAR"
        lines.append(f"{label}: {what}")
    return tuple(lines)


def _ratio(part: Counts, whole: Counts) -> Floats:
    ratio: Floats = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=ratio, where=np.asarray(whole) > 0)
    return ratio


def _mean_defined(scores: Floats) -> Floats:
    defined = ~np.isnan(scores)
    return _ratio(np.where(defined, scores, 0.0).sum(axis=-1), defined.sum(axis=-1))


METRICS: dict[str, Metric] = {"uf1": uf1, "uar": uar, "accuracy": accuracy}


def metric(name: str) -> Metric:
    """The metric of that name.

    Raises:
        UserError: Unknown name; the message names the nearest.
    """
    if name not in METRICS:
        raise UserError(f"unknown metric '{name}': {suggest(name, METRICS)}")
    return METRICS[name]
