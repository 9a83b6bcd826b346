from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microexpr.errors import UserError
from microexpr.training.recipe import Phase, Recipe, learning_rate


@given(
    epochs=st.integers(1, 100),
    warmup=st.floats(0, 0.5),
    cooldown=st.floats(0, 0.5),
    at=st.floats(0, 1),
)
def test_the_rate_stays_between_its_ends(
    epochs: int, warmup: float, cooldown: float, at: float
) -> None:
    phase = Phase(epochs=epochs, warmup=warmup * epochs, cooldown=cooldown * epochs)
    rate = learning_rate(phase, at * epochs)
    assert min(phase.warmup_lr, phase.lr_floor) <= rate <= phase.lr * (1 + 1e-12)


def test_the_rate_rises_then_falls() -> None:
    phase = Phase(epochs=70)
    rates = [learning_rate(phase, e / 4) for e in range(280)]
    top = rates.index(max(rates))
    assert top == 20
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-40:] == [phase.lr_floor] * 40


def test_a_constant_rate() -> None:
    phase = Phase(schedule="constant", lr=5e-5, epochs=3)
    assert {learning_rate(phase, e) for e in (0, 1.5, 3)} == {5e-5}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"optimiser": "adamW"}, "did you mean 'adamw'"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"lr": -1.0}, "must not be negative"),
        ({"ema": 1.0}, r"\[0, 1\)"),
        ({"epochs": 12}, "exceed 12 epochs"),
        ({"mode": "serch"}, "did you mean 'search'"),
        ({"mode": "search"}, "needs persons to judge on: set hold_out"),
        ({"mode": "search", "hold_out": 0.2, "mutation": 1.5}, r"mutation must be in \[0, 1\]"),
        ({"hold_out": 1.0}, r"hold_out must be in \[0, 1\)"),
        ({"population": 1}, "population must be at least 2"),
        ({"mesa": -1.0}, "mesa must not be negative"),
        ({"mesa": 1.0}, "mesa needs the average of the weights: set ema"),
    ],
)
def test_values_out_of_range(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        Phase(**wrong)  # type: ignore[arg-type]


def test_a_search_has_no_schedule_to_check() -> None:
    assert Phase(mode="search", hold_out=0.2, epochs=3).warmup == 5


def test_recipes_refuse_twins() -> None:
    with pytest.raises(UserError, match="different names"):
        Recipe(phases=(Phase(), Phase()))
