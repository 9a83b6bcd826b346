"""Target mass: what losses other than cross-entropy make of labels (`Classifier.loss`)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def as_mass(y: Tensor, classes: int) -> Tensor:
    """Labels as rows of target mass.

    Args:
        y: ``(b,)`` int64 labels, or ``(b, classes)`` mass, which is returned as it is.
        classes: Number of classes.

    >>> as_mass(torch.tensor([1, 0]), 2)
    tensor([[0., 1.],
            [1., 0.]])
    """
    return y if y.is_floating_point() else F.one_hot(y, classes).float()


def binary_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Binary cross-entropy of every class against the rest, summed over classes, mean of the batch.

    A row of mass w with share p in a class weighs w p for it and w (1 - p) against it.

    Args:
        logits: ``(b, classes)``.
        y: ``(b,)`` labels or ``(b, classes)`` mass.
    """
    mass = as_mass(y, logits.shape[1]).to(logits.dtype)
    against = mass.sum(dim=1, keepdim=True) - mass
    return (mass * F.softplus(-logits) + against * F.softplus(logits)).sum() / len(logits)


def focal_loss(logits: Tensor, y: Tensor, gamma: float) -> Tensor:
    """Focal loss (Lin et al., ICCV 2017): cross-entropy times ``(1 - p)^gamma``.

    Args:
        logits: ``(b, classes)``.
        y: ``(b,)`` labels or ``(b, classes)`` mass.
        gamma: Not negative; 0 is cross-entropy.
    """
    mass = as_mass(y, logits.shape[1]).to(logits.dtype)
    log_p = logits.log_softmax(dim=1)
    missing = -torch.expm1(log_p)  # 1 - p without cancellation
    return -(mass * missing.clamp(min=0) ** gamma * log_p).sum() / len(logits)
