"""OFF-ApexNet: Optical Flow Features from Apex frame Network.

Gan, Liong, Yau, Huang and Tan, Signal Processing: Image Communication 74 (2019), arXiv 1805.08699.

Glossary (symbol: shape)

    u, v        (b, 1, 28, 28)    flow onset to apex, each through a stream of its own
    maps        (b, 6, 14, 14), (b, 16, 7, 7)   convolution 5 x 5, ReLU, maximum 2 x 2, twice
    features    (b, 1568)         both streams laid flat
    hidden      (b, 1024) twice   fully connected, ReLU, dropout .5

`form="meb"` is the net of the same name in Varanka et al., TAFFC 2024 (tvaranka/meb): one stream
over both planes, 3 x 3 convolutions, one hidden layer, dropout before it too. Their leak
measurement (.7032 honest, .8390 with the epoch picked on the test person) was made with it.

Departures: ReLU between the convolutions and the dropout of .5 in the hidden layers are those of
public ports; the paper's own code is not public. Flow stays in pixels, as read; its unit matters to
a net without normalisation, so archives of stretched flow need `normalisation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from microexpr.inputs import Input
from microexpr.models.base import Classifier, check_input, check_setting

FORMS = ("paper", "meb")
SIDE = 28


class OffApexNet(Classifier):
    """OFF-ApexNet: 2 664 475 parameters with 3 classes; as in MEB 807 909.

    Args:
        classes: Number of classes.
        form: ``paper``: two streams; ``meb``: one.
        channels: Two planes for ``paper``; any number for ``meb``.
        normalisation: See `microexpr.inputs.Input`.
        dropout: Probability.

    Raises:
        UserError: An unknown form.
    """

    paper = "Gan et al., OFF-ApexNet, Signal Processing: Image Communication 2019"
    uncertain = "activations and dropout from public ports; the authors' code is not public"
    eats = Input(("u", "v"), SIDE, "tvl1", "none")
    smallest: ClassVar[dict[str, Any]] = {"form": "meb"}

    def __init__(
        self,
        classes: int,
        form: str = "paper",
        channels: Sequence[str] = ("u", "v"),
        normalisation: str = "none",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_setting("form", form, FORMS)
        self.classes = classes
        self.eats = Input(tuple(channels), SIDE, "tvl1", normalisation)
        planes = len(channels)
        if form == "paper":
            self.streams = nn.ModuleList(_stream(1, 5) for _ in range(planes))
            hidden = [*_hidden(planes * 784, dropout), *_hidden(1024, dropout)]
        else:
            self.streams = nn.ModuleList([_stream(planes, 3)])
            hidden = [nn.Dropout(dropout), *_hidden(784, dropout)]
        self.head = nn.Sequential(*hidden, nn.Linear(1024, classes))

    def forward(self, x: Tensor) -> Tensor:
        """``(b, channels, 28, 28)`` -> logits ``(b, classes)``."""
        check_input(x, self.eats)
        x = x.contiguous(memory_format=torch.channels_last)  # the same sums, pooled faster
        parts = x.chunk(len(self.streams), dim=1)
        features = [stream(part) for stream, part in zip(self.streams, parts, strict=True)]
        out: Tensor = self.head(torch.cat(features, dim=1))
        return out


def _stream(planes: int, kernel: int) -> nn.Sequential:
    """Two convolutions that keep the side, each halved by a maximum: 28 -> 14 -> 7."""
    return nn.Sequential(
        nn.Conv2d(planes, 6, kernel, padding=kernel // 2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, kernel, padding=kernel // 2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
    )


def _hidden(width: int, dropout: float) -> list[nn.Module]:
    return [nn.Linear(width, 1024), nn.ReLU(), nn.Dropout(dropout)]
