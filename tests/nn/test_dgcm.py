from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from microexpr.errors import UserError
from microexpr.nn.dgcm import CoarseToFine

SEVEN = (0, 1, 0, 0, 2, 0, 3)  # ang con dis fea hap sad sur


def softmax(values: list[float]) -> list[float]:
    total = sum(math.exp(v) for v in values)
    return [math.exp(v) / total for v in values]


def test_heads_of_the_paper() -> None:
    head = CoarseToFine(10, SEVEN)
    assert head.coarse.out_features == 4
    assert head.fine.out_features == 4
    assert head.fine_of.tolist() == [0, 2, 3, 5]
    assert head(torch.randn(3, 10)).shape == (3, 8)


@pytest.mark.parametrize(("progress", "alpha"), [(0.0, 0.5), (0.5, 1.5), (0.75, 2.0), (1.0, 2.0)])
def test_loss_by_hand(progress: float, alpha: float) -> None:
    coarse = [[0.3, -1.0, 0.5, 0.1], [1.0, 0.2, -0.4, 0.0], [0.0, 0.6, 0.2, -0.9]]
    fine = [[0.2, 0.1, -0.3, 0.9], [5.0, 1.0, 0.0, -2.0], [0.4, -0.4, 0.8, 0.0]]
    logits = torch.tensor([c + f for c, f in zip(coarse, fine, strict=True)])
    labels = torch.tensor([3, 4, 0])  # fear, happiness, anger: negative, positive, negative
    groups, places = [0, 2, 0], [2, None, 0]
    l_coarse = -sum(math.log(softmax(c)[g]) for c, g in zip(coarse, groups, strict=True)) / 3
    l_fine = -sum(math.log(softmax(fine[i])[places[i]]) for i in (0, 2)) / 2
    found = CoarseToFine(1, SEVEN).loss(logits, labels, progress)
    assert float(found) == pytest.approx(0.5 * (l_coarse + alpha * l_fine), rel=1e-5)


def test_loss_of_target_mass_weighs_negatives_by_their_mass() -> None:
    head = CoarseToFine(1, SEVEN)
    logits = torch.randn(3, 8)
    coarse, fine = logits[:, :4].log_softmax(1), logits[:, 4:].log_softmax(1)
    mass = torch.zeros(3, 7)
    mass[0, 2], mass[0, 4] = 0.3, 0.7  # Mixup of disgust and happiness
    mass[1, 5] = 2.0  # a weighted sadness
    mass[2, 6] = 1.0
    l_coarse = -(0.3 * coarse[0, 0] + 0.7 * coarse[0, 2] + 2 * coarse[1, 0] + coarse[2, 3]) / 3
    l_fine = -(0.3 * fine[0, 1] + 2.0 * fine[1, 3]) / 2.3
    expected = 0.5 * (l_coarse + 0.5 * l_fine)
    torch.testing.assert_close(head.loss(logits, mass, 0.0), expected)


def test_loss_without_negatives_is_coarse_only_and_has_gradients() -> None:
    head = CoarseToFine(5, SEVEN)
    logits = head(torch.randn(2, 5))
    labels = torch.tensor([4, 6])
    loss = head.loss(logits, labels, 1.0)
    coarse = torch.nn.functional.cross_entropy(logits[:, :4], torch.tensor([2, 3]))
    torch.testing.assert_close(loss, 0.5 * coarse)
    loss.backward()
    assert float(head.fine.weight.grad.abs().max()) == 0.0
    assert torch.isfinite(head.coarse.weight.grad).all()


def test_labels_and_one_hot_mass_agree() -> None:
    head = CoarseToFine(1, SEVEN)
    logits, labels = torch.randn(9, 8), torch.randint(0, 7, (9,))
    one_hot = torch.nn.functional.one_hot(labels, 7).float()
    torch.testing.assert_close(head.loss(logits, labels, 0.3), head.loss(logits, one_hot, 0.3))


def test_predict_by_the_two_rules() -> None:
    head = CoarseToFine(1, SEVEN)
    log = math.log
    logits = torch.tensor(
        [
            [0.0, 5.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0],  # others wins: contempt, whatever fine says
            [5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3.0, 0.0],  # negative wins: fine says fear
            [log(0.5), log(0.05), log(0.4), log(0.05), 0.0, 0.01, 0.0, 0.0],
        ]
    )
    labels, probabilities = head.predict(logits)
    assert labels.tolist() == [1, 3, 2]
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(3))
    # the documented disagreement: four even negatives, each below happiness
    assert int(probabilities[2].argmax()) == 4
    assert float(probabilities[2, 4]) == pytest.approx(0.4, abs=1e-3)
    assert float(probabilities[2, 0]) == pytest.approx(0.125, abs=1e-3)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 3), min_size=3, max_size=8), st.integers(0, 10**6))
def test_any_coarse_map_gives_a_distribution(raw: list[int], seed: int) -> None:
    order = sorted(set(raw))
    coarse = [order.index(g) for g in raw]
    if len(order) < 2 or len(order) == len(coarse):
        with pytest.raises(UserError):
            CoarseToFine(2, coarse)
        return
    head = CoarseToFine(2, coarse)
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(5, len(order) + len(head.fine_of), generator=g) * 4
    labels, probabilities = head.predict(logits)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(5))
    assert [coarse[int(i)] for i in labels] == logits[:, : len(order)].argmax(dim=1).tolist()
    for group in range(len(order)):
        members = [c for c in range(len(coarse)) if coarse[c] == group]
        share = logits[:, : len(order)].softmax(dim=1)[:, group]
        torch.testing.assert_close(probabilities[:, members].sum(dim=1), share)


@pytest.mark.parametrize("coarse", [(0, 0, 2), (0, 0, 0), (0, 1, 2)])
def test_bad_maps(coarse: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="coarse class"):
        CoarseToFine(4, coarse)
