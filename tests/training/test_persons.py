from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microexpr.clip import Clip
from microexpr.errors import UserError
from microexpr.labels import label_scheme
from microexpr.training.persons import _person_shares, group_persons, split_persons

MEGC3 = label_scheme("megc3")


def clips_of(persons: list[list[int]]) -> list[Clip]:
    """Clips of these classes for each person, of two data sets in turn."""
    return [
        Clip(("samm", "smic")[p % 2], f"s{p:02d}", f"c{i:02d}", MEGC3.labels[emotion])
        for p, emotions in enumerate(persons)
        for i, emotion in enumerate(emotions)
    ]


clip_sets = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=2, max_size=14
).map(clips_of)


@settings(max_examples=30, deadline=None)
@given(clips=clip_sets, shares=st.sampled_from([(0.5, 0.5), (0.8, 0.2), (0.3, 0.3, 0.4)]))
def test_no_exchange_and_no_move_would_balance_better(
    clips: list[Clip], shares: tuple[float, ...]
) -> None:
    persons = sorted({clip.person for clip in clips})
    if len(persons) < len(shares):
        return
    rows = _person_shares(clips, MEGC3, persons)

    def cost(group: list[int]) -> float:
        held = [rows[[g == k for g in group]].sum(axis=0) for k in range(len(shares))]
        wanted = [share * rows.sum(axis=0) for share in shares]
        return float(sum(((h - w) ** 2).sum() for h, w in zip(held, wanted, strict=True)))

    sets = group_persons(clips, MEGC3, shares)
    assert all(sets)
    found = [next(k for k, s in enumerate(sets) if person in s) for person in persons]
    best = cost(found)
    for i, j in itertools.combinations(range(len(persons)), 2):
        other = list(found)
        other[i], other[j] = other[j], other[i]
        assert cost(other) >= best - 1e-9
    for i, k in itertools.product(range(len(persons)), range(len(shares))):
        other = list(found)
        other[i] = k
        if len(set(other)) == len(shares):
            assert cost(other) >= best - 1e-9


@settings(max_examples=30, deadline=None)
@given(clips=clip_sets, share=st.sampled_from([0.2, 0.5]), seed=st.integers(0, 3))
def test_a_split_parts_whole_persons(clips: list[Clip], share: float, seed: int) -> None:
    rest, held = split_persons(clips, MEGC3, share, seed)
    assert rest
    assert held
    assert {c.person for c in rest}.isdisjoint(c.person for c in held)
    assert sorted(c.id for c in (*rest, *held)) == sorted(c.id for c in clips)
    assert (rest, held) == split_persons(clips[::-1], MEGC3, share, seed)


def test_what_cannot_be_split_is_told() -> None:
    clips = clips_of([[0, 1], [2]])
    for share in (0, 1, -0.5):
        with pytest.raises(UserError, match="between 0 and 1"):
            split_persons(clips, MEGC3, share)
    with pytest.raises(UserError, match=r"2 person.s. cannot be divided into 3 groups"):
        group_persons(clips, MEGC3, [0.3, 0.3, 0.4])
