"""AMMSM: Adaptive Motion Magnification and Sparse Mamba for Micro-Expression Recognition.

Liu, Dong, Wang, Feng, Sun, 2025.

Glossary (symbol: shape at 224 pixels, base; where in the paper)

    OF_ori      (b, 2, 224, 224)   flow u and v, onset to apex; section III-A
    alpha       (b, 1, 224, 224)   magnification factor, 1 to 4, as a map
    OF_mag      (b, 2, 224, 224)   magnified flow, by a UNet (`microexpr.nn.magnifier`)
    L_mag                          mean of |alpha OF_ori - OF_mag|; Eq. 1
    L           L_cls + (e_r - e) / e_r L_mag, e of e_r epochs; Eq. 2
    I_onset     (b, 3, 224, 224)   onset frame, RGB, 0 to 255; the spatial stream eats it
    X           (b, C, H, W)       input of a stage: 64 x 56 x 56, 128 x 28 x 28, 256 x 14 x 14,
                                   512 x 7 x 7, with 2, 4, 8, 4 blocks
    Phi, M      (b, H W / 16)      score and mask of the 4 x 4 windows of X; Eq. 3 to 5
    S_j^i                          sparsity ratio of pair j of blocks in stage i: nine in all
    Y           (b, H W, C)        non-causal state space duality; Eq. 6 (`microexpr.nn.ssd`)

Where this departs from the paper, or fills a gap in it
- Eq. 6 prints X / A; the published VSSD multiplies by dt |A|, and so do we.
- "The last layer of the last two" stages is self-attention, in the pair's mask like the others.
- Masked features are copied back after the pair, not at the end of the stage: where the ratio
  changes inside a stage they are needed before. `masking="exact"` treats a dropped token as absent
  in every convolution and sum; `masking="paper"` multiplies the map once before each block, as the
  text says, so that biases fill the dropped tokens again.
- Where 4 does not divide a map (224 pixels: 14 and 7), windows reach beyond it; a window's score is
  then its root mean square over real tokens, which orders full windows as Eq. 4 does.
- Fusion at the end of stage 2: both maps side by side, 1x1 convolution, batch norm (`fusion="add"`:
  their sum). Of ResNet-18 only what comes before that is built, with random weights unless
  `spatial.load_torchvision` is called.
- The paper does not say how flow is scaled: pixels by default. Magnifying `minmax8` planes is
  refused, since they have no zero.
- L1 in Eq. 1 is a mean. While adapting alpha is uniform in [1, 4], ratios in {.1, .2 ... .8}.
- Without a search ratios are .4 and alpha is 2.5, the middle of what was drawn.
- Ratios and alpha are kept in whole percent.
- Sizes other than base are ours; `backbone="transformer"` is table III's twin: self-attention in
  the place of every state space duality.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from microexpr.errors import UserError, suggest
from microexpr.inputs import PICTURES, Input
from microexpr.models.base import Adaptive, check_input, check_setting, check_units, joint_loss
from microexpr.nn.layers import init_linear
from microexpr.nn.magnifier import Magnifier, magnification_loss
from microexpr.nn.pictures import imagenet
from microexpr.nn.pieces import in_pieces
from microexpr.nn.resnet import ResNet18
from microexpr.nn.ssd import D_STATE
from microexpr.nn.vssd import Level, Sparsity, Stem, make_levels, pairs

T = TypeVar("T")
RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
ALPHAS = tuple(1 + i / 4 for i in range(13))
ONSET = ("onset_r", "onset_g", "onset_b")
FUSED = 2  # stages before the fusion


@dataclass(frozen=True, slots=True)
class Size:
    """What a size fixes; most can be overridden one by one.

    Attributes:
        widths: Channels of the stages.
        depths: Blocks of the stages.
        head_width: Channels of one head.
        d_state: Numbers of state per channel.
        mlp_ratio: See `microexpr.nn.layers.Mlp`.
        drop_path: Probability at the last block.
        magnifier_width: See `microexpr.nn.magnifier.Magnifier`.
        magnifier_levels: See `microexpr.nn.magnifier.Magnifier`.
        image: Side of the input in pixels.
        stem_stride: 1, 2 or 4.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    head_width: int
    d_state: int
    mlp_ratio: float
    drop_path: float
    magnifier_width: int
    magnifier_levels: int
    image: int
    stem_stride: int


SIZES = {
    "base": Size((64, 128, 256, 512), (2, 4, 8, 4), 32, D_STATE, 4.0, 0.2, 64, 4, 224, 4),
    "nano": Size((8, 16, 32, 64), (2, 4, 8, 4), 8, 16, 2.0, 0.05, 8, 3, 28, 2),
}


class Ammsm(Adaptive):
    """AMMSM, its sizes and the eight rows of its ablation (table III).

    Args:
        classes: Number of classes.
        size: Key of `SIZES`.
        magnifier: Adaptive motion magnification; off: the flow goes in as it is.
        sparsity: Sparse activation; off: every token takes part.
        backbone: ``mamba``, or ``transformer``: self-attention in every block.
        spatial: The stream of the onset frame; it needs the planes ``onset_r``, ``onset_g`` and
            ``onset_b``. Off where a data set has no onset frame.
        fusion: ``concat`` or ``add``.
        masking: ``exact`` or ``paper``, see `microexpr.nn.vssd.Sparsity`.
        gathered: Compute on the kept tokens alone; off: on all, under a mask. Same numbers.
        encoding: Of alpha: ``constant`` or ``sinusoidal``.
        residual: The magnifier adds to alpha times the flow instead of making all of it.
        ratios: One for each pair of blocks, in [0, .8]; a later search replaces them.
        alpha: In [1, 4]; a later search replaces it.
        channels: Planes of the flow; with `spatial` those of the onset frame follow.
        normalisation: See `microexpr.inputs.Input`.
        image: Default by size.
        stem_stride: Default by size.
        widths: Default by size.
        depths: Default by size.
        magnifier_width: Default by size.
        magnifier_levels: Default by size.
        drop_path: Default by size.
        units: Action units to predict beside the class; ours, not the paper's.

    Raises:
        UserError: A setting out of its range.
    """

    paper = "Liu et al., AMMSM: Adaptive Motion Magnification and Sparse Mamba, 2025"
    uncertain = "no public code; the head of the file lists what the paper leaves open"
    eats = Input(("u", "v", *ONSET), 224, "tvl1", "none")
    smallest: ClassVar[dict[str, Any]] = {
        "size": "nano",
        "spatial": False,
        "widths": [8, 8, 8],
        "depths": [1, 2, 1],
        "magnifier_width": 4,
        "stem_stride": 2,
    }
    sparsity_percent: Tensor
    alpha_percent: Tensor

    def __init__(
        self,
        classes: int,
        size: str = "base",
        magnifier: bool = True,
        sparsity: bool = True,
        backbone: str = "mamba",
        spatial: bool = True,
        fusion: str = "concat",
        masking: str = "exact",
        gathered: bool = True,
        encoding: str = "constant",
        residual: bool = False,
        ratios: Sequence[float] | None = None,
        alpha: float = 2.5,
        channels: Sequence[str] = ("u", "v"),
        normalisation: str = "none",
        image: int | None = None,
        stem_stride: int | None = None,
        widths: Sequence[int] | None = None,
        depths: Sequence[int] | None = None,
        magnifier_width: int | None = None,
        magnifier_levels: int | None = None,
        drop_path: float | None = None,
        units: Sequence[str] = (),
    ) -> None:
        super().__init__()
        check_setting("size", size, SIZES)
        preset = SIZES[size]
        check_setting("backbone", backbone, ("mamba", "transformer"))
        check_setting("fusion", fusion, ("concat", "add"))
        check_setting("masking", masking, ("exact", "paper"))
        _check_flow(channels, normalisation, magnifier)
        self.classes, self.units = classes, check_units(units)
        self.planes = len(channels)
        planes = (*channels, *(ONSET if spatial else ()))
        self.eats = Input(planes, _or(image, preset.image), "tvl1", normalisation)
        self.fusion, self.masking, self.gathered = fusion, masking, gathered
        stride = _or(stem_stride, preset.stem_stride)
        if stride not in (1, 2, 4):
            raise UserError(f"stem_stride must be 1, 2 or 4, got {stride}")
        wide, depths = list(_or(widths, preset.widths)), list(_or(depths, preset.depths))
        self.magnifier = None
        if magnifier:
            levels = _or(magnifier_levels, preset.magnifier_levels)
            _check_side(self.eats.size, 2 ** (levels + 1), f"a magnifier of {levels} levels")
            width = _or(magnifier_width, preset.magnifier_width)
            self.magnifier = Magnifier(self.planes, width, levels, encoding, residual)
        _check_side(self.eats.size, stride * 2 ** (len(wide) - 1) + 1, f"{len(wide)} stages")
        self.patch_embed = Stem(self.planes, wide[0], stride)
        rate = _or(drop_path, preset.drop_path)
        mixers = _mixers(depths, backbone)
        head = (preset.head_width, preset.mlp_ratio, rate, preset.d_state)
        self.layers = make_levels(wide, mixers, *head)
        self.spatial = self.fuse = None
        if spatial:
            self.spatial = ResNet18(3, FUSED, wide[1] // 2, stride == 4, 2 if stride > 1 else 1)
            both = 2 * wide[1] if fusion == "concat" else wide[1]
            conv = nn.Conv2d(both, wide[1], 1, bias=False)
            self.fuse = nn.Sequential(conv, nn.BatchNorm2d(wide[1]))
        self.norm = nn.LayerNorm(wide[-1])
        self.head = nn.Linear(wide[-1], classes + len(self.units))
        self.apply(init_linear)
        self._keep_choices(pairs(depths) if sparsity else [], ratios, alpha)

    @property
    def choices(self) -> dict[str, tuple[float, ...]]:
        """``ratio_<stage>_<pair>`` for each pair of blocks, and ``alpha``."""
        found: dict[str, tuple[float, ...]] = dict.fromkeys(self._ratio_names, RATIOS)
        if self.magnifier is not None:
            found["alpha"] = ALPHAS
        return found

    @property
    def chosen(self) -> dict[str, float]:
        """The ratios and alpha that `forward` takes."""
        found = dict(zip(self._ratio_names, self._ratios(), strict=True))
        return {**found, "alpha": self.alpha} if self.magnifier is not None else found

    @property
    def alpha(self) -> float:
        """The chosen magnification factor."""
        return float(self.alpha_percent) / 100

    def choose(self, values: Mapping[str, float]) -> None:
        """Fixes ratios and alpha, in whole percent; those not named stay.

        Raises:
            UserError: An unknown name, a ratio outside [0, .8] or an alpha outside [1, 4].
        """
        for name, value in values.items():
            if name not in self.choices:
                raise UserError(f"nothing to choose called '{name}': {suggest(name, self.choices)}")
            if name == "alpha":
                self.alpha_percent.fill_(_percent(name, value, 1.0, ALPHAS[-1]))
            else:
                place = self._ratio_names.index(name)
                self.sparsity_percent[place] = _percent(name, value, 0.0, RATIOS[-1])

    def forward(self, x: Tensor) -> Tensor:
        """``(b, channels, image, image)`` -> logits ``(b, classes + units)``, as chosen."""
        check_input(x, self.eats)
        return self._as_chosen(x) if self.training else in_pieces(self._as_chosen, x)

    def loss(self, x: Tensor, y: Tensor, progress: float) -> Tensor:
        """Eq. 2 while adapting, with ratios and alpha drawn for this batch; else cross-entropy."""
        if not self.adapting:
            return super().loss(x, y, progress)
        check_input(x, self.eats)
        flow = x[:, : self.planes]
        alpha, ratios = self._draw()
        magnified = self.magnify(flow, alpha)
        loss = joint_loss(self._classify(x, magnified, ratios), y, self.classes)
        if self.magnifier is None:
            return loss
        return loss + (1 - progress) * magnification_loss(flow, magnified, alpha)

    def magnify(self, flow: Tensor, alpha: float | Tensor | None = None) -> Tensor:
        """Magnified flow.

        Args:
            flow: ``(b, planes, h, w)``, of any size from ``2**levels`` on.
            alpha: See `microexpr.nn.magnifier.Magnifier.forward`; None: as chosen.

        Returns:
            The same shape; with ``magnifier=False`` the flow itself.
        """
        if self.magnifier is None:
            return flow
        flow = flow.contiguous(memory_format=torch.channels_last)  # a third faster on a CPU
        out: Tensor = self.magnifier(flow, self._alpha() if alpha is None else alpha)
        return out

    def _as_chosen(self, x: Tensor) -> Tensor:
        return self._classify(x, self.magnify(x[:, : self.planes]), self._ratios())

    def _classify(self, x: Tensor, flow: Tensor, ratios: Sequence[float]) -> Tensor:
        """Both streams, from the (magnified) flow and the onset planes of x to the logits."""
        maps = self.patch_embed(flow.contiguous(memory_format=torch.channels_last))
        left = list(ratios)
        for i, level in enumerate(self.layers):
            assert isinstance(level, Level)
            take, left = left[: level.pairs], left[level.pairs :]
            maps = level(maps, Sparsity(take, self.masking, self.gathered) if take else None)
            if i == FUSED - 1 and self.spatial is not None and self.fuse is not None:
                onset = self.spatial(imagenet(x[:, self.planes :]))
                both = torch.cat([maps, onset], dim=1) if self.fusion == "concat" else maps + onset
                maps = self.fuse(both)
            maps = level.downsample(maps)
        out: Tensor = self.head(self.norm(maps.flatten(2).transpose(1, 2)).mean(dim=1))
        return out

    @torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
    def _alpha(self) -> float:
        """The chosen factor; an exported graph keeps it as a number."""
        return self.alpha

    @torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
    def _ratios(self) -> list[float]:
        """The chosen ratios; none without sparsity."""
        return [percent / 100 for percent in self.sparsity_percent.tolist()]

    def _draw(self) -> tuple[float, list[float]]:
        """Alpha and ratios for one batch, from torch's random state."""
        low, high = ALPHAS[0], ALPHAS[-1]
        alpha = low + (high - low) * float(torch.rand((), device="cpu"))
        drawn = torch.randint(len(RATIOS), (len(self._ratio_names),), device="cpu")
        return alpha, [RATIOS[i] for i in drawn.tolist()]

    def _keep_choices(
        self, stages: Sequence[int], ratios: Sequence[float] | None, alpha: float
    ) -> None:
        """Registers what is chosen, as whole numbers, so that no average of weights blends it."""
        self._ratio_names = [
            f"ratio_{i + 1}_{j + 1}" for i, n in enumerate(stages) for j in range(n)
        ]
        count = len(self._ratio_names)
        given = [0.4] * count if ratios is None else list(ratios)
        if len(given) != count:
            raise UserError(
                f"ratios needs one number for each pair of blocks, {count} here "
                f"({' + '.join(map(str, stages)) or 'no sparsity'}), got {len(given)}"
            )
        percents = [_percent("a ratio", ratio, 0.0, RATIOS[-1]) for ratio in given]
        self.register_buffer("sparsity_percent", torch.tensor(percents, dtype=torch.int64))
        percent = _percent("alpha", alpha, ALPHAS[0], ALPHAS[-1])
        self.register_buffer("alpha_percent", torch.tensor(percent))


def _mixers(depths: Sequence[int], backbone: str) -> list[list[str]]:
    """Names of the mixers of each stage: the last of the last two stages attends."""
    name = "ssd" if backbone == "mamba" else "attention"
    mixers = [[name] * depth for depth in depths]
    for names in mixers[-2:]:
        if names:
            names[-1] = "attention"
    return mixers


def _check_flow(channels: Sequence[str], normalisation: str, magnifier: bool) -> None:
    wrong = [name for name in channels if name in PICTURES]
    if wrong:
        raise UserError(
            f"channels are the planes of the flow, not '{wrong[0]}'; spatial = true adds the onset"
        )
    if magnifier and normalisation == "minmax8":
        raise UserError(
            "minmax8 planes have no zero, so they cannot be magnified: use normalisation 'none', "
            "'robust' or 'relative', or magnifier = false"
        )


def _check_side(image: int, least: int, what: str) -> None:
    """Batch norm of a single clip needs more than one token, so maps must not shrink to one."""
    if image < least:
        raise UserError(f"{what}: the image must be at least {least} pixels, got {image}")


def _percent(what: str, value: float, low: float, high: float) -> int:
    if not isinstance(value, int | float) or not low <= value <= high:
        raise UserError(f"{what} must be in [{low:g}, {high:g}], got {value}")
    return round(100 * value)


def _or(given: T | None, default: T) -> T:
    return default if given is None else given
