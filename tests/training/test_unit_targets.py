"""Action units as a second target: their mass, and what `fit` makes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from microexpr.clip import Clip
from microexpr.datasets.synthetic import Synthetic
from microexpr.errors import UserError
from microexpr.labels import label_scheme
from microexpr.models.base import Classifier
from microexpr.models.smallcnn import SmallCnn
from microexpr.training.data import TrainingSet, labelled, tensors, unit_mass
from microexpr.training.fit import epochs, fit
from microexpr.training.recipe import Phase, Recipe

UNITS = ("1", "4", "12")
QUICK = Phase(epochs=2, batch=32, lr=3e-3, warmup=0, cooldown=0)
SCHEME = label_scheme("megc3")


def synthetic(persons: int = 8, clips: int = 6, seed: int = 0) -> TrainingSet:
    data = Synthetic(None, persons=persons, clips_per_person=clips, seed=seed, size=28)
    return TrainingSet(labelled(data.clips(), SCHEME), SCHEME, data, SmallCnn.eats)


def uncoded(data: TrainingSet) -> TrainingSet:
    return replace(data, clips=tuple(replace(clip, action_units=()) for clip in data.clips))


def trained(recipe: Recipe, units: tuple[str, ...] = UNITS, **others: TrainingSet) -> Classifier:
    torch.manual_seed(0)
    return fit(SmallCnn(3, units=units), synthetic(), recipe, 0, others)


def same(a: Classifier, b: Classifier, but: str = "-") -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for (key, one), other in pairs if not key.startswith(but))


def test_mass_tells_active_absent_and_unknown() -> None:
    def clip(*codes: str) -> Clip:
        return Clip("samm", "006", "a", "anger", action_units=codes)

    mass = unit_mass([clip("R14+L10B", "4"), clip(), clip("loses 4")], ("4", "10", "12"))
    assert mass.tolist() == [[1, 1, 0, 0, 0, 1], [0] * 6, [0, 0, 0, 1, 1, 1]]


class Seen(SmallCnn):
    """Remembers the target mass that it was given."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(3, **settings)
        self.seen: list[Tensor] = []

    def loss(self, x: Tensor, y: Tensor, progress: float) -> Tensor:
        self.seen.append(y.detach().clone())
        return super().loss(x, y, progress)


def test_the_recipe_weighs_units_beside_classes() -> None:
    data = synthetic()
    phase = replace(QUICK, epochs=1, sampling="in_order", batch=1000, flip=False)
    plain, model = Seen(), Seen(units=UNITS)
    weighed = replace(phase, units_weight=0.25, class_weights=True)
    fit(plain, data, Recipe((replace(phase, class_weights=True),)), 0)
    fit(model, data, Recipe((weighed,)), 0)
    assert torch.equal(model.seen[0][:, :3], plain.seen[0])
    assert torch.equal(model.seen[0][:, 3:], 0.25 * unit_mass(data.clips, UNITS))
    replayed, half = Seen(units=UNITS), replace(phase, replay="more", replay_weight=0.5)
    fit(replayed, data, Recipe((replace(half, replay_batch=4),)), 0, {"more": uncoded(data)})
    added = replayed.seen[0][len(data.clips) :]
    assert added[:, :3].sum(1).tolist() == [0.5] * 4
    assert not added[:, 3:].any()
    mixed = Seen(units=UNITS)
    fit(mixed, data, Recipe((replace(phase, mixup=0.4),)), 0)
    coded = mixed.seen[0][:, 3:6] + mixed.seen[0][:, 6:]
    torch.testing.assert_close(coded, torch.ones_like(coded))
    assert bool(((mixed.seen[0] > 0) & (mixed.seen[0] < 1)).any())
    mesa = Seen(units=UNITS)
    averaged = replace(phase, epochs=2, ema=0.5, mesa=0.7, mesa_start=0.5)
    fit(mesa, data, Recipe((averaged,)), 0)
    assert torch.equal(mesa.seen[0][:, 3:], mesa.seen[1][:, 3:])
    assert torch.allclose(mesa.seen[1][:, :3].sum(1), torch.tensor(1.7))


def test_clips_without_codes_teach_no_units() -> None:
    torch.manual_seed(0)
    model = SmallCnn(3, units=UNITS)
    before = model.head.weight[3:].detach().clone()
    fit(model, uncoded(synthetic()), Recipe((replace(QUICK, weight_decay=0.0),)), 0)
    assert torch.equal(model.head.weight[3:], before)
    taught = SmallCnn(3, units=UNITS)
    taught.load_state_dict(model.state_dict())
    fit(taught, synthetic(), Recipe((replace(QUICK, units_weight=0.0, weight_decay=0.0),)), 0)
    assert torch.equal(taught.head.weight[3:], before)


def test_phases_may_be_done_one_by_one_with_units() -> None:
    recipe = Recipe((replace(QUICK, name="a", ema=0.5), replace(QUICK, name="b", mixup=0.4)))
    torch.manual_seed(0)
    model: Classifier = SmallCnn(3, units=UNITS)
    for index in range(2):
        fresh = SmallCnn(3, units=UNITS)
        fresh.load_state_dict(model.state_dict())
        for epoch in epochs(fresh, synthetic(), recipe, 0, phases=range(index, index + 1)):
            model = epoch.model
    assert same(model, trained(recipe))
    assert not same(model, trained(Recipe((recipe.phases[0],))))


def test_fit_learns_which_units_are_active() -> None:
    data, others = synthetic(60, 10), synthetic(10, 10, seed=1)
    torch.manual_seed(0)
    model = fit(SmallCnn(3, units=UNITS), data, Recipe((replace(QUICK, epochs=8),)), 0)
    x, y = tensors(others)
    said = model.unit_probabilities(x).numpy()
    active = unit_mass(others.clips, UNITS)[:, :3].numpy() > 0
    for k, unit in enumerate(UNITS):
        higher = said[active[:, k], k][:, None] > said[~active[:, k], k]
        assert np.mean(higher) > 0.8, unit  # area under the ROC curve
    assert float((model.predict(x)[0] == y).float().mean()) > 0.6


def test_a_weight_below_nothing() -> None:
    with pytest.raises(UserError, match="units_weight must not be negative"):
        Phase(units_weight=-1)
