from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from microexpr.clip import Clip
from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.labels import SCHEMES
from microexpr.models.base import Classifier
from microexpr.training.data import TrainingSet, labelled, tensors, without
from microexpr.training.fit import Epoch, build_optimiser, epochs, fit
from microexpr.training.recipe import Phase, Recipe

EATS = Input(("u", "v"), 4, normalisation="none")
QUICK = Phase(epochs=4, batch=8, lr=0.05, warmup=0, cooldown=0)


class Tiny(Classifier):
    """Dropout, batch norm and a linear layer: everything that has state or randomness."""

    paper: ClassVar[str] = "none"
    smallest: ClassVar[dict[str, Any]] = {}
    eats = EATS

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(2), nn.Dropout(0.2)
        self.head = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.drop(self.norm(x)).flatten(1))
        return out


class Fields:
    """A source whose classes can be learned; it raises for a clip it must not be asked for."""

    def __init__(self, forbidden: Sequence[Clip] = ()) -> None:
        self.forbidden = {clip.id for clip in forbidden}

    def read_many(self, clips: Sequence[Clip], wants: Input) -> NDArray[np.float32]:
        for clip in clips:
            assert clip.id not in self.forbidden, f"{clip.id} is a test clip"
        rows = []
        for clip in clips:
            rng = np.random.default_rng(sum(map(ord, clip.id)))
            row = rng.normal(size=(2, 4, 4)).astype(np.float32)
            row[1, ["negative", "positive", "surprise"].index(clip.emotion)] += 3
            rows.append(row)
        return np.stack(rows)


CLIPS = tuple(
    Clip("smic", f"s{p:02d}", f"c{i}", ["negative", "positive", "surprise"][(p + i) % 3])
    for p in range(8)
    for i in range(5)
)


def training_set(clips: Sequence[Clip] = CLIPS, source: Fields | None = None) -> TrainingSet:
    return TrainingSet(tuple(clips), SCHEMES["megc3"], source or Fields(), EATS)


def trained(recipe: Recipe, seed: int = 0, **others: TrainingSet) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return fit(Tiny(), training_set(), recipe, seed, others).state_dict()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


def test_fit_has_no_way_to_take_a_test_clip() -> None:
    assert list(inspect.signature(fit).parameters) == ["model", "train", "recipe", "seed", "others"]


def test_fit_asks_for_no_test_clip() -> None:
    train, test = CLIPS[:30], CLIPS[30:]
    source = Fields(forbidden=test)
    fit(Tiny(), training_set(train, source), Recipe((QUICK,)), 0)
    with pytest.raises(AssertionError, match="test clip"):
        source.read_many(test, EATS)


def test_fit_learns() -> None:
    torch.manual_seed(0)
    phase = replace(QUICK, epochs=40, flip=False)
    model = fit(Tiny(), training_set(), Recipe((phase,)), 0)
    x, y = tensors(training_set())
    assert not model.training
    assert float((model.predict(x)[0] == y).float().mean()) > 0.9


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"mixup": 0.4, "ema": 0.9, "class_weights": True},
        {"sampling": "balanced", "shift": 1.0, "rotate": 5.0, "zoom": 0.1, "noise": 0.1},
        {"optimiser": "adam", "schedule": "constant", "sampling": "in_order", "clip_grad": 1.0},
        {"optimiser": "sgd", "label_smoothing": 0.1},
    ],
)
def test_a_seed_decides_everything(change: dict[str, Any]) -> None:
    recipe = Recipe((replace(QUICK, **change),))
    assert same(trained(recipe), trained(recipe))
    assert not same(trained(recipe), trained(recipe, seed=1))


def test_phases_may_be_done_one_by_one() -> None:
    first, second = replace(QUICK, name="a", ema=0.5), replace(QUICK, name="b")
    recipe = Recipe((first, second))
    torch.manual_seed(0)
    model: Classifier = Tiny()
    for epoch in epochs(model, training_set(), recipe, 0, phases=range(1)):
        model = epoch.model
    again = Tiny()
    again.load_state_dict(model.state_dict())
    for epoch in epochs(again, training_set(), recipe, 0, phases=range(1, 2)):
        again_kept = epoch.model
    assert same(again_kept.state_dict(), trained(recipe))


def test_phases_and_replay_use_other_sets() -> None:
    other = training_set([replace(clip, dataset="samm") for clip in CLIPS])
    on = trained(Recipe((replace(QUICK, on="films"),)), films=other)
    replayed = trained(Recipe((replace(QUICK, replay="films", replay_batch=4),)), films=other)
    plain = trained(Recipe((QUICK,)))
    assert not same(on, plain)
    assert not same(replayed, plain)
    with pytest.raises(UserError, match=r"data\.others\.films"):
        trained(Recipe((replace(QUICK, on="films"),)))


def test_epochs_tells_where_it_is() -> None:
    recipe = Recipe((replace(QUICK, name="a", epochs=2), replace(QUICK, name="b", epochs=1)))
    seen: list[Epoch] = list(epochs(Tiny(), training_set(), recipe, 0))
    assert [(e.phase, e.number) for e in seen] == [(0, 1), (0, 2), (1, 1)]
    assert all(np.isfinite(e.loss) for e in seen)


def test_the_average_is_what_is_kept() -> None:
    """Against a loop over the weights after each step, which the average must equal."""
    phase = replace(QUICK, epochs=1, batch=40, ema=0.5, flip=False)
    torch.manual_seed(0)
    model = Tiny()
    steps = Recipe(tuple(replace(phase, name=str(i)) for i in range(1)))
    kept = [e.model for e in epochs(model, training_set(), steps, 0)][-1]
    assert same(kept.state_dict(), model.state_dict())  # the first average is the first weights
    phase = replace(phase, epochs=3)
    torch.manual_seed(0)
    model, expected = Tiny(), None
    for n, epoch in enumerate(epochs(model, training_set(), Recipe((phase,)), 0)):
        now = model.head.weight.detach().clone()
        decay = min(0.5, (1 + n) / (10 + n))
        expected = now if expected is None else expected * decay + now * (1 - decay)
        assert isinstance(epoch.model, Tiny)
        assert torch.allclose(epoch.model.head.weight, expected, atol=1e-6)


def test_vectors_get_no_weight_decay() -> None:
    model = Tiny()
    model.head.weight.no_weight_decay = True  # type: ignore[assignment]
    groups = build_optimiser(model, QUICK).param_groups
    assert [group["weight_decay"] for group in groups] == [0.0]
    model = Tiny()
    decayed = build_optimiser(model, QUICK).param_groups[0]
    assert decayed["weight_decay"] == 0.05
    assert [p is model.head.weight for p in decayed["params"]] == [True]


def test_frozen_parameters_stay() -> None:
    torch.manual_seed(0)
    model = Tiny()
    before = model.head.weight.detach().clone()
    fit(model, training_set(), Recipe((replace(QUICK, freeze=("head",)),)), 0)
    assert torch.equal(model.head.weight, before)
    with pytest.raises(UserError, match="no parameter starts with 'tail'"):
        fit(model, training_set(), Recipe((replace(QUICK, freeze=("tail",)),)), 0)


def test_class_weights_come_from_the_training_clips() -> None:
    """One clip of a rare class weighs as much as all of a frequent one together."""
    few = [c for c in CLIPS if c.emotion == "negative"] + [
        next(c for c in CLIPS if c.emotion == "positive"),
        next(c for c in CLIPS if c.emotion == "surprise"),
    ]
    from microexpr.training.fit import _target_mass

    _, y = tensors(training_set(few))
    mass = _target_mass(y, 3, replace(QUICK, class_weights=True))
    assert torch.allclose(mass.sum(0), torch.full((3,), len(few) / 3))


def test_labelled_and_without() -> None:
    extra = Clip("samm", "006", "x", "other")
    assert extra not in labelled([*CLIPS, extra], SCHEMES["megc3"])
    with pytest.raises(UserError, match="no clip has a label"):
        labelled([extra], SCHEMES["megc3"])
    less = without(training_set(), {"smic/s00", "smic/s01"})
    assert less.persons == training_set().persons - {"smic/s00", "smic/s01"}
    with pytest.raises(UserError, match="every person is held out"):
        tensors(without(training_set(), training_set().persons))
