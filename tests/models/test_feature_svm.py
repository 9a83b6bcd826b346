from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor

from microexpr.datasets.synthetic import Synthetic
from microexpr.errors import UserError
from microexpr.labels import label_scheme
from microexpr.models import create_model
from microexpr.models.feature_svm import FeatureSvm
from microexpr.training.data import TrainingSet, labelled
from microexpr.training.fit import fit
from microexpr.training.recipe import Phase, Recipe

PERSONS = torch.arange(60) // 6
LEARN = Phase("learn", on="others", epochs=2, warmup=0, cooldown=0, batch=32)
SOLVE = Phase("solve", mode="solve", epochs=1, warmup=0, cooldown=0)


def clips() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    x = torch.randn(60, 3, 8, 8, generator=g)
    x[:, 0] += y[:, None, None]
    return x, y


def people(model: FeatureSvm, seed: int) -> TrainingSet:
    data, scheme = Synthetic(persons=8, clips_per_person=6, seed=seed), label_scheme("megc3")
    return TrainingSet(labelled(data.clips(), scheme), scheme, data, model.eats)


@pytest.mark.parametrize("flow", [True, False])
def test_equals_scikit_learn_on_scaled_blocks(flow: bool) -> None:
    x, y = clips()
    model = FeatureSvm(3, image=8, C=2.0, gamma=0.7, flow=flow).double()
    model.solve(x.double(), y, PERSONS, seed=0)
    with torch.no_grad():
        features = model.eval().net.features(x.double()).numpy()
    blocks = [features, x.double().flatten(1).numpy()] if flow else [features]
    scaled = [StandardScaler().fit_transform(b) / b.shape[1] ** 0.5 for b in blocks]
    flat = np.concatenate(scaled, axis=1) / len(blocks) ** 0.5
    for label in range(3):
        twin = SVC(C=2.0, gamma=0.7, class_weight="balanced").fit(flat, y.numpy() == label)
        margins = model(x.double())[:, label].detach().numpy()
        np.testing.assert_allclose(margins, twin.decision_function(flat), atol=1e-6)


def test_says_what_the_net_says_until_it_is_solved() -> None:
    x, y = clips()
    model = FeatureSvm(3, image=8, C=1.0, gamma=1.0).eval()
    assert torch.equal(model(x), model.net(x))
    model.solve(x, y, PERSONS, seed=0)
    assert not torch.allclose(model(x), model.net(x))
    fresh = FeatureSvm(3, image=8)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh.eval()(x), model(x))


def test_the_net_learns_elsewhere_and_the_machine_here() -> None:
    torch.manual_seed(0)
    model = FeatureSvm(3, C=1.0, gamma=1.0)
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    here, elsewhere = people(model, 1), people(model, 2)
    solved = fit(model, here, Recipe((LEARN, SOLVE)), 0, {"others": elsewhere})
    assert isinstance(solved, FeatureSvm)
    assert solved.machine.solved
    weight = "features.0.weight"
    assert not torch.equal(solved.net.state_dict()[weight], before[weight])
    assert 0 < len(solved.machine.support) <= 2 * len(here.clips)  # with their mirror images
    again = fit(solved, here, Recipe((replace(SOLVE, flip=False),)), 0)
    assert isinstance(again, FeatureSvm)
    assert len(again.machine.support) <= len(here.clips)
    assert torch.equal(again.net.state_dict()[weight], solved.net.state_dict()[weight])


def test_bad_settings_and_phases() -> None:
    x, y = clips()
    with pytest.raises(UserError, match="gamma must be positive, got 0"):
        FeatureSvm(3, gamma=0)
    with pytest.raises(UserError, match="at least two classes"):
        FeatureSvm(3, image=8).solve(x, 0 * y, PERSONS, seed=0)
    net = create_model("smallcnn", 3)
    with pytest.raises(UserError, match="phase 'solve' solves, but this model learns"):
        fit(net, people(FeatureSvm(3), 1), Recipe((SOLVE,)), 0)
