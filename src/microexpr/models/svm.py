"""A support vector machine on flow: the baseline that many a network does not reach.

Fan et al., LIBLINEAR, JMLR 9 (2008), and with a Gaussian kernel Chang and Lin, LIBSVM, ACM TIST 2
(2011), both through scikit-learn; one machine per class against the rest.

Glossary (symbol: shape)

    x       (n, channels, image, image)   flow, laid flat
    w, b    (classes, features), (classes,)   hyperplanes of the linear machine
    s, a    (m, features), (classes, m)   support vectors and their weights; a margin is then
                                          ``sum_j a_j exp(-gamma |x - s_j|^2 / features) + b``
    C                                     price of a violated margin; smaller is smoother
    gamma                                 how local the kernel is; features of unit variance taken
                                          to be independent, 1 is the usual "scale"

C and gamma are by default the best of `GRID`, or of `RBF_GRID` and `GAMMAS`, over the training
persons.

Departures: each feature is standardised by mean and deviation of the training set (found inside
`solve`, so no test clip is seen); in the linear machine the scaling is folded into w and b.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.models.base import ClosedForm, check_input, check_setting

GRID = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)  # a larger C changes nothing here but the time
RBF_GRID = (0.3, 1.0, 3.0, 10.0, 30.0)
GAMMAS = (0.1, 0.3, 1.0)
KERNELS = ("linear", "rbf")
FOLDS = 5
Features = NDArray[np.float64]
Labels = NDArray[np.int64]
Pair = tuple[float, float]  # gamma, C
_NEVER = -1e4  # margin of a class that the training set lacks: its probability is exactly 0
_LOSSES = ("squared_hinge", "hinge")


class Svm(ClosedForm):
    """Linear or Gaussian SVM. Before `solve` all margins are zero.

    Args:
        classes: Number of classes.
        kernel: ``linear`` or ``rbf``.
        C: Positive; None: chosen in `solve` by cross-validation that keeps persons apart.
        gamma: Likewise; of the kernel ``rbf`` only.
        margin_loss: Of the linear machine: ``squared_hinge`` or ``hinge``.
        balanced: Whether classes weigh inversely to their frequency.
        channels: Planes of the input.
        image: Side of the input in pixels.
        normalisation: See `microexpr.inputs.Input`.

    Raises:
        UserError: A setting out of its range.
    """

    paper = "Fan et al., LIBLINEAR, JMLR 2008"
    eats = Input(("u", "v", "strain"), 28, "tvl1", "minmax8")
    standing = "ours"
    smallest: ClassVar[dict[str, Any]] = {"image": 8}
    weight: Tensor
    bias: Tensor
    support: Tensor
    mean: Tensor
    scale: Tensor
    width: Tensor

    def __init__(
        self,
        classes: int,
        kernel: str = "linear",
        C: float | None = None,
        gamma: float | None = None,
        margin_loss: str = "squared_hinge",
        balanced: bool = True,
        channels: Sequence[str] = ("u", "v", "strain"),
        image: int = 28,
        normalisation: str = "minmax8",
    ) -> None:
        super().__init__()
        for name, value in (("C", C), ("gamma", gamma)):
            if value is not None and not value > 0:
                raise UserError(f"{name} must be positive, got {value}")
        check_setting("margin_loss", margin_loss, _LOSSES)
        check_setting("kernel", kernel, KERNELS)
        self.classes, self.C, self.margin_loss, self.balanced = classes, C, margin_loss, balanced
        self.kernel, self.gamma = kernel, gamma
        self.eats = Input(tuple(channels), image, "tvl1", normalisation)
        features = len(self.eats.channels) * image**2
        self.register_buffer("bias", torch.zeros(classes))
        if kernel == "linear":
            self.register_buffer("weight", torch.zeros(classes, features))
            return
        self.register_buffer("weight", torch.zeros(classes, 0))
        self.register_buffer("support", torch.zeros(0, features))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("width", torch.ones(()))
        self.register_load_state_dict_pre_hook(_make_room)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """``(b, channels, image, image)`` -> margins ``(b, classes)``.

        `predict` takes their softmax for probabilities: ordered rightly, not calibrated.
        """
        check_input(x, self.eats)
        if self.kernel == "linear":
            return F.linear(x.flatten(1), self.weight, self.bias)
        near = _near((x.flatten(1) - self.mean) / self.scale, self.support)
        return F.linear(torch.exp(-self.width * near), self.weight, self.bias)

    def solve(self, x: Tensor, y: Tensor, persons: Tensor, seed: int) -> None:
        """Fits scaler and machine; a class that is absent from y is never predicted.

        Raises:
            UserError: Fewer than two classes in y; no C given and fewer than two persons.
        """
        check_input(x, self.eats)
        features, labels = x.flatten(1).double().cpu().numpy(), y.cpu().numpy()
        if len(np.unique(labels)) < 2:
            raise UserError("an SVM needs clips of at least two classes to train on")
        who = persons.cpu().numpy()
        if self.kernel == "rbf":
            self._solve_rbf(features, labels, who, seed)
            return
        C = self.C or self._chosen(features, labels, who, seed)
        scaler = StandardScaler().fit(features)
        machine = self._machine(C, seed).fit(scaler.transform(features), labels)
        planes, offsets = machine.coef_ / scaler.scale_, machine.intercept_
        if len(planes) == 1:  # two classes: one plane, positive on the side of the second
            planes, offsets = np.concatenate([-planes, planes]), np.concatenate([-offsets, offsets])
        self.weight.zero_()
        self.bias.fill_(_NEVER)
        present = torch.as_tensor(machine.classes_)
        self.weight[present] = torch.as_tensor(planes).to(self.weight)
        self.bias[present] = torch.as_tensor(offsets - planes @ scaler.mean_).to(self.bias)

    def _machine(self, C: float, seed: int) -> LinearSVC:
        return LinearSVC(
            C=C,
            loss=self.margin_loss,
            class_weight="balanced" if self.balanced else None,
            dual=True,
            max_iter=20_000,
            random_state=seed,
        )

    def _chosen(self, x: Features, y: Labels, persons: Labels, seed: int) -> float:
        """The C of the best macro F1 pooled over folds of whole persons; of equals the smallest."""
        split = _split(persons, seed)
        scores = [
            f1_score(
                y,
                cross_val_predict(
                    make_pipeline(StandardScaler(), self._machine(C, seed)),
                    x,
                    y,
                    groups=persons,
                    cv=split,
                ),
                average="macro",
            )
            for C in GRID
        ]
        return GRID[int(np.argmax(scores))]

    def _solve_rbf(self, x: Features, y: Labels, persons: Labels, seed: int) -> None:
        """Keeps the clips that any of the machines leans on."""
        grid = [(g, c) for g in self._gammas() for c in ((self.C,) if self.C else RBF_GRID)]
        gamma, C = grid[0] if len(grid) == 1 else self._chosen_rbf(x, y, persons, seed, grid)
        scaler = StandardScaler().fit(x)
        points = torch.as_tensor(scaler.transform(x))
        near = _near(points, points).numpy()
        weights, offsets = self._rbf(np.exp(-gamma * near), y, C)
        used = np.flatnonzero(np.any(weights != 0, axis=0))
        found = {
            "weight": weights[:, used],
            "bias": offsets,
            "support": points[used],
            "mean": scaler.mean_,
            "scale": scaler.scale_,
            "width": gamma,
        }
        for name, value in found.items():
            setattr(self, name, torch.as_tensor(value).to(self.bias))

    def _gammas(self) -> tuple[float, ...]:
        return (self.gamma,) if self.gamma else GAMMAS

    def _rbf(self, kernel: Features, y: Labels, C: float) -> tuple[Features, Features]:
        """Weights ``(classes, n)`` and offsets ``(classes,)``, a machine for each class in y."""
        weights = np.zeros((self.classes, len(y)))
        offsets = np.full(self.classes, _NEVER)
        for label in np.unique(y):
            weigh = "balanced" if self.balanced else None
            machine = SVC(C=C, kernel="precomputed", class_weight=weigh).fit(kernel, y == label)
            weights[label, machine.support_] = machine.dual_coef_[0]
            offsets[label] = machine.intercept_[0]
        return weights, offsets

    def _chosen_rbf(
        self, x: Features, y: Labels, persons: Labels, seed: int, grid: Sequence[Pair]
    ) -> Pair:
        """The gamma and C of the best macro F1 as in `_chosen`; of equals the first."""
        said = np.zeros((len(grid), len(y)), np.int64)
        for train, test in _split(persons, seed).split(x, y, persons):
            scaler = StandardScaler().fit(x[train])
            own, other = (torch.as_tensor(scaler.transform(x[part])) for part in (train, test))
            inside, across = _near(own, own).numpy(), _near(other, own).numpy()
            for i, (gamma, C) in enumerate(grid):
                weights, offsets = self._rbf(np.exp(-gamma * inside), y[train], C)
                margins = np.exp(-gamma * across) @ weights.T + offsets
                said[i, test] = margins.argmax(axis=1)
        scores = [f1_score(y, guess, average="macro") for guess in said]
        return grid[int(np.argmax(scores))]


def _split(persons: Labels, seed: int) -> StratifiedGroupKFold:
    """Folds of whole persons, inside the training set.

    Raises:
        UserError: Clips of one person only.
    """
    folds = min(FOLDS, len(np.unique(persons)))
    if folds < 2:
        raise UserError("choosing C needs clips of at least two persons: give C")
    return StratifiedGroupKFold(folds, shuffle=True, random_state=seed)


def _near(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference over the features, ``(n, features), (m, features) -> (n, m)``."""
    return torch.cdist(a, b).square() / a.shape[1]


def _make_room(module: nn.Module, state: Mapping[str, Tensor], prefix: str, *_: Any) -> None:
    """Before loading: as many support vectors as were saved."""
    for name in ("support", "weight"):
        if prefix + name in state:
            setattr(module, name, torch.empty_like(state[prefix + name]))
