"""CapsuleNet for micro-expression recognition.

Van Quang, Chun and Tokuyama, IEEE FG 2019 (MEGC 2019); code davidnvq/me_recognition.

Glossary (symbol: shape at 224 pixels)

    x           (b, 3, 224, 224)  the apex frame in colour
    backbone    (b, 256, 28, 28)  ResNet-18 up to layer 3, its maximum pooling skipped
    conv1       (b, 256, 20, 20)  9 x 9, ReLU
    u_i         (b, 1152, 8)      primary capsules: 9 x 9 of stride 2, 32 capsules at 6 x 6 places
    u_j|i       (b, classes, 1152, 16)   each class's prediction from each capsule
    c_ij        (b, classes, 1152)       coupling: softmax over classes, three routings
    v_j         (b, classes, 16)  class capsules; their lengths are the scores

Departures: none in the net. The backbone starts at random unless `load_backbone` is given
torchvision's ImageNet weights; the public code then freezes conv1, bn1 and layer 1, which the
recipe does with ``freeze = ["backbone.conv1", "backbone.bn1", "backbone.layer1"]``. Augmentation
and upsampling by further frames of the clip (Adam 1e-4, 30 epochs, batches of 32) are a matter of
the experiment file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.models.base import Classifier, check_input
from microexpr.nn.pictures import imagenet
from microexpr.nn.resnet import ResNet18
from microexpr.nn.targets import as_mass

POSITIVE, NEGATIVE, DOWN = 0.99, 0.01, 0.5  # margins and weight of the absent classes
APEX = ("apex_r", "apex_g", "apex_b")


class CapsuleNet(Classifier):
    """CapsuleNet: 13 842 496 parameters with 3 classes at 224 pixels.

    Args:
        classes: Number of classes.
        image: Side of the input in pixels, at least 136.
        width: Channels of the backbone's first layer; the capsule layers have four times as many.
        types: Primary capsules at each place.
        routings: Rounds of routing by agreement, at least 1.

    Raises:
        UserError: A setting out of its range.
    """

    paper = "Van Quang et al., CapsuleNet for Micro-Expression Recognition, FG 2019"
    uncertain = "starts without ImageNet weights unless they are given"
    eats = Input(APEX, 224, "tvl1", "none")
    smallest: ClassVar[dict[str, Any]] = {"image": 136, "width": 2, "types": 2}

    def __init__(
        self,
        classes: int,
        image: int = 224,
        width: int = 64,
        types: int = 32,
        routings: int = 3,
    ) -> None:
        super().__init__()
        side = (-(-image // 8) - 8 - 9) // 2 + 1
        if side < 1 or routings < 1 or types < 1:
            raise UserError(
                f"CapsuleNet needs an image of at least 136 pixels, types and routings of at "
                f"least 1, got {image}, {types}, {routings}"
            )
        self.classes, self.routings = classes, routings
        self.eats = Input(APEX, image, "tvl1", "none")
        self.backbone = ResNet18(layers=3, width=width, pool=False)
        wide = self.backbone.width
        self.conv1 = nn.Conv2d(wide, wide, 9)
        self.primary = nn.Conv2d(wide, 8 * types, 9, 2)
        self.weight = nn.Parameter(0.01 * torch.randn(classes, types * side**2, 16, 8))

    def forward(self, x: Tensor) -> Tensor:
        """``(b, 3, image, image)``, 0..255 -> lengths of the class capsules ``(b, classes)``."""
        check_input(x, self.eats)
        x = F.relu(self.conv1(self.backbone(imagenet(x))))
        capsules = self.primary(x).permute(0, 2, 3, 1).reshape(len(x), -1, 8)
        guesses = torch.einsum("jiok,bik->bjio", self.weight, squash(capsules))
        lengths: Tensor = route(guesses, self.routings).norm(dim=2)
        return lengths

    def loss(self, x: Tensor, y: Tensor, progress: float) -> Tensor:
        """The margin loss: ``(.99 - v)+^2`` for the class, half of ``(v - .01)+^2`` against it."""
        lengths = self(x)
        mass = as_mass(y, self.classes)
        against = mass.sum(dim=1, keepdim=True) - mass
        short = F.relu(POSITIVE - lengths).square()
        long = F.relu(lengths - NEGATIVE).square()
        return (mass * short + DOWN * against * long).sum() / len(x)

    @torch.no_grad()
    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The longest capsule, and the lengths divided by their sum."""
        lengths = self(x).float() + 1e-12
        shares = lengths / lengths.sum(dim=1, keepdim=True)
        return lengths.argmax(dim=1), self.calibrated(shares)

    def load_backbone(self, source: str | Path | Mapping[str, Any]) -> CapsuleNet:
        """Loads torchvision's weights of ResNet-18 into the backbone; returns this model.

        Raises:
            UserError: No such file, or keys or shapes that differ.
        """
        self.backbone.load_torchvision(source)
        return self


def squash(x: Tensor) -> Tensor:
    """Shortens vectors of the last axis to lengths below one: ``n^2 / (1 + n^2)`` (Sabour, 2017).

    >>> round(squash(torch.tensor([3.0, 4.0])).norm().item() * 26, 3)
    25.0
    """
    square = x.square().sum(dim=-1, keepdim=True)
    return x * torch.sqrt(square.clamp(min=1e-16)) / (1 + square)


def route(guesses: Tensor, rounds: int) -> Tensor:
    """Routing by agreement (Sabour et al. 2017, procedure 1).

    Only the last round passes a gradient to the guesses, as in the public code.

    Args:
        guesses: ``(b, classes, capsules, d)``.
        rounds: At least 1.

    Returns:
        ``(b, classes, d)``.
    """
    still = guesses.detach()
    agreement = torch.zeros_like(still[..., 0])
    for _ in range(rounds - 1):
        sums = torch.einsum("bji,bjio->bjo", agreement.softmax(dim=1), still)
        agreement = agreement + torch.einsum("bjio,bjo->bji", still, squash(sums))
    return squash(torch.einsum("bji,bjio->bjo", agreement.softmax(dim=1), guesses))
