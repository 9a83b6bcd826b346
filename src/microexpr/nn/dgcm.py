"""Dual-Granularity Classification Module of MERba: a coarse head and a fine head (section III-C).

Works for any label scheme that declares coarse classes. Symbols: g coarse classes, f fine classes
(the members of coarse classes that have more than one member).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.errors import UserError


class CoarseToFine(nn.Module):
    """Two parallel linear heads: over the coarse classes, and over the fine ones.

    Args:
        dim: Width of the features.
        coarse: For each class the index of its coarse class, which must be 0, 1, ... without gaps.

    Attributes:
        coarse_of: ``(classes,)`` the map as a tensor.
        fine_of: ``(f,)`` the classes that the fine head tells apart, ascending.

    Raises:
        UserError: Gaps in the map, one coarse class only, or none with two members.
    """

    coarse_of: Tensor
    fine_of: Tensor

    def __init__(self, dim: int, coarse: Sequence[int]) -> None:
        super().__init__()
        groups = sorted(set(coarse))
        if groups != list(range(len(groups))) or len(groups) < 2:
            raise UserError(f"coarse classes must be numbered 0, 1, ... and at least 2: {coarse}")
        fine = [c for c, group in enumerate(coarse) if list(coarse).count(group) > 1]
        if not fine:
            raise UserError("no coarse class has two members: take head='linear'")
        self.register_buffer("coarse_of", torch.tensor(list(coarse)), persistent=False)
        self.register_buffer("fine_of", torch.tensor(fine), persistent=False)
        self.coarse = nn.Linear(dim, len(groups))
        self.fine = nn.Linear(dim, len(fine))

    def forward(self, features: Tensor) -> Tensor:
        """``(b, dim)`` -> ``(b, g + f)``: coarse logits, then fine logits."""
        return torch.cat([self.coarse(features), self.fine(features)], dim=1)

    def loss(self, logits: Tensor, y: Tensor, progress: float) -> Tensor:
        """Eq. 6 and 7: ``0.5 (L_coarse + alpha L_fine)``, ``alpha = min(0.5 + 2 progress, 2)``.

        L_coarse is the cross-entropy of the coarse classes over the batch; L_fine the mean
        cross-entropy inside the coarse class over those samples whose true class shares its coarse
        class with another (the true negatives), weighted by their mass; 0 if there are none.

        Args:
            logits: Of `forward`.
            y: ``(b,)`` labels or ``(b, classes)`` target mass.
            progress: epoch / epochs.
        """
        coarse, fine = self._log_probabilities(logits)
        mass = y if y.is_floating_point() else F.one_hot(y, len(self.coarse_of))
        mass = mass.to(coarse.dtype)
        coarse_mass = mass.new_zeros(coarse.shape).index_add(1, self.coarse_of, mass)
        coarse_loss = -(coarse_mass * coarse).sum() / len(coarse)
        fine_mass = mass[:, self.fine_of]
        total = fine_mass.sum()
        fine_sum = -(fine_mass * fine).sum()
        fine_loss = fine_sum / torch.where(total > 0, total, torch.ones_like(total))
        alpha = min(0.5 + 2.0 * progress, 2.0)
        return 0.5 * (coarse_loss + alpha * fine_loss)

    def predict(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The paper's two rules, and the product of the heads.

        Label: the winning coarse class; where it has several members, the winning fine class among
        them. Probability of a class: that of its coarse class times its share within it.

        Label and argmax of the probabilities disagree when the winning coarse class is split so
        evenly among its members that each falls below a class of another coarse class: coarse
        negative .5 and positive .4, with four equal negatives, gives a negative label although
        happiness has .4 and each negative .125.

        Returns:
            ``(b,)`` int64 labels and ``(b, classes)`` probabilities that sum to one.
        """
        coarse, fine = self._log_probabilities(logits)
        nowhere = fine.new_zeros(fine.shape[0], len(self.coarse_of))
        inside = nowhere.index_copy(1, self.fine_of, fine)
        won = coarse.argmax(dim=1, keepdim=True)
        members = self.coarse_of.unsqueeze(0) == won
        labels = inside.masked_fill(~members, -torch.inf).argmax(dim=1)
        return labels, (coarse[:, self.coarse_of] + inside).exp()

    def _log_probabilities(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Log-softmax of the coarse head, and of the fine head within each coarse class."""
        groups = self.coarse.out_features
        coarse, fine = logits[:, :groups].float(), logits[:, groups:].float()
        group = self.coarse_of[self.fine_of]
        same = group.unsqueeze(0) == group.unsqueeze(1)
        totals = fine.unsqueeze(1).expand(-1, len(group), -1).masked_fill(~same, -torch.inf)
        return coarse.log_softmax(dim=1), fine - totals.logsumexp(dim=2)
