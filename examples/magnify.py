"""Figure 1 of AMMSM: optical flow and what the magnifier makes of it, for three emotions.

    python examples/magnify.py [CHECKPOINT] [--alpha 3] [--out magnified.png] [--size 28]
                               [--persons 300] [--epochs 12]

CHECKPOINT is an `ammsm` model without onset frame that `microexpr train` saved. Without one, a
small one is trained here on synthetic people, in two to three minutes of one core: both losses of
Eq. 2, factors and ratios drawn anew for each batch. The people in the picture are others.

Each row shows one clip, all in one scale of colour: the flow, alpha times the flow, and the
magnified flow. Of the model trained here there are two: after the first third of the training,
while Eq. 1 still holds it to alpha times the flow, and at the end, when its weight has fallen to
zero and the magnifier may do whatever helps to tell the emotions apart.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from microexpr.datasets.synthetic import Synthetic
from microexpr.drawing import contact_sheet, flow_to_rgb, save
from microexpr.errors import UserError
from microexpr.labels import label_scheme
from microexpr.models import create_model
from microexpr.models.ammsm import Ammsm
from microexpr.models.base import Classifier
from microexpr.training.checkpoint import load_checkpoint
from microexpr.training.data import TrainingSet
from microexpr.training.fit import epochs
from microexpr.training.recipe import Phase, Recipe

EMOTIONS = ("happiness", "surprise", "disgust")


def loaded(path: Path) -> Ammsm:
    """The model of a checkpoint, if it is one whose magnifier can be shown."""
    model = load_checkpoint(path).model
    if not isinstance(model, Ammsm) or model.magnifier is None or model.spatial is not None:
        raise UserError(f"{path} holds no ammsm with a magnifier and without an onset frame")
    return model


def trained(size: int, persons: int, epoch_count: int) -> dict[str, Ammsm]:
    """A small AMMSM on synthetic people, after a third of its training and at its end."""
    torch.manual_seed(0)
    model = create_model("ammsm", 3, size="nano", spatial=False, image=size)
    people = Synthetic(None, persons, 12, size=size, prior="megc3")
    clips = TrainingSet(tuple(people.clips()), label_scheme("megc3"), people, model.eats)
    phase = Phase(
        "adapt", mode="adapt", epochs=epoch_count, batch=32, lr=2e-3, warmup=0.5, cooldown=0.5
    )
    found: dict[str, Classifier] = {}
    for epoch in epochs(model, clips, Recipe((phase,)), 0):
        if epoch.number == -(-epoch_count // 3):
            found["after a third"] = copy.deepcopy(epoch.model)
        print(f"epoch {epoch.number}/{epoch_count}", flush=True)
    found["at the end"] = epoch.model
    return {f"magnified, {w}": m.eval() for w, m in found.items() if isinstance(m, Ammsm)}


def pictures(
    flow: NDArray[np.float32], magnified: Sequence[NDArray[np.float32]], alpha: float
) -> list[NDArray[np.uint8]]:
    """The pictures of one clip, colours full where alpha times the flow is longest."""
    grown = alpha * flow
    scale = float(np.hypot(*grown).max()) or 1.0
    return [flow_to_rgb(u, v, scale) for u, v in (flow, grown, *magnified)]


@torch.no_grad()
def main() -> None:
    """Draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("--alpha", type=float, default=3.0)
    parser.add_argument("--out", type=Path, default=Path("magnified.png"))
    parser.add_argument("--size", type=int, default=28)
    parser.add_argument("--persons", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=12)
    given = parser.parse_args()
    if given.checkpoint:
        models = {"magnified": loaded(given.checkpoint)}
    else:
        with torch.enable_grad():
            models = trained(given.size, given.persons, given.epochs)
    eats = next(iter(models.values())).eats
    people = Synthetic(None, 7, 7, seed=99, size=eats.size)
    chosen = [next(clip for clip in people.clips() if clip.emotion == name) for name in EMOTIONS]
    flow = people.read_many(chosen, eats)[:, :2]
    magnified = [m.magnify(torch.from_numpy(flow), given.alpha).numpy() for m in models.values()]
    rows = [pictures(a, b, given.alpha) for a, *b in zip(flow, *magnified, strict=True)]
    columns = ("flow", f"{given.alpha:g} x flow", *models)
    save(contact_sheet(rows, list(EMOTIONS), columns, "motion magnified", side=1.8), given.out)
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()
