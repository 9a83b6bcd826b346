"""A support vector machine on flow: the baseline that many a network does not reach.

Fan et al., LIBLINEAR, JMLR 9 (2008), and with a Gaussian kernel Chang and Lin, LIBSVM, ACM TIST 2
(2011), both through scikit-learn; one machine per class against the rest.

Glossary (symbol: shape)

    x       (n, channels, image, image)   flow, laid flat
    w, b    (classes, features), (classes,)   hyperplanes of the linear machine
    C                                     price of a violated margin; smaller is smoother

The Gaussian machine and its symbols: `microexpr.nn.gaussian`. C is by default the best of `GRID`
over the training persons.

Departures: each feature is standardised by mean and deviation of the training set (found inside
`solve`, so no test clip is seen); in the linear machine the scaling is folded into w and b.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import Tensor

from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.models.base import ClosedForm, check_input, check_setting
from microexpr.nn.gaussian import (
    NEVER,
    Features,
    GaussianMachine,
    Labels,
    check_positive,
    persons_apart,
)

GRID = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)  # a larger C changes nothing here but the time
KERNELS = ("linear", "rbf")
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
        check_positive(C=C, gamma=gamma)
        check_setting("margin_loss", margin_loss, _LOSSES)
        check_setting("kernel", kernel, KERNELS)
        self.classes, self.C, self.margin_loss, self.balanced = classes, C, margin_loss, balanced
        self.eats = Input(tuple(channels), image, "tvl1", normalisation)
        features = len(self.eats.channels) * image**2
        self.machine = None
        if kernel == "rbf":
            self.machine = GaussianMachine(classes, [features], C, gamma, balanced)
            return
        self.register_buffer("weight", torch.zeros(classes, features))
        self.register_buffer("bias", torch.zeros(classes))

    def forward(self, x: Tensor) -> Tensor:
        """``(b, channels, image, image)`` -> margins ``(b, classes)``.

        `predict` takes their softmax for probabilities: ordered rightly, not calibrated.
        """
        check_input(x, self.eats)
        if self.machine is None:
            return F.linear(x.flatten(1), self.weight, self.bias)
        margins: Tensor = self.machine(x.flatten(1))
        return margins

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
        if self.machine is not None:
            self.machine.solve(features, labels, who, seed)
            return
        C = self.C or self._chosen(features, labels, who, seed)
        scaler = StandardScaler().fit(features)
        machine = self._machine(C, seed).fit(scaler.transform(features), labels)
        planes, offsets = machine.coef_ / scaler.scale_, machine.intercept_
        if len(planes) == 1:  # two classes: one plane, positive on the side of the second
            planes, offsets = np.concatenate([-planes, planes]), np.concatenate([-offsets, offsets])
        self.weight.zero_()
        self.bias.fill_(NEVER)
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
        split = persons_apart(persons, seed)
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
