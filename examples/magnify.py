"""Figure 1 of AMMSM: optical flow and what the magnifier makes of it, for three emotions.

    python examples/magnify.py [CHECKPOINT] [--alpha 3] [--out magnified.png] [--size 56]
                               [--persons 300] [--epochs 8]

CHECKPOINT is an `ammsm` model without onset frame that `microexpr train` saved. Without one, a
small one is trained here on synthetic people, which takes a few minutes on one core: both losses of
Eq. 2, factors and ratios drawn anew for each batch. The people in the picture are others.

Each row shows one clip: the flow, alpha times the flow, the magnified flow, all in one scale of
colour, and how much longer than alpha times the flow the magnified flow is (red) or shorter (blue).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from numpy.typing import NDArray

from microexpr.datasets.synthetic import Synthetic
from microexpr.drawing import contact_sheet, flow_to_rgb, save
from microexpr.errors import UserError
from microexpr.labels import label_scheme
from microexpr.models import create_model
from microexpr.models.ammsm import Ammsm
from microexpr.training.checkpoint import load_checkpoint
from microexpr.training.data import TrainingSet
from microexpr.training.fit import fit
from microexpr.training.recipe import Phase, Recipe

EMOTIONS = ("happiness", "surprise", "disgust")
COLUMNS = ("flow", "alpha x flow", "magnified", "difference")


def loaded(path: Path) -> Ammsm:
    """The model of a checkpoint, if it is one whose magnifier can be shown."""
    model = load_checkpoint(path).model
    if not isinstance(model, Ammsm) or model.magnifier is None or model.spatial is not None:
        raise UserError(f"{path} holds no ammsm with a magnifier and without an onset frame")
    return model


def trained(size: int, persons: int, epochs: int) -> Ammsm:
    """A small AMMSM that has seen synthetic people."""
    torch.manual_seed(0)
    model = create_model("ammsm", 3, size="nano", spatial=False, image=size)
    assert isinstance(model, Ammsm)
    people = Synthetic(None, persons, 12, size=size, prior="megc3")
    clips = TrainingSet(tuple(people.clips()), label_scheme("megc3"), people, model.eats)
    phase = Phase("adapt", mode="adapt", epochs=epochs, batch=32, lr=2e-3, warmup=0.5, cooldown=0.5)
    fit(model, clips, Recipe((phase,)), 0)
    return model


def compared(
    flow: NDArray[np.float32], magnified: NDArray[np.float32], alpha: float
) -> list[NDArray[np.uint8]]:
    """The four pictures of one clip."""
    grown = alpha * flow
    scale = float(np.hypot(*grown).max()) or 1.0
    length = np.hypot(*magnified) - np.hypot(*grown)
    difference = colormaps["coolwarm"](0.5 + 0.5 * length / scale)[..., :3]
    pictures = [flow_to_rgb(u, v, scale) for u, v in (flow, grown, magnified)]
    return [*pictures, (255 * difference).astype(np.uint8)]


@torch.no_grad()
def main() -> None:
    """Draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("--alpha", type=float, default=3.0)
    parser.add_argument("--out", type=Path, default=Path("magnified.png"))
    parser.add_argument("--size", type=int, default=56)
    parser.add_argument("--persons", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=8)
    given = parser.parse_args()
    if given.checkpoint:
        model = loaded(given.checkpoint)
    else:
        with torch.enable_grad():
            model = trained(given.size, given.persons, given.epochs)
    people = Synthetic(None, 7, 7, seed=99, size=model.eats.size)
    chosen = [next(clip for clip in people.clips() if clip.emotion == name) for name in EMOTIONS]
    flow = people.read_many(chosen, model.eats)[:, :2]
    magnified = model.magnify(torch.from_numpy(flow), given.alpha).numpy()
    rows = [compared(a, b, given.alpha) for a, b in zip(flow, magnified, strict=True)]
    title = f"motion magnified by {given.alpha:g}"
    save(contact_sheet(rows, list(EMOTIONS), COLUMNS, title, side=1.6), given.out)
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()
