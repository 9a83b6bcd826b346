from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.svm import SVC

from microexpr.errors import UserError
from microexpr.nn.pairwise import pairs, solve_pairs, votes


def data(classes: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(classes)
    y = np.arange(n) % classes
    return random.normal(size=(n, 5)) + y[:, None] * random.normal(size=(classes, 5))[y], y


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("C", [0.1, 100.0])
def test_equals_libsvm(classes: int, C: float) -> None:
    x, y = data(classes)
    normals, offsets = solve_pairs(x, y, classes, C)
    twin = SVC(kernel="linear", C=C, decision_function_shape="ovo").fit(x, y)
    margins = torch.as_tensor(x @ normals.T + offsets)
    wanted = twin.decision_function(x)
    wanted = -wanted[:, None] if classes == 2 else wanted
    np.testing.assert_allclose(margins.numpy(), wanted, rtol=1e-9, atol=1e-9)
    assert np.array_equal(votes(margins, classes).argmax(dim=1).numpy(), twin.predict(x))
    if classes > 2:
        scores = SVC(kernel="linear", C=C, decision_function_shape="ovr").fit(x, y)
        np.testing.assert_allclose(votes(margins, classes), scores.decision_function(x), atol=1e-9)


@pytest.mark.parametrize("present", [(0, 2), (1, 3), (0, 1, 3)])
def test_an_absent_class_never_wins(present: tuple[int, ...]) -> None:
    x, y = data(len(present))
    y = np.array(present)[y]
    normals, offsets = solve_pairs(x, y, 4, 1.0)
    won = votes(torch.as_tensor(x @ normals.T + offsets), 4).argmax(dim=1).numpy()
    assert np.array_equal(won, SVC(kernel="linear", C=1.0).fit(x, y).predict(x))


def test_pairs_and_bad_data() -> None:
    assert pairs(4) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    with pytest.raises(UserError, match="at least two classes"):
        solve_pairs(np.zeros((3, 2)), np.array([1, 1, 1]), 3, 1.0)
