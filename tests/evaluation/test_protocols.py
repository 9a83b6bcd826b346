from __future__ import annotations

import csv
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microexpr.clip import Clip
from microexpr.errors import UserError
from microexpr.evaluation.protocols import PROTOCOLS, Fold, make_folds, protocol
from microexpr.labels import label_scheme
from microexpr.training.persons import split_persons

MEGC3 = label_scheme("megc3")
EMOTIONS = MEGC3.labels


def _clip(dataset: str, subject: int, number: int, emotion: int, split: str | None = None) -> Clip:
    return Clip(dataset, f"s{subject:02d}", f"c{number:02d}", EMOTIONS[emotion], split=split)


@st.composite
def clip_sets(draw: st.DrawFn) -> list[Clip]:
    """Clips of two or three data sets, in any order; parts that follow persons."""
    clips = []
    for dataset in ("casme2", "samm", "smic")[: draw(st.integers(2, 3))]:
        for subject in range(draw(st.integers(1, 6))):
            part = "train" if not clips else draw(st.sampled_from(["train", "testA", "testB"]))
            emotions = draw(st.lists(st.integers(0, 2), min_size=1, max_size=12))
            clips += [_clip(dataset, subject, i, e, part) for i, e in enumerate(emotions)]
    last = clips[-1].person
    clips = [replace(c, split="testA") if c.person == last else c for c in clips]
    return draw(st.permutations(clips))


def _settings(name: str, clips: list[Clip], seed: int) -> dict[str, Any]:
    persons = len({clip.person for clip in clips})
    return {
        "kfold": {"folds": min(persons, 5), "seed": seed},
        "holdout": {"share": 0.3, "seed": seed},
    }.get(name, {})


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
@settings(max_examples=40, deadline=None)
@given(clips=clip_sets(), seed=st.integers(0, 3))
def test_every_protocol_leaves_out_whole_persons(name: str, clips: list[Clip], seed: int) -> None:
    given_settings = _settings(name, clips, seed)
    folds = make_folds(name, clips, MEGC3, given_settings)
    assert len({fold.name for fold in folds}) == len(folds) > 0
    for fold in folds:
        assert fold.train
        assert fold.test
        assert {c.person for c in fold.train}.isdisjoint(c.person for c in fold.test)
        assert set(fold.train) | set(fold.test) <= set(clips)
        assert len({c.id for c in fold.train}) == len(fold.train)
    tested = Counter(clip.id for fold in folds for clip in fold.test)
    assert max(tested.values()) == 1
    if PROTOCOLS[name].covers:
        assert tested.keys() == {clip.id for clip in clips}
        assert all(len(fold.train) + len(fold.test) == len(clips) for fold in folds)
    shuffled = random.Random(seed).sample(clips, len(clips))
    assert make_folds(name, shuffled, MEGC3, given_settings) == folds


@pytest.fixture
def clips442(flow442_root: Path) -> list[Clip]:
    with (flow442_root / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [
        Clip(row["dataset"], row["subject"], row["clip"], EMOTIONS[int(row["label"])])
        for row in rows
    ]


def test_composite_evaluation_of_megc2019_has_68_folds(clips442: list[Clip]) -> None:
    folds = make_folds("loso", clips442, MEGC3)
    assert len(folds) == 68
    assert sum(len(fold.test) for fold in folds) == 442
    by_set = Counter(fold.name.split("/")[0] for fold in folds)
    assert by_set == {"casme2": 24, "smic": 16, "samm": 28}
    assert len(make_folds("lodo", clips442, MEGC3)) == 3


def test_ten_folds_of_the_442_are_balanced(clips442: list[Clip]) -> None:
    folds = make_folds("kfold", clips442, MEGC3)
    sizes = np.array([len(fold.test) for fold in folds])
    counts = np.array([[sum(c.emotion == e for c in f.test) for e in EMOTIONS] for f in folds])
    assert abs(sizes - 44.2).max() <= 5
    assert (abs(counts - [25.0, 10.9, 8.3]).max(axis=0) <= [3.1, 1.2, 1.0]).all()
    other = make_folds("kfold", clips442, MEGC3, {"seed": 1})
    assert {f.test for f in other} != {f.test for f in folds}


def test_inner_split_of_every_loso_fold_is_balanced(clips442: list[Clip]) -> None:
    for fold in make_folds("loso", clips442, MEGC3):
        rest, held = split_persons(fold.train, MEGC3, 0.2)
        assert {c.person for c in rest}.isdisjoint(c.person for c in held)
        assert set(rest) | set(held) == set(fold.train)
        assert abs(len(held) / len(fold.train) - 0.2) < 0.02
        for emotion in EMOTIONS:
            total = sum(c.emotion == emotion for c in fold.train)
            assert abs(sum(c.emotion == emotion for c in held) - 0.2 * total) <= 3


def test_fixed_trains_on_train_and_tests_every_other_part() -> None:
    parts = ["train", "testB", "testA", "train"]
    clips = [_clip("dfme", i, 0, i % 3, part) for i, part in enumerate(parts)]
    folds = make_folds("fixed", clips, MEGC3)
    assert [fold.name for fold in folds] == ["testA", "testB"]
    assert [c.subject for c in folds[0].train] == ["s00", "s03"]
    assert folds[0].test == (clips[2],)


def test_clips_without_a_label_take_no_part() -> None:
    clips = [_clip("smic", i, 0, 0) for i in range(3)]
    dropped = Clip("smic", "s09", "c", "others")
    folds = make_folds("loso", [*clips, dropped], MEGC3)
    assert [fold.name for fold in folds] == ["smic/s00", "smic/s01", "smic/s02"]


TWO = [_clip("smic", 0, 0, 0), _clip("smic", 1, 0, 1)]


@pytest.mark.parametrize(
    ("name", "clips", "given_settings", "message"),
    [
        ("lsoo", TWO, {}, "unknown protocol 'lsoo': did you mean 'loso'?"),
        ("kfold", TWO, {"fold": 2}, "has no setting 'fold': did you mean 'folds'?"),
        ("loso", TWO, {"folds": 2}, "has no setting 'folds'"),
        ("kfold", TWO, {"folds": 3}, "folds must be 2 to 2"),
        ("kfold", TWO, {"folds": "2"}, "folds must be a whole number, got '2'"),
        ("kfold", TWO, {"folds": 2, "seed": 0.5}, "seed must be a whole number"),
        ("holdout", TWO, {"share": 1.5}, "share must be a number between 0 and 1, got 1.5"),
        ("holdout", TWO, {"share": "a"}, "share must be a number between 0 and 1"),
        ("holdout", TWO[:1], {}, "1 person"),
        ("loso", TWO[:1], {}, "leaving one person out needs two"),
        ("lodo", TWO, {}, "leaving one data set out needs two, and all clips are of smic"),
        ("fixed", TWO, {}, "smic/s00/c00 has no part"),
        ("fixed", [replace(c, split="train") for c in TWO], {}, "nothing is left to test"),
        ("fixed", [replace(c, split="test") for c in TWO], {}, "no clip is in the part 'train'"),
        (
            "fixed",
            [_clip("dfme", 1, 0, 0, "train"), _clip("dfme", 1, 1, 0, "testA")],
            {},
            "dfme/s01 is in both training and test",
        ),
        ("loso", [*TWO, TWO[0]], {}, "two clips are called smic/s00/c00"),
        ("loso", [], {}, "none of 0 clips has a label in the scheme megc3"),
    ],
)
def test_bad_input_gets_one_clear_line(
    name: str, clips: list[Clip], given_settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        make_folds(name, clips, MEGC3, given_settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_fold_that_leaks_cannot_be_made() -> None:
    with pytest.raises(UserError, match="smic/s00 is in both training and test"):
        Fold("leak", (TWO[0],), (_clip("smic", 0, 1, 2),))


def test_entries_know_their_names() -> None:
    for name, entry in PROTOCOLS.items():
        assert protocol(name) is entry
        assert entry.name == name
        assert entry.about
