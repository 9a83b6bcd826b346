"""Support vector machines one class against one, as LIBSVM does it, in tensors that can be saved.

Chang and Lin, LIBSVM, ACM TIST 2 (2011), through scikit-learn. Pairs are ordered (0, 1), (0, 2),
..., (1, 2), ...; a positive margin speaks for the first of a pair.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.svm import SVC
from torch import Tensor

from microexpr.errors import UserError

Features = NDArray[np.float64]
Labels = NDArray[np.int64]


def pairs(classes: int) -> list[tuple[int, int]]:
    """The pairs of classes in their order.

    >>> pairs(3)
    [(0, 1), (0, 2), (1, 2)]
    """
    return list(combinations(range(classes), 2))


def solve_pairs(x: Features, y: Labels, classes: int, C: float) -> tuple[Features, Features]:
    """Linear machines for all pairs of classes.

    Args:
        x: ``(n, features)``.
        y: ``(n,)`` labels; a class that is absent loses against every other.
        classes: Number of classes.
        C: Price of a violated margin.

    Returns:
        ``(pairs, features)`` normals and ``(pairs,)`` offsets of the planes.

    Raises:
        UserError: Fewer than two classes in y.
    """
    present = np.unique(y)
    if len(present) < 2:
        raise UserError("an SVM needs clips of at least two classes to train on")
    machine = SVC(kernel="linear", C=C, cache_size=500).fit(x, y)
    # With two classes scikit-learn turns LIBSVM's sign: positive speaks for the second.
    sign = -1.0 if len(present) == 2 else 1.0
    planes = zip(machine.coef_, machine.intercept_, strict=True)
    found = dict(zip(pairs(len(present)), planes, strict=True))
    rank = {int(c): i for i, c in enumerate(present)}
    normals = np.zeros((len(pairs(classes)), x.shape[1]))
    offsets = np.zeros(len(normals))
    for k, (first, second) in enumerate(pairs(classes)):
        if first in rank and second in rank:
            normal, offset = found[rank[first], rank[second]]
            normals[k], offsets[k] = sign * normal, sign * offset
        else:
            offsets[k] = (first in rank) - (second in rank)
    return normals, offsets


def votes(margins: Tensor, classes: int) -> Tensor:
    """One score a class from the margins of the pairs: its votes, ties broken by the margins.

    The sum of a class's margins, squeezed into (-1/3, 1/3), is added to its number of wins.

    Args:
        margins: ``(b, pairs)``.
        classes: Number of classes.

    Returns:
        ``(b, classes)``.
    """
    scores = margins.new_zeros(len(margins), classes)
    sums = torch.zeros_like(scores)
    for k, (first, second) in enumerate(pairs(classes)):
        won = (margins[:, k] > 0).to(margins.dtype)
        scores[:, first] += won
        scores[:, second] += 1 - won
        sums[:, first] += margins[:, k]
        sums[:, second] -= margins[:, k]
    return scores + sums / (3 * (sums.abs() + 1))
