"""AMMSM beside its Transformer twin, and its time as the sparsity ratio grows; forward, one thread.

    python benchmarks/speed/ammsm.py [--json] [--rounds 5] [--image 224] [--batch 16] [--size base]

Four tables from one interleaved run:

- latency: the four latencies of table III. The first two are the temporal trunk alone (no
  magnifier, no sparsity, no onset frame), the others the whole net at ratios of .4; `share` is
  mamba over transformer, `paper` what the paper has for it.
- parts: where the time of the whole net goes. `floor` is the time of its matrix products and
  convolutions alone, at the shapes and layouts that the net gives them.
- ratio: the trunk's blocks alone and the whole net, all pairs at one ratio, over their time at
  ratio 0, computed on the kept tokens alone.
- masking: how far the net's features are from those of `masking="exact"`, relative to their length,
  and the part of the clips that get another label (random weights).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from timing import interleaved, show, single_thread
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from microexpr.models.ammsm import Ammsm
from microexpr.nn.pictures import imagenet
from microexpr.nn.pieces import in_pieces
from microexpr.nn.vssd import Sparsity

RATIOS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
PAPER = {"trunk": 3.21 / 5.79, "whole": 6.92 / 9.56}  # milliseconds of table III
aten = torch.ops.aten
PRODUCTS = {
    aten.mm.default,
    aten.addmm.default,
    aten.bmm.default,
    aten.baddbmm.default,
    aten.convolution.default,
    aten._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.mkldnn._linear_pointwise.default,
}
Layout = tuple[tuple[int, ...], tuple[int, ...]]


class _Layout:
    """A tensor's shape and strides, in its place among the arguments of a call."""

    def __init__(self, x: Tensor) -> None:
        self.key: Layout = (tuple(x.shape), tuple(x.stride()))


class _Noted(TorchDispatchMode):
    """Notes every matrix product and convolution with the layouts of its operands."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Callable[..., Any], Any, dict[str, Any]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS:
            self.calls.append((func, tree_map_only(Tensor, _Layout, args), kwargs or {}))
        return func(*args, **(kwargs or {}))


def floor_of(call: Callable[[], object]) -> Callable[[], None]:
    """The products and convolutions of a call, alone, on random numbers."""
    with _Noted() as noted:
        call()
    tensors: dict[Layout, Tensor] = {}

    def stand_in(layout: _Layout) -> Tensor:
        if layout.key not in tensors:
            tensors[layout.key] = torch.empty_strided(*layout.key).normal_()
        return tensors[layout.key]

    calls = [(f, tree_map_only(_Layout, stand_in, args), kwargs) for f, args, kwargs in noted.calls]

    def replay() -> None:
        for function, args, kwargs in calls:
            function(*args, **kwargs)

    return replay


def net(size: str, image: int, **settings: Any) -> Ammsm:
    torch.manual_seed(0)
    return Ammsm(3, size=size, image=image, **settings).eval()


def at_ratio(model: Ammsm, ratio: float, x: Tensor) -> Tensor:
    """The net's output with every pair at one ratio; the net is left as it was."""
    before = model.chosen
    model.choose({name: ratio for name in model.choices if name != "alpha"})
    out: Tensor = model(x)
    model.choose(before)
    return out


def blocks_of(model: Ammsm, flow: Tensor) -> Callable[[float], None]:
    """Runs the trunk's blocks alone, on the maps that each level is given."""
    maps, inputs = model.patch_embed(flow), []
    for level in model.layers:
        inputs.append((level, maps))
        maps = level.downsample(level(maps))

    def run(ratio: float) -> None:
        for level, x in inputs:
            level(x, Sparsity([ratio] * level.pairs))

    return run


def rivals(size: str, image: int, batch: int) -> dict[str, Callable[[], object]]:
    """Everything that is timed, by name."""
    x = torch.cat(
        [torch.randn(batch, 2, image, image), 255 * torch.rand(batch, 3, image, image)], 1
    )
    flow = x[:, :2].contiguous(memory_format=torch.channels_last)
    calls: dict[str, Callable[[], object]] = {}
    for backbone in ("mamba", "transformer"):
        plain = {"magnifier": False, "sparsity": False, "spatial": False}
        calls[f"trunk {backbone}"] = partial(net(size, image, backbone=backbone, **plain), flow)
        calls[f"whole {backbone}"] = partial(net(size, image, backbone=backbone), x)
    whole = net(size, image)
    assert whole.spatial is not None
    magnify = partial(in_pieces, whole.magnify, flow)  # as the whole net does it
    calls["magnifier"] = magnify
    calls["spatial stream"] = partial(in_pieces, whole.spatial, imagenet(x[:, 2:]))
    calls["floor"] = floor_of(partial(whole, x))
    calls["magnifier's floor"] = floor_of(magnify)
    run = blocks_of(net(size, image, magnifier=False, spatial=False), flow)
    for ratio in RATIOS:
        calls[f"blocks {ratio}"] = partial(run, ratio)
        calls[f"net {ratio}"] = partial(at_ratio, whole, ratio, x)
    return calls


def latency_rows(times: dict[str, float]) -> list[dict[str, Any]]:
    rows = []
    for what, paper in PAPER.items():
        mamba, transformer = times[f"{what} mamba"], times[f"{what} transformer"]
        row = {"net": what, "mamba ms": mamba, "transformer ms": transformer}
        rows.append({**row, "share": mamba / transformer, "paper": paper})
    return rows


def part_rows(times: dict[str, float]) -> list[dict[str, Any]]:
    names = ("magnifier", "spatial stream", "floor", "magnifier's floor")
    whole = times["whole mamba"]
    return [{"part": n, "ms": times[n], "of the whole net": times[n] / whole} for n in names]


def ratio_rows(times: dict[str, float]) -> list[dict[str, Any]]:
    return [
        {
            "ratio": str(ratio),
            "blocks ms": times[f"blocks {ratio}"],
            "blocks": times[f"blocks {ratio}"] / times["blocks 0.0"],
            "whole net ms": times[f"net {ratio}"],
            "whole net": times[f"net {ratio}"] / times["net 0.0"],
        }
        for ratio in RATIOS
    ]


def masking_rows(size: str, image: int, batch: int) -> list[dict[str, Any]]:
    """The same weights under both readings of the mask."""
    flow = torch.randn(max(batch, 8), 2, image, image)
    exact, paper = (net(size, image, spatial=False, masking=m) for m in ("exact", "paper"))
    heads = exact.head
    exact.head = paper.head = torch.nn.Identity()
    rows = []
    for ratio in RATIOS[1::2]:
        one, other = at_ratio(exact, ratio, flow), at_ratio(paper, ratio, flow)
        distance = (one - other).norm(dim=1) / one.norm(dim=1)
        changed = heads(one).argmax(1) != heads(other).argmax(1)
        row = {"ratio": str(ratio), "distance": distance.mean().item()}
        rows.append({**row, "other label": changed.float().mean().item()})
    return rows


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--image", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", default="base")
    given = parser.parse_args()
    single_thread()
    times = interleaved(rivals(given.size, given.image, given.batch), given.rounds)
    what = f"AMMSM {given.size}, {given.image} pixels, batch {given.batch}"
    show(f"{what}: latency", latency_rows(times), given.json)
    show(f"{what}: parts of the whole net", part_rows(times), given.json)
    show(f"{what}: time by ratio", ratio_rows(times), given.json)
    rows = masking_rows(given.size, given.image, given.batch)
    show(f"{what}: masking 'paper' against 'exact'", rows, given.json)


if __name__ == "__main__":
    main()
