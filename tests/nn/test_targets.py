from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from microexpr.nn.targets import as_mass, binary_loss, focal_loss

MASS = torch.tensor([[0.2, 0.6, 0.0], [0.0, 0.0, 1.5], [0.5, 0.5, 0.0]], dtype=torch.float64)
LOGITS = torch.tensor([[1.0, -2.0, 0.3], [0.1, 4.0, -1.0], [9.0, -9.0, 0.0]], dtype=torch.float64)


def test_labels_are_mass_of_one() -> None:
    y = torch.tensor([2, 0, 1])
    assert torch.equal(as_mass(y, 3), torch.eye(3)[y])
    assert as_mass(MASS, 3) is MASS
    for loss in (binary_loss, lambda a, b: focal_loss(a, b, 2.0)):
        assert torch.equal(loss(LOGITS, y), loss(LOGITS, torch.eye(3)[y]))


def test_binary_loss_by_hand() -> None:
    total = 0.0
    for row, logits in zip(MASS.tolist(), LOGITS.tolist(), strict=True):
        for share, logit in zip(row, logits, strict=True):
            p = 1 / (1 + math.exp(-logit))
            total -= share * math.log(p) + (sum(row) - share) * math.log(1 - p)
    assert math.isclose(float(binary_loss(LOGITS, MASS)), total / 3, rel_tol=1e-9)


def test_focal_loss_by_hand() -> None:
    total = 0.0
    for row, logits in zip(MASS.tolist(), LOGITS.tolist(), strict=True):
        norm = sum(math.exp(v) for v in logits)
        for share, logit in zip(row, logits, strict=True):
            p = math.exp(logit) / norm
            total -= share * (1 - p) ** 2 * math.log(p)
    assert math.isclose(float(focal_loss(LOGITS, MASS, 2.0)), total / 3, rel_tol=1e-9)
    torch.testing.assert_close(focal_loss(LOGITS, MASS, 0.0), F.cross_entropy(LOGITS, MASS))


def test_focal_loss_has_a_gradient_at_certainty() -> None:
    logits = torch.tensor([[80.0, 0.0]], requires_grad=True)
    torch.autograd.backward(focal_loss(logits, torch.tensor([0]), 2.0))
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())
