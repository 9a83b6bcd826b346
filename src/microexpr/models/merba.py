"""MERba: Multi-Receptive Field MambaVision for Micro-Expression Recognition.

Mao, Liu, Zhao, Xu, Chen, arXiv 2506.14468v1 (2025).

Glossary (symbol: shape at 224 pixels, base; where in the paper)

    x^OF            (b, 3, 224, 224)   flow u, v and magnitude m, onset to apex; section III
    stem            (b, 128, 56, 56)   patch embedding; table I
    stage 1         (b, 256, 28, 28)   N_1 = 3 convolution blocks; table I
    x_k^in          (b, D_k, H_k, W_k) input of stage k = 2, 3, 4; D = 256, 512, 1024
    w_k^(i)         (b S_k, 49, D_k)   windows of 7 x 7, S_k = H_k W_k / 49; Eq. 1
    z_k^(i,s)       (b S_k, 49, D_k)   mixed along scan order s in {a, b, c, d}; Eq. 2
    f_k^(i)         (b S_k, 49, D_k)   sum over the four orders; Eq. 3
    y_k^(i)         (b S_k, 49, D_k)   MLP(Linear(f)); Eq. 4; N_k = 2, 6, 4 extractors in a row
    x_k^global      (b, H_k W_k, D_k)  two blocks of attention over the whole map; Eq. 5
    x_4^out         (b, 1024)          batch norm and average pooling; section III-A3
    y_coarse        (b, 4)             negative, others, positive, surprise; section III-C
    y_fine          (b, 4)             anger, disgust, fear, sadness; section III-C
    alpha                              weight of the fine loss; Eq. 6 and 7

Where this departs from the paper, or fills a gap in it
- The stem's convolutions overlap, as MambaVision's do; the paper says non-overlapping patches.
- "The Mixer" (Eq. 2) is one set of weights for all orders (99.8 M parameters); `share_mixers=False`
  gives each order its own (119.0 M).
- Norms, residuals, layer scale and drop path around Eq. 4 and 5 are those of MambaVision-B, whose
  configuration the paper takes over; heads of 64 channels.
- Dropout .1 sits in the MLPs, after the attention's projection and before the head.
- The paper states no scale of the flow: the default is `robust` of `microexpr.inputs.Input`.
- The paper knows one input size. Here maps that windows do not divide are cut exactly
  (`microexpr.nn.windows`), and `stem_stride` keeps a useful grid of tokens for small flow.
- Sizes other than base are ours; `mixer="conv"` (no scan) is our control.
- Linear layers start as in the published MambaVision (`microexpr.nn.layers.init_linear`), step
  sizes included; `dt_init="mamba"` starts those as Mamba does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.models.base import Classifier, check_input, check_setting, check_units
from microexpr.nn.dgcm import CoarseToFine
from microexpr.nn.layers import ConvLevel, PatchEmbed, init_linear
from microexpr.nn.mixers import init_steps
from microexpr.nn.stages import Stage, StagePlan
from microexpr.nn.weights import read_state_dict

T = TypeVar("T")
DFME7_COARSE = (0, 1, 0, 0, 2, 0, 3)
"""Coarse classes of the seven of DFME: anger, disgust, fear and sadness are 0, negative."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a size fixes; most can be overridden one by one.

    Attributes:
        widths: Channels of the stages.
        depths: Convolution blocks of stage 1, then local extractors of each later stage.
        attentions: Attention blocks of each stage after the first.
        head_width: Channels of one attention head.
        mlp_ratio: See `microexpr.nn.layers.Mlp`.
        drop_path: Probability at the last block; it grows linearly from 0 at the first.
        layer_scale: Initial value of the residual gains; 0: none. 1e-5 silences every block at
            first, which a training of a few hundred steps does not outgrow.
        image: Default side of the input in pixels.
        stem_stride: Default stride of the patch embedding.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    attentions: tuple[int, ...]
    head_width: int
    mlp_ratio: float
    drop_path: float
    layer_scale: float
    image: int
    stem_stride: int


SIZES = {
    "base": Size((128, 256, 512, 1024), (3, 2, 6, 4), (2, 2, 2), 64, 4.0, 0.3, 1e-5, 224, 4),
    "small": Size((64, 128, 256, 512), (2, 2, 4, 2), (2, 2, 2), 32, 4.0, 0.2, 1e-5, 224, 4),
    "tiny": Size((32, 64, 128, 256), (1, 1, 2, 1), (1, 1, 1), 32, 4.0, 0.1, 0.0, 112, 4),
    "nano": Size((16, 32, 64), (1, 2, 1), (1, 1), 16, 2.0, 0.05, 0.0, 28, 2),
}


class Merba(Classifier):
    """MERba, its sizes and its ablations (tables VI and VII).

    Args:
        classes: Number of classes.
        size: Key of `SIZES`; with 7 classes 99.8 M, 18.3 M, 2.5 M and 0.1 M parameters.
        head: ``linear`` (MERba-base) or ``dgcm`` (MERba-DGCM, coarse to fine).
        coarse: For ``dgcm``: the coarse class of each class. Default for 7 classes: `DFME7_COARSE`.
        share_mixers: One mixer for all orders, or one for each.
        extractor: ``local``: within windows; ``global``: over the whole map (table VI).
        attention: ``global`` or ``local`` (table VI).
        orders: Scan orders, keys of `microexpr.nn.orders.ORDERS` (table VII).
        mixer: ``scan``, or ``conv``: a gated depthwise convolution of the same size instead.
        dt_init: Start of the step sizes: ``official`` (MambaVision's) or ``mamba``.
        stem_stride: 1, 2 or 4; default by size.
        image: Side of the input; default 224, for tiny 112, for nano 28.
        channels: Planes of the input.
        normalisation: See `microexpr.inputs.Input`.
        dropout: Probability.
        drop_path: Default by size.
        layer_scale: Default by size; 0: none.
        widths: Default by size.
        depths: Default by size.
        attentions: Default by size.
        units: Action units to predict beside the class; ours, not the paper's. Not with ``dgcm``.

    Raises:
        UserError: A setting out of its range.
    """

    paper = "Mao et al., MERba: Multi-Receptive Field MambaVision, arXiv 2506.14468, 2025"
    eats = Input(("u", "v", "m"), 224, "tvl1", "robust")
    uncertain = "no public code; the head of the file lists what the paper leaves open"
    smallest: ClassVar[dict[str, Any]] = {
        "size": "nano",
        "widths": [8, 16, 16],
        "depths": [1, 1, 1],
    }

    def __init__(
        self,
        classes: int,
        size: str = "base",
        head: str = "linear",
        coarse: Sequence[int] | None = None,
        share_mixers: bool = True,
        extractor: str = "local",
        attention: str = "global",
        orders: Sequence[str] = ("a", "b", "c", "d"),
        mixer: str = "scan",
        dt_init: str = "official",
        stem_stride: int | None = None,
        image: int | None = None,
        channels: Sequence[str] = ("u", "v", "m"),
        normalisation: str = "robust",
        dropout: float = 0.1,
        drop_path: float | None = None,
        layer_scale: float | None = None,
        widths: Sequence[int] | None = None,
        depths: Sequence[int] | None = None,
        attentions: Sequence[int] | None = None,
        units: Sequence[str] = (),
    ) -> None:
        super().__init__()
        preset = SIZES[check_setting("size", size, SIZES)]
        self.classes, self.units = classes, check_units(units)
        self.eats = Input(tuple(channels), _or(image, preset.image), "tvl1", normalisation)
        plan = StagePlan(
            extractor=check_setting("extractor", extractor, ("local", "global")),
            attention=check_setting("attention", attention, ("local", "global")),
            mixer=check_setting("mixer", mixer, ("scan", "conv")),
            orders=tuple(orders),
            share_mixers=share_mixers,
            head_width=preset.head_width,
            mlp_ratio=preset.mlp_ratio,
            dropout=_probability("dropout", dropout),
            layer_scale=_or(layer_scale, preset.layer_scale),
        )
        widths = tuple(_or(widths, preset.widths))
        stride = _or(stem_stride, preset.stem_stride)
        if stride not in (1, 2, 4):
            raise UserError(f"stem_stride must be 1, 2 or 4, got {stride}")
        blocks = (tuple(_or(depths, preset.depths)), tuple(_or(attentions, preset.attentions)))
        _check_layout(widths, *blocks)
        rate = _probability("drop_path", _or(drop_path, preset.drop_path))
        self.patch_embed = PatchEmbed(len(channels), widths[0] // 2, widths[0], stride)
        self.levels = _levels(plan, widths, *blocks, self.eats.size, stride, rate)
        self.norm = nn.BatchNorm2d(widths[-1])
        self.dropout = nn.Dropout(dropout)
        self.head = _head(head, widths[-1], classes, coarse, len(self.units))
        self.apply(init_linear)
        if check_setting("dt_init", dt_init, ("official", "mamba")) == "mamba":
            self.apply(init_steps)

    def forward(self, x: Tensor) -> Tensor:
        """Logits.

        Args:
            x: ``(b, channels, image, image)``.

        Returns:
            ``(b, classes + units)``; with ``head="dgcm"`` ``(b, g + f)``, coarse logits, then fine
            ones (`microexpr.nn.dgcm.CoarseToFine`).
        """
        check_input(x, self.eats)
        x = self.patch_embed(x.contiguous(memory_format=torch.channels_last))
        for level in self.levels:
            x = level(x)
        out: Tensor = self.head(self.dropout(self.norm(x).mean(dim=(2, 3))))
        return out

    def loss(self, x: Tensor, y: Tensor, progress: float) -> Tensor:
        """Cross-entropy, or Eq. 6 and 7 (`microexpr.nn.dgcm.CoarseToFine.loss`)."""
        if isinstance(self.head, CoarseToFine):
            return self.head.loss(self(x), y, progress)
        return super().loss(x, y, progress)

    @torch.no_grad()
    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Label and probabilities; with ``dgcm`` by the paper's two rules and the heads' product.

        The two can disagree: `microexpr.nn.dgcm.CoarseToFine.predict` says when.
        """
        if isinstance(self.head, CoarseToFine):
            labels, probabilities = self.head.predict(self(x))
            return labels, self.calibrated(probabilities)
        return super().predict(x)

    def warm_start(self, source: str | Path | Mapping[str, Any]) -> list[str]:
        """Copies stem, stage 1 and downsampling from the weights of a MambaVision.

        Args:
            source: A file or a state dict of the published MambaVision-B.

        Returns:
            The names of what was copied.

        Raises:
            UserError: A part is missing there or has another shape; nothing is copied then.
        """
        state = read_state_dict(source)
        own = {key: value for key, value in self.state_dict().items() if _shared(key)}
        for key, value in own.items():
            if key not in state or state[key].shape != value.shape:
                found = tuple(state[key].shape) if key in state else "nothing"
                raise UserError(
                    f"cannot warm-start from these weights: {key} should be "
                    f"{tuple(value.shape)}, found {found} (size 'base' takes MambaVision-B's)"
                )
        self.load_state_dict({key: state[key] for key in own}, strict=False)
        return list(own)


def _levels(
    plan: StagePlan,
    widths: tuple[int, ...],
    depths: tuple[int, ...],
    attentions: tuple[int, ...],
    image: int,
    stride: int,
    drop_path: float,
) -> nn.ModuleList:
    """All stages; drop path grows linearly over their blocks."""
    rates = torch.linspace(0, drop_path, sum(depths) + sum(attentions), device="cpu").tolist()
    take = [rates.pop(0) for _ in range(depths[0])]
    levels = nn.ModuleList([ConvLevel(widths[0], take, widths[1])])
    side = -(-image // (2 * stride))
    for k in range(1, len(widths)):
        take = [rates.pop(0) for _ in range(depths[k])]
        more = [rates.pop(0) for _ in range(attentions[k - 1])]
        out = widths[k + 1] if k + 1 < len(widths) else None
        levels.append(Stage(plan, widths[k], out, side, (take, more)))
        side = -(-side // 2)
    return levels


def _head(
    head: str, dim: int, classes: int, coarse: Sequence[int] | None, units: int
) -> nn.Linear | CoarseToFine:
    if check_setting("head", head, ("linear", "dgcm")) == "linear":
        return nn.Linear(dim, classes + units)
    if units:
        raise UserError("units need head = 'linear': a coarse-to-fine head has no place for them")
    coarse = DFME7_COARSE if coarse is None and classes == len(DFME7_COARSE) else coarse
    if coarse is None or len(coarse) != classes:
        raise UserError(
            f"head='dgcm' needs the coarse class of each of the {classes} classes: give coarse, "
            f"a list of {classes} numbers"
        )
    return CoarseToFine(dim, coarse)


def _shared(key: str) -> bool:
    """Whether MambaVision has the same part under the same name."""
    return key.startswith(("patch_embed.", "levels.0.")) or ".downsample." in key


def _check_layout(
    widths: tuple[int, ...], depths: tuple[int, ...], attentions: tuple[int, ...]
) -> None:
    if not len(widths) == len(depths) == len(attentions) + 1 or len(widths) < 2:
        raise UserError(
            "widths and depths need one number for each stage (2 or more), attentions one for "
            f"each stage after the first, got {widths}, {depths} and {attentions}"
        )
    if min(widths) < 2 or min(depths + attentions) < 0 or any(w % 2 for w in widths):
        raise UserError(f"widths must be even, depths not negative: {widths}, {depths}")


def _or(given: T | None, default: T) -> T:
    return default if given is None else given


def _probability(what: str, value: float) -> float:
    if not 0.0 <= value < 1.0:
        raise UserError(f"{what} must be at least 0 and below 1, got {value}")
    return value
