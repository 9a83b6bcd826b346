from __future__ import annotations

import builtins
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from microexpr.errors import UserError
from microexpr.models.base import Adaptive
from microexpr.training.recipe import Phase
from microexpr.training.search import Judge, read_trials, search

GRID = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
PHASE = Phase(name="s", mode="search", hold_out=0.2, population=8, epochs=4)


class Knobs(Adaptive):
    """Nothing but choices; `loss` is the distance from a target."""

    paper: ClassVar[str] = "none"
    smallest: ClassVar[dict[str, Any]] = {}

    def __init__(self, count: int = 4) -> None:
        super().__init__()
        self.now = dict.fromkeys([f"k{i}" for i in range(count)], 0.1)
        self.judged = 0

    @property
    def choices(self) -> dict[str, tuple[float, ...]]:
        return dict.fromkeys(self.now, GRID)

    @property
    def chosen(self) -> dict[str, float]:
        return dict(self.now)

    def choose(self, values: Mapping[str, float]) -> None:
        self.now |= values

    def forward(self, x: Tensor) -> Tensor:
        return x

    def judge(self) -> float:
        self.judged += 1
        return sum((value - 0.5) ** 2 for value in self.now.values())


def one_by_one(model: Knobs, loss: Callable[[], float] | None = None) -> Judge:
    """Judges by `loss`, or by the distance."""

    def judge(many: Sequence[Mapping[str, float]]) -> Iterator[float]:
        for values in many:
            model.choose(values)
            yield (loss or model.judge)()

    return judge


def searched(journal: Path | None = None, seed: int = 0, **about: Any) -> tuple[Knobs, list[float]]:
    model = Knobs()
    return model, list(search(model, one_by_one(model), PHASE, about, seed, journal))


def test_it_finds_better_and_leaves_the_best_chosen() -> None:
    model, losses = searched()
    assert len(losses) == PHASE.epochs
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]
    assert model.judge() == pytest.approx(losses[-1])
    assert all(value in GRID for value in model.now.values())


def test_it_beats_as_many_random_draws() -> None:
    """Over seeds, on average: what makes it evolution and not chance."""
    phase = Phase(name="s", mode="search", hold_out=0.2, population=10, epochs=6)
    evolved, random = [], []
    for seed in range(6):
        model = Knobs(8)
        evolved.append(list(search(model, one_by_one(model), phase, {}, seed))[-1])
        rng = torch.Generator().manual_seed(seed)
        draws = 0.1 + 0.1 * torch.randint(8, (60, 8), generator=rng)
        random.append(float(((draws - 0.5) ** 2).sum(1).min()))
    assert sum(evolved) < 0.8 * sum(random)


def test_a_seed_decides_all_and_twins_are_judged_once() -> None:
    one, losses = searched()
    again, same = searched()
    assert (one.now, losses) == (again.now, same)
    assert one.judged <= PHASE.population * PHASE.epochs
    small = Knobs(1)
    list(search(small, one_by_one(small), PHASE, {}, 0))
    assert small.judged <= len(GRID)
    assert searched(seed=1)[1] != losses


def killed(after: int, journal: Path) -> None:
    """A search whose process dies while it judges."""
    model = Knobs()

    def judge() -> float:
        if model.judged == after:
            raise KeyboardInterrupt
        return model.judge()

    with pytest.raises(KeyboardInterrupt):
        list(search(model, one_by_one(model, judge), PHASE, {}, 0, journal))


def test_killed_it_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    whole, losses = searched()
    journal = tmp_path / "new" / "search.journal"
    killed(5, journal)
    killed(9, journal)
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "worker')  # a line that was not finished
    model, resumed = searched(journal)
    assert (model.now, resumed) == (whole.now, losses)
    assert model.judged < whole.judged - 9
    done, repeated = searched(journal)
    assert (done.now, repeated, done.judged) == (whole.now, losses, 0)


def test_another_experiment_is_refused(tmp_path: Path) -> None:
    journal = tmp_path / "search.journal"
    searched(journal, clips="a")
    for seed, clips, says in ((1, "a", "seed differs"), (0, "b", "clips differs")):
        with pytest.raises(UserError, match=f"holds the search of another experiment .{says}"):
            searched(journal, seed, clips=clips)
    model = Knobs()
    longer = Phase(name="s", mode="search", hold_out=0.2, population=9, epochs=4)
    with pytest.raises(UserError, match="population differs"):
        list(search(model, one_by_one(model), longer, {"clips": "a"}, 0, journal))


def test_nothing_to_choose_is_judged_once() -> None:
    model = Knobs(0)
    assert list(search(model, one_by_one(model), PHASE, {}, 0)) == [0.0] * PHASE.epochs
    assert model.judged == 1


def test_a_loss_that_is_no_number_is_the_worst() -> None:
    model = Knobs()

    def judge() -> float:
        return float("nan") if model.now["k0"] < 0.75 else model.judge()

    assert list(search(model, one_by_one(model, judge), PHASE, {}, 0))[-1] < 1
    assert model.now["k0"] == 0.8


def test_without_optuna_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("optuna"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=r"pip install 'microexpr\[search\]'"):
        searched()


def test_it_does_not_matter_in_which_order_a_generation_is_judged(tmp_path: Path) -> None:
    """As several machines would: all of a generation before the first loss is told."""
    model = Knobs()
    sizes: list[int] = []

    def backwards(many: Sequence[Mapping[str, float]]) -> Iterator[float]:
        sizes.append(len(many))
        return reversed(list(one_by_one(model)(many[::-1])))

    journals = tmp_path / "one.journal", tmp_path / "other.journal"
    whole, losses = searched(journals[0])
    assert list(search(model, backwards, PHASE, {}, 0, journals[1])) == losses
    assert model.now == whole.now
    assert sizes[0] == PHASE.population
    first, second = map(read_trials, journals)
    assert first == second
    assert [row["trial"] for row in first] == list(range(PHASE.population * PHASE.epochs))
    assert first[3].keys() == {"trial", "loss", *model.now}


def share(rank: int, journal: Path, start: Any) -> None:
    """One of two processes with one journal."""
    model = Knobs()
    process = (rank, 2, start.wait)
    losses = list(search(model, one_by_one(model), PHASE, {}, 0, journal, process))
    whole, alone = searched()
    same = (losses, model.now) == (alone, whole.now)
    sys.exit(0 if same and model.judged < 0.7 * whole.judged else 1)


@pytest.mark.slow
def test_processes_share_a_journal_and_the_work(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(2)
    workers = [
        context.Process(target=share, args=(rank, tmp_path / "search.journal", start))
        for rank in (0, 1)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
    assert [worker.exitcode for worker in workers] == [0, 0]
