"""Which epoch predicts: what is kept of the epochs so far, and how it outlives a killed process.

`Oracle` and `Inner` keep everything in one dictionary of tensors, so that it can be saved between
two phases of a training together with the weights (`save_halfway`).
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from microexpr.evaluation.metrics import confusion, uf1
from microexpr.evaluation.protocols import Fold
from microexpr.files import replacing
from microexpr.models.base import Classifier

Predicted = tuple[Tensor, Tensor]  # labels, probabilities
Kept = dict[str, Tensor]


class Oracle:
    """Keeps, for each test person, the predictions of the epoch that was best on their clips.

    Args:
        fold: Its test clips are looked at: this is the leak that the oracle column shows.
        true: ``(n,)`` labels of the test clips.
        kept: What was kept of earlier epochs; it is changed.
    """

    def __init__(self, fold: Fold, true: Tensor, kept: Kept) -> None:
        names = sorted({clip.person for clip in fold.test})
        self.person = torch.tensor([names.index(clip.person) for clip in fold.test])
        self.persons, self.true, self.kept = len(names), true, kept

    @property
    def chosen(self) -> Predicted | None:
        """The predictions, or None before the first look."""
        return _predicted(self.kept)

    def look(self, predicted: Predicted) -> None:
        """One more epoch's labels and probabilities; of equals the latest is kept."""
        right = torch.zeros(self.persons, dtype=torch.int64)
        right.index_add_(0, self.person, (predicted[0] == self.true).long())
        best = self.kept.get("best", torch.full_like(right, -1))
        better = (right >= best)[self.person]
        labels, probabilities = self.chosen or predicted
        self.kept |= {
            "best": torch.maximum(best, right),
            "labels": torch.where(better, predicted[0], labels),
            "probabilities": torch.where(better[:, None], predicted[1], probabilities),
        }


class Inner:
    """Keeps the predictions of the epoch of the best UF1 on persons set aside.

    Args:
        true: ``(n,)`` labels of the clips of those persons.
        classes: Number of classes.
        kept: What was kept of earlier epochs; it is changed.
    """

    def __init__(self, true: Tensor, classes: int, kept: Kept) -> None:
        self.true, self.classes, self.kept = true, classes, kept

    @property
    def chosen(self) -> Predicted | None:
        """The predictions, or None before the first look."""
        return _predicted(self.kept)

    def better(self, guess: Tensor) -> bool:
        """Whether an epoch with these labels of the persons set aside is the best so far.

        The first among equals is kept, and the first epoch in any case.
        """
        score = float(uf1(confusion(self.true.numpy(), guess.numpy(), self.classes)))
        best = self.kept.get("score")
        if best is not None and not score > float(best):
            return False
        self.kept["score"] = torch.tensor(score, dtype=torch.float64)
        return True

    def keep(self, predicted: Predicted) -> None:
        """The predictions of the best epoch so far."""
        self.kept |= {"labels": predicted[0], "probabilities": predicted[1]}


def save_halfway(path: Path, phases: int, model: Classifier, kept: Kept) -> None:
    """Writes what a training has reached after some of its phases.

    Args:
        path: Ends in ``.safetensors``.
        phases: How many phases of the recipe are done.
        model: What the last of them left behind.
        kept: Of `Oracle` or `Inner`.
    """
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    state |= {f"kept.{name}": value for name, value in kept.items()}
    state["phases"] = torch.tensor(phases)
    with replacing(path) as unfinished:
        save_file({name: value.contiguous().cpu() for name, value in state.items()}, unfinished)


def load_halfway(path: Path, model: Classifier, kept: Kept) -> int:
    """Takes up what `save_halfway` wrote; a file that is damaged counts as none.

    Args:
        path: As there.
        model: Gets the weights.
        kept: Gets what was kept.

    Returns:
        How many phases are done; 0 without a file.
    """
    if not path.exists():
        return 0
    try:
        state = load_file(path)
    except SafetensorError:
        path.unlink()
        return 0
    phases = int(state.pop("phases"))
    model.load_state_dict(_below("model.", state))
    kept |= _below("kept.", state)
    return phases


def _predicted(kept: Kept) -> Predicted | None:
    return (kept["labels"], kept["probabilities"]) if "labels" in kept else None


def _below(prefix: str, state: Kept) -> Kept:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
