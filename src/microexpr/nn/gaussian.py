"""A Gaussian support vector machine as a module: solved, not trained; its result is in buffers.

Chang and Lin, LIBSVM, ACM TIST 2 (2011), through scikit-learn; one machine per class against the
rest.

Glossary (symbol: shape)

    x       (n, features)                 samples, laid flat, in one block or several
    s, a    (m, features), (classes, m)   support vectors and their weights; a margin is then
                                          ``sum_j a_j exp(-gamma d(x, s_j)) + b``
    d                                     squared difference, the mean over the features of a block
                                          and then over the blocks: each block counts as much
    C                                     price of a violated margin; smaller is smoother
    gamma                                 how local the kernel is; features of unit variance taken
                                          to be independent, 1 is the usual "scale"

Features are standardised by mean and deviation of what is solved for. C and gamma are by default
the best of `PRICES` and `GAMMAS` over its persons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor, nn

from microexpr.errors import UserError

PRICES = (0.3, 1.0, 3.0, 10.0, 30.0)
GAMMAS = (0.1, 0.3, 1.0)
FOLDS = 5
NEVER = -1e4  # margin of a class that the training set lacks: its probability is exactly 0
Features = NDArray[np.float64]
Labels = NDArray[np.int64]
Pair = tuple[float, float]  # gamma, C


class GaussianMachine(nn.Module):
    """One Gaussian machine for each class. Before `solve` all margins are zero.

    Args:
        classes: Number of classes.
        blocks: Features of each block.
        C: Positive; None: chosen in `solve` by cross-validation that keeps persons apart.
        gamma: Likewise.
        balanced: Whether classes weigh inversely to their frequency.

    Raises:
        UserError: A setting out of its range.
    """

    weight: Tensor
    bias: Tensor
    support: Tensor
    mean: Tensor
    scale: Tensor
    width: Tensor

    def __init__(
        self,
        classes: int,
        blocks: Sequence[int],
        C: float | None = None,
        gamma: float | None = None,
        balanced: bool = True,
    ) -> None:
        super().__init__()
        check_positive(C=C, gamma=gamma)
        self.classes, self.C, self.gamma, self.balanced = classes, C, gamma, balanced
        self._shares = np.concatenate([np.full(n, (n * len(blocks)) ** 0.5) for n in blocks])
        features = len(self._shares)
        self.register_buffer("weight", torch.zeros(classes, 0))
        self.register_buffer("bias", torch.zeros(classes))
        self.register_buffer("support", torch.zeros(0, features))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("width", torch.ones(()))
        self.register_load_state_dict_pre_hook(_make_room)  # type: ignore[no-untyped-call]

    @property
    def solved(self) -> bool:
        """Whether `solve` has been called."""
        return len(self.support) > 0

    def forward(self, x: Tensor) -> Tensor:
        """``(b, features)`` -> margins ``(b, classes)``."""
        near = _distances((x - self.mean) / self.scale, self.support)
        return F.linear(torch.exp(-self.width * near), self.weight, self.bias)

    def solve(self, x: Features, y: Labels, persons: Labels, seed: int) -> None:
        """Keeps the samples that any of the machines leans on.

        Raises:
            UserError: No C or gamma given and fewer than two persons.
        """
        grid = [(g, c) for g in _given(self.gamma, GAMMAS) for c in _given(self.C, PRICES)]
        gamma, C = grid[0] if len(grid) == 1 else self._chosen(x, y, persons, seed, grid)
        mean, scale = self._scaling(x)
        points = torch.as_tensor((x - mean) / scale)
        weights, offsets = self._machines(np.exp(-gamma * _distances(points, points).numpy()), y, C)
        used = np.flatnonzero(np.any(weights != 0, axis=0))
        found = {
            "weight": weights[:, used],
            "bias": offsets,
            "support": points[used],
            "mean": mean,
            "scale": scale,
            "width": gamma,
        }
        for name, value in found.items():
            setattr(self, name, torch.as_tensor(value).to(self.bias))

    def _scaling(self, x: Features) -> tuple[Features, Features]:
        """Mean and scale of each feature, so that squared differences sum to d."""
        scaler = StandardScaler().fit(x)
        return scaler.mean_, scaler.scale_ * self._shares

    def _machines(self, kernel: Features, y: Labels, C: float) -> tuple[Features, Features]:
        """Weights ``(classes, n)`` and offsets ``(classes,)``, a machine for each class in y."""
        weights = np.zeros((self.classes, len(y)))
        offsets = np.full(self.classes, NEVER)
        for label in np.unique(y):
            weigh = "balanced" if self.balanced else None
            machine = SVC(C=C, kernel="precomputed", class_weight=weigh).fit(kernel, y == label)
            weights[label, machine.support_] = machine.dual_coef_[0]
            offsets[label] = machine.intercept_[0]
        return weights, offsets

    def _chosen(
        self, x: Features, y: Labels, persons: Labels, seed: int, grid: Sequence[Pair]
    ) -> Pair:
        """Gamma and C of the best macro F1 over folds of whole persons; of equals the first."""
        said = np.zeros((len(grid), len(y)), np.int64)
        for train, test in persons_apart(persons, seed).split(x, y, persons):
            mean, scale = self._scaling(x[train])
            own, other = (torch.as_tensor((x[part] - mean) / scale) for part in (train, test))
            inside, across = _distances(own, own).numpy(), _distances(other, own).numpy()
            for i, (gamma, C) in enumerate(grid):
                weights, offsets = self._machines(np.exp(-gamma * inside), y[train], C)
                margins = np.exp(-gamma * across) @ weights.T + offsets
                said[i, test] = margins.argmax(axis=1)
        scores = [f1_score(y, guess, average="macro") for guess in said]
        return grid[int(np.argmax(scores))]


def persons_apart(persons: Labels, seed: int) -> StratifiedGroupKFold:
    """Folds of whole persons, inside a training set.

    Raises:
        UserError: Clips of one person only.
    """
    folds = min(FOLDS, len(np.unique(persons)))
    if folds < 2:
        raise UserError("choosing C needs clips of at least two persons: give C")
    return StratifiedGroupKFold(folds, shuffle=True, random_state=seed)


def check_positive(**settings: float | None) -> None:
    """Refuses numbers that are not above 0; None stands for "to be chosen".

    Raises:
        UserError: One of them is not.
    """
    for name, value in settings.items():
        if value is not None and not value > 0:
            raise UserError(f"{name} must be positive, got {value}")


def _given(value: float | None, otherwise: tuple[float, ...]) -> tuple[float, ...]:
    return otherwise if value is None else (value,)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances ``(n, features), (m, features) -> (n, m)``."""
    return torch.cdist(a, b).square()


def _make_room(module: nn.Module, state: Mapping[str, Tensor], prefix: str, *_: Any) -> None:
    """Before loading: as many support vectors as were saved."""
    for name in ("support", "weight"):
        if prefix + name in state:
            setattr(module, name, torch.empty_like(state[prefix + name]))
