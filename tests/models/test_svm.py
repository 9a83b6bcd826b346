from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from torch import Tensor

from microexpr.errors import UserError
from microexpr.models.svm import GRID, Svm
from microexpr.nn import gaussian
from microexpr.nn.gaussian import GAMMAS, PRICES

PERSONS = torch.arange(60) // 6  # ten persons of six clips


def clips(classes: int, n: int = 60) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(classes)
    y = torch.arange(n) % classes
    x = torch.randint(0, 256, (n, 3, 8, 8), generator=g).float()
    x[:, 0, 0] += 60.0 * y[:, None]
    x[:, 1, 3, 3] = 7.0  # a constant feature
    return x, y


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_equals_scikit_learn(classes: int, balanced: bool, loss: str) -> None:
    x, y = clips(classes)
    model = Svm(classes, image=8, C=0.01, balanced=balanced, margin_loss=loss)
    model.solve(x, y, PERSONS, seed=3)
    twin = make_pipeline(
        StandardScaler(),
        LinearSVC(
            C=0.01,
            loss=loss,
            class_weight="balanced" if balanced else None,
            dual=True,
            max_iter=20_000,
            random_state=3,
        ),
    ).fit(x.flatten(1).double().numpy(), y.numpy())
    margins = twin.decision_function(x.flatten(1).double().numpy())
    if classes == 2:
        margins = np.stack([-margins, margins], axis=1)
    torch.testing.assert_close(model(x), torch.as_tensor(margins).float(), rtol=1e-3, atol=1e-3)
    labels, probabilities = model.predict(x)
    assert np.array_equal(labels.numpy(), twin.predict(x.flatten(1).double().numpy()))
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(len(x)))


def test_what_it_learnt_is_saved_and_repeatable() -> None:
    x, y = clips(3)
    model, again, other = (Svm(3, image=8) for _ in range(3))
    model.solve(x, y, PERSONS, seed=0)
    again.solve(x, y, PERSONS, seed=0)
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(x), again(x))
    assert torch.equal(model(x), other(x))
    again.solve(x, y.flip(0), PERSONS, seed=0)
    assert not torch.equal(model(x), again(x))


def test_a_class_that_was_never_seen_is_never_said() -> None:
    x, y = clips(2)
    model = Svm(4, image=8)
    model.solve(x, 2 * y, PERSONS, seed=0)  # classes 0 and 2 of 4
    labels, probabilities = model.predict(x)
    assert set(labels.tolist()) == {0, 2}
    assert float(probabilities[:, [1, 3]].max()) == 0.0


def test_bad_settings_and_data() -> None:
    with pytest.raises(UserError, match="C must be positive, got 0"):
        Svm(3, C=0)
    with pytest.raises(UserError, match="did you mean 'squared_hinge'"):
        Svm(3, margin_loss="squared")
    with pytest.raises(UserError, match="unknown kernel 'rfb': did you mean 'rbf'"):
        Svm(3, kernel="rfb")
    with pytest.raises(UserError, match="gamma must be positive, got -1"):
        Svm(3, kernel="rbf", gamma=-1)
    x, y = clips(3)
    with pytest.raises(UserError, match="at least two classes"):
        Svm(3, image=8).solve(x, 0 * y, PERSONS, seed=0)
    with pytest.raises(UserError, match="expected a batch of 3x28x28"):
        Svm(3).solve(x, y, PERSONS, seed=0)
    with pytest.raises(UserError, match="at least two persons"):
        Svm(3, image=8).solve(x, y, 0 * PERSONS, seed=0)


def test_c_is_chosen_by_folds_of_whole_persons() -> None:
    x, y = clips(3)
    model, given = Svm(3, image=8), None
    model.solve(x, y, PERSONS, seed=0)
    for C in GRID:
        fixed = Svm(3, image=8, C=C)
        fixed.solve(x, y, PERSONS, seed=0)
        if torch.equal(fixed.weight, model.weight):
            given = C
    scores = {C: inner_score(x, y, C) for C in GRID}
    assert given == max(scores, key=lambda C: (scores[C], -C))


def inner_score(x: Tensor, y: Tensor, C: float) -> float:
    """Macro F1 of one C, fold by fold, scaler and machine fitted on the other persons."""
    features = x.flatten(1).double().numpy()
    found = np.full(len(y), -1)
    split = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    for train, test in split.split(features, y.numpy(), PERSONS.numpy()):
        assert not set(PERSONS[train].tolist()) & set(PERSONS[test].tolist())
        model = Svm(3, image=8, C=C)
        model.solve(x[train], y[train], PERSONS[train], seed=0)
        found[test] = model.predict(x[test])[0].numpy()
    score: float = f1_score(y.numpy(), found, average="macro")
    return score


@pytest.mark.parametrize("balanced", [True, False])
def test_the_gaussian_machine_equals_scikit_learn(balanced: bool) -> None:
    x, y = clips(3)
    model = Svm(3, kernel="rbf", image=8, C=2.0, gamma=0.7, balanced=balanced).double()
    model.solve(x.double(), y, PERSONS, seed=0)
    flat, other = x.flatten(1).double().numpy(), x.flip(-1).flatten(1).double().numpy()
    weigh = "balanced" if balanced else None
    for label in range(3):
        twin = make_pipeline(
            StandardScaler(), SVC(C=2.0, gamma=0.7 / flat.shape[1], class_weight=weigh)
        ).fit(flat, y.numpy() == label)
        margins = model(x.flip(-1).double())[:, label].numpy()
        np.testing.assert_allclose(margins, twin.decision_function(other), atol=1e-6)


def test_what_the_gaussian_machine_learnt_is_saved() -> None:
    x, y = clips(3)
    model, other = (Svm(3, kernel="rbf", image=8) for _ in range(2))
    assert not bool(model(x).any())
    model.solve(x, y, PERSONS, seed=0)
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(x), other(x))
    assert model.machine is not None
    assert 0 < len(model.machine.support) <= len(x)
    model.solve(x, 2 * (y % 2), PERSONS, seed=0)
    assert set(model.predict(x)[0].tolist()) == {0, 2}


def test_gamma_and_c_are_chosen_by_folds_of_whole_persons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaussian, "GAMMAS", gammas := GAMMAS[::2])
    monkeypatch.setattr(gaussian, "PRICES", prices := PRICES[::2])
    x, y = clips(3)
    x = x + 40 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    model = Svm(3, kernel="rbf", image=8)
    model.solve(x, y, PERSONS, seed=0)
    scores = {}
    for gamma in gammas:
        for C in prices:
            found = np.full(len(y), -1)
            split = StratifiedGroupKFold(5, shuffle=True, random_state=0)
            for train, test in split.split(x.flatten(1), y, PERSONS):
                twin = Svm(3, kernel="rbf", image=8, gamma=gamma, C=C).double()
                twin.solve(x[train].double(), y[train], PERSONS[train], seed=0)
                found[test] = twin.predict(x[test].double())[0].numpy()
            scores[gamma, C] = f1_score(y.numpy(), found, average="macro")
    assert len(set(scores.values())) > 1
    gamma, C = max(scores, key=lambda pair: scores[pair])  # the first among equals
    fixed = Svm(3, kernel="rbf", image=8, gamma=gamma, C=C)
    fixed.solve(x, y, PERSONS, seed=0)
    assert torch.equal(model(x), fixed(x))
