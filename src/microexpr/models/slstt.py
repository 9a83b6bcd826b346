"""SLSTT: Short and Long range relation based Spatio-Temporal Transformer.

Zhang, Hong, Arandjelovic and Zhao, IEEE Transactions on Affective Computing 13 (2022), arXiv
2112.05851; code Vision-Intelligence-and-Robots-Group/SLSTT.

Glossary (symbol: shape at base settings)

    x           (b, T, 2, 384, 384)   long-term flow u, v: onset to each of T moments
    pictures    (b, T, 3, 384, 384)   direction as hue, magnitude as brightness, then to [-1, 1]
    tokens      (b T, 577, 768)       ViT-B/16: 12 blocks of 12 heads
    z_t         (b, T, 768)           its class token, after the last norm
    h_T         (b, 512)              last output of three LSTM layers; or the mean of z_t
    logits      (b, classes)          fully connected 256, ReLU, fully connected

The public code runs the ViT without gradients, and so does `frozen` (default): only what follows
learns. From random weights that is a random projection; `load_vit` takes ImageNet weights in
timm's form.

Departures
- T is an argument without a value there; 11 here. The moments lie evenly from onset to offset (the
  first field is rest, a black picture), not around the apex; short clips get no RIFE frames.
- The unused classifier of the ViT is left out. GELU is exact; no dropout inside a frozen ViT.
- Training (SGD .01, momentum .9, weight decay 1e-4, warm restarts, batches of 1 or 2, 40 epochs) is
  a matter of the experiment file; warm restarts become one cosine.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.models.base import Classifier, check_input, check_setting
from microexpr.nn.pictures import flow_colours
from microexpr.nn.vit import VisionTransformer

AGGREGATIONS = ("lstm", "mean")


class Slstt(Classifier):
    """SLSTT: 93 050 627 parameters with 3 classes.

    Args:
        classes: Number of classes.
        frames: T, at least 2.
        image: Side of the input in pixels, a multiple of `patch`.
        aggregation: ``lstm``, or ``mean`` over the moments.
        frozen: Whether the ViT stays as it is.
        normalisation: See `microexpr.inputs.Input`; not ``minmax8``. Colours know no unit of flow.
        patch: Side of a patch.
        dim: Width of the ViT.
        depth: Its blocks.
        heads: Its heads.
        hidden: Width of the LSTM.

    Raises:
        UserError: A setting out of its range.
    """

    paper = "Zhang et al., Short and Long Range Relation Based Spatio-Temporal Transformer, 2022"
    uncertain = "length of the sequence; the ViT starts without ImageNet weights unless given"
    eats = Input(("u", "v"), 384, "farneback", "none", 11)
    smallest: ClassVar[dict[str, Any]] = {
        "frames": 3,
        "image": 32,
        "frozen": False,
        "dim": 8,
        "depth": 1,
        "heads": 2,
        "hidden": 8,
    }

    def __init__(
        self,
        classes: int,
        frames: int = 11,
        image: int = 384,
        aggregation: str = "lstm",
        frozen: bool = True,
        normalisation: str = "none",
        patch: int = 16,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        hidden: int = 512,
    ) -> None:
        super().__init__()
        check_setting("aggregation", aggregation, AGGREGATIONS)
        if frames < 2:
            raise UserError(f"SLSTT reads a sequence: frames must be at least 2, got {frames}")
        if normalisation == "minmax8":
            raise UserError(
                "colours need flow whose zero is rest, which minmax8 lost: take 'robust' or 'none'"
            )
        self.classes = classes
        self.eats = Input(("u", "v"), image, "farneback", normalisation, frames)
        self.vit = VisionTransformer(image, patch, dim, depth, heads)
        self.vit.requires_grad_(not frozen)
        lstm = aggregation == "lstm"
        self.lstm = nn.LSTM(dim, hidden, 3, batch_first=True) if lstm else None
        self.fc1 = nn.Linear(hidden if lstm else dim, hidden // 2)
        self.fc2 = nn.Linear(hidden // 2, classes)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, frames, 2, image, image)`` -> logits ``(b, classes)``."""
        check_input(x, self.eats)
        pictures = 2 * flow_colours(x[:, :, 0], x[:, :, 1]) - 1
        tokens = self.vit(pictures.flatten(0, 1))[:, 0].view(*x.shape[:2], -1)
        features = tokens.mean(dim=1) if self.lstm is None else self.lstm(tokens)[0][:, -1]
        out: Tensor = self.fc2(self.fc1(features).relu())
        return out

    def load_vit(self, source: str | Path | Mapping[str, Any]) -> Slstt:
        """Loads the ViT's weights in timm's form (``vit_base_patch16_384``); returns this model.

        Raises:
            UserError: No such file, or keys or shapes that differ.
        """
        self.vit.load_timm(source)
        return self
