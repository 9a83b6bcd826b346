from __future__ import annotations

from pathlib import Path

import torch

from microexpr.clip import Clip
from microexpr.evaluation.protocols import Fold
from microexpr.evaluation.selection import Inner, Kept, Oracle, load_halfway, save_halfway
from microexpr.models import create_model

CLIPS = tuple(Clip("smic", f"s{i // 3}", str(i), "negative") for i in range(9))
FOLD = Fold("x", (Clip("samm", "1", "a", "other"),), CLIPS)
Looks = list[tuple[torch.Tensor, torch.Tensor]]


def some(seed: int = 0) -> tuple[torch.Tensor, Looks]:
    rng = torch.Generator().manual_seed(seed)
    true = torch.randint(3, (9,), generator=rng)
    return true, [
        (torch.randint(3, (9,), generator=rng), torch.rand(9, 3, generator=rng)) for _ in range(12)
    ]


def test_the_oracle_against_a_loop() -> None:
    """For each person alone: the latest of the epochs with most clips right."""
    true, looks = some()
    oracle = Oracle(FOLD, true, {})
    assert oracle.chosen is None
    for predicted in looks:
        oracle.look(predicted)
    assert oracle.chosen is not None
    for rows in (slice(0, 3), slice(3, 6), slice(6, 9)):
        right = [int((labels[rows] == true[rows]).sum()) for labels, _ in looks]
        best = max(i for i, count in enumerate(right) if count == max(right))
        assert torch.equal(oracle.chosen[0][rows], looks[best][0][rows])
        assert torch.equal(oracle.chosen[1][rows], looks[best][1][rows])


def test_inner_keeps_the_first_of_the_best() -> None:
    true = torch.tensor([0, 1, 2, 0, 1, 2])
    worse, right = torch.tensor([0, 1, 2, 0, 2, 1]), true.clone()
    inner = Inner(true, 3, {})
    assert [inner.better(g) for g in (worse, worse, right, worse, right)] == [
        True,
        False,
        True,
        False,
        False,
    ]
    assert inner.chosen is None
    inner.keep((worse, torch.zeros(6, 3)))
    assert inner.chosen is not None
    assert torch.equal(inner.chosen[0], worse)


def test_what_is_saved_halfway_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    path = tmp_path / "fold.halfway.safetensors"
    true, looks = some(1)
    model, other = create_model("smallcnn", 3), create_model("smallcnn", 3)
    kept: Kept = {}
    whole = Oracle(FOLD, true, kept)
    for predicted in looks[:5]:
        whole.look(predicted)
    save_halfway(path, 2, model, kept)
    found: Kept = {}
    again = Oracle(FOLD, true, found)
    assert load_halfway(path, other, found) == 2
    for predicted in looks[5:]:
        whole.look(predicted)
        again.look(predicted)
    assert whole.chosen is not None
    assert again.chosen is not None
    assert all(torch.equal(a, b) for a, b in zip(whole.chosen, again.chosen, strict=True))
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in model.state_dict().items())


def test_no_file_and_a_damaged_one_mean_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "fold.halfway.safetensors"
    model = create_model("smallcnn", 3)
    assert load_halfway(path, model, {}) == 0
    save_halfway(path, 1, model, {})
    path.write_bytes(path.read_bytes()[:-50])
    assert load_halfway(path, model, {}) == 0
    assert not path.exists()
