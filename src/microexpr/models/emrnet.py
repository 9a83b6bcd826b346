"""EMR: A Neural Micro-Expression Recognizer, first of MEGC 2019.

Liu, Du, Zheng and Gedeon, IEEE FG 2019; code xiaobaishu0097/MEGC2019.

Glossary (symbol: shape at 224 pixels)

    x           (b, 3, 224, 224)  flow onset to apex of the magnified clip
    maps        (b, 512, 7, 7)    ResNet-18
    top, bottom (b, 64) each      rows 0-2 and rows 3-6, averaged, fully connected, tanh, dropout .1
    heads       (b, classes) x 3  on both parts, on the top, on the bottom; the first decides
    domain      (b,)              micro against macro, behind a reversed gradient

The expression-domain discriminator needs clips that are known to be macro-expressions (CK+ in the
paper). `Classifier.loss` is not told which of a batch are, so it leaves the discriminator out;
with `adversary` the net has one, and `adversarial_loss` takes the missing argument.

Departures: the backbone starts at random unless `load_backbone` is given weights (the paper's are
those of a ResNet-18 trained on faces). Magnification belongs to preprocessing. The flow pictures'
colours are not documented: here u, v and magnitude. The recipe (Adam, backbone 1e-5, heads 1e-3
halved every ten epochs, weight decay 1e-6, gradients clipped at 1, batches of 32, 100 epochs) has
one learning rate here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.models.base import Classifier, check_input
from microexpr.nn.resnet import ResNet18


class EmrNet(Classifier):
    """EMR: 11 242 953 parameters with 3 classes, 11 253 322 with the discriminator.

    Args:
        classes: Number of classes.
        channels: Planes of the input.
        image: Side of the input in pixels, at least 64.
        normalisation: See `microexpr.inputs.Input`.
        width: Channels of the backbone's first layer.
        adversary: Whether there is a domain discriminator.

    Raises:
        UserError: An image whose last map has fewer than two rows.
    """

    paper = "Liu et al., A Neural Micro-Expression Recognizer, FG 2019"
    uncertain = "colours of the flow pictures; macro-expression clips (CK+) are not at hand"
    eats = Input(("u", "v", "m"), 224, "tvl1", "robust")
    smallest: ClassVar[dict[str, Any]] = {"image": 64, "width": 2}

    def __init__(
        self,
        classes: int,
        channels: Sequence[str] = ("u", "v", "m"),
        image: int = 224,
        normalisation: str = "robust",
        width: int = 64,
        adversary: bool = False,
    ) -> None:
        super().__init__()
        rows = -(-image // 32)
        if rows < 2:
            raise UserError(f"EMR splits its last map into two parts: image {image} is too small")
        self.classes = classes
        self.eats = Input(tuple(channels), image, "tvl1", normalisation)
        self.split = rows * 3 // 7 or 1
        self.backbone = ResNet18(len(channels), width=width)
        self.fc_top = _part(self.backbone.width)
        self.fc_bottom = _part(self.backbone.width)
        self.classifier = nn.Linear(128, classes)
        self.classifier_top = nn.Linear(64, classes)
        self.classifier_bottom = nn.Linear(64, classes)
        self.discriminator = _discriminator() if adversary else None
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, channels, image, image)`` -> logits ``(b, classes)`` of both parts together."""
        out: Tensor = self.classifier(torch.cat(self._parts(x), dim=1))
        return out

    def loss(self, x: Tensor, y: Tensor, progress: float) -> Tensor:
        """The sum of the three heads' cross-entropies."""
        return self._label_loss(*self._parts(x), y)

    def adversarial_loss(self, x: Tensor, y: Tensor, macro: Tensor, steps: int) -> Tensor:
        """`loss`, plus what keeps the features from telling macro from micro clips.

        Args:
            x: As in `loss`.
            y: As in `loss`.
            macro: ``(b,)`` bool, which clips show macro-expressions.
            steps: Training steps done; the reversed gradient grows with them
                (``2 / (1 + exp(-steps / 1000)) - 1``).

        Raises:
            UserError: The model has no adversary.
        """
        if self.discriminator is None:
            raise UserError("this EMR has no discriminator: create it with adversary=True")
        top, bottom = self._parts(x)
        strength = 2 / (1 + math.exp(-steps / 1000)) - 1
        features = reversed_gradient(torch.cat([top, bottom], dim=1), strength)
        domain = self.discriminator(features).squeeze(1)
        wanted = (~macro).to(domain.dtype)
        return self._label_loss(top, bottom, y) + F.binary_cross_entropy_with_logits(domain, wanted)

    def load_backbone(self, source: str | Path | Mapping[str, Any]) -> EmrNet:
        """Loads weights of a ResNet-18 under torchvision's names; returns this model.

        Raises:
            UserError: No such file, or keys or shapes that differ.
        """
        self.backbone.load_torchvision(source)
        return self

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        check_input(x, self.eats)
        maps = self.backbone(x)
        top = self.fc_top(maps[:, :, : self.split].mean(dim=(2, 3)))
        bottom = self.fc_bottom(maps[:, :, self.split :].mean(dim=(2, 3)))
        return top, bottom

    def _label_loss(self, top: Tensor, bottom: Tensor, y: Tensor) -> Tensor:
        whole = F.cross_entropy(self.classifier(torch.cat([top, bottom], dim=1)), y)
        parts = F.cross_entropy(self.classifier_top(top), y)
        return whole + parts + F.cross_entropy(self.classifier_bottom(bottom), y)


def reversed_gradient(x: Tensor, strength: float) -> Tensor:
    """Its argument; the gradient comes back negated, times `strength` (Ganin, Lempitsky 2015)."""
    return x.detach() * (1 + strength) - x * strength


def _part(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 64), nn.Tanh(), nn.Dropout(0.1))


def _discriminator() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(64, 32),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(32, 1),
    )
