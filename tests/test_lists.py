"""Published lists against the real label files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from microexpr.clip import Clip
from microexpr.datasets import open_dataset
from microexpr.errors import UserError
from microexpr.evaluation.protocols import lodo
from microexpr.labels import label_scheme
from microexpr.lists import CD6ME_UNITS, LISTS, cd6me_target, expect, select, unit_numbers

SIZES = {  # clips and persons, from the papers and from the label files
    "megc2019": (442, 68),
    "casme2_3": (145, 24),
    "casme2_5": (246, 26),
    "smic_3": (164, 16),
    "samm_3": (133, 28),
    "samm_5": (136, 27),
    "dfme_train": (1856, 176),
    "dfme_testA": (474, 42),
    "dfme_testB": (299, 41),
    "casme3_4": (860, 94),
    "casme3_7": (860, 94),
    "cd6me": (1274, 149),
}


@pytest.fixture(scope="module")
def clips(shared_data: Path) -> list[Clip]:
    names = ("casme2", "smic", "samm", "dfme", "casme3")
    root = shared_data / "annotations"
    return [clip for name in names for clip in open_dataset(name, root).clips()]


def test_every_list_has_a_size_here() -> None:
    assert set(SIZES) == set(LISTS)


@pytest.mark.parametrize("name", LISTS)
def test_published_numbers(clips: list[Clip], name: str) -> None:
    found = expect(name, clips)
    assert (len(found), len({clip.person for clip in found})) == SIZES[name]


def test_megc2019_is_the_published_list(clips: list[Clip], shared_data: Path) -> None:
    lines = (shared_data / "annotations" / "megc2019_442.csv").read_text().split()
    expected = [line.split(",") for line in lines]
    scheme = label_scheme("megc3")
    found = [
        [
            c.dataset,
            str(int(c.subject)) if c.dataset == "samm" else c.subject,
            c.name,
            str(scheme.index(c)),
        ]
        for c in expect("megc2019", clips)
    ]
    assert found == expected


def test_another_coding_is_not_the_list(shared_data: Path) -> None:
    clips = open_dataset("casme2", shared_data / "annotations", coding="2019").clips()
    with pytest.raises(UserError, match=r"casme2_5: expected 246 .*, found 249 .*surprise 28"):
        expect("casme2_5", clips)
    assert len(select("casme2_5", clips)) == 249


def test_a_missing_person_is_seen() -> None:
    counts = LISTS["smic_3"].counts["smic"]
    clips = [
        Clip("smic", "s01", f"{kind}{i}", kind) for kind, n in counts.items() for i in range(n)
    ]
    with pytest.raises(UserError, match="expected 16 persons, found 1"):
        expect("smic_3", clips)


def test_an_unknown_list_gets_the_nearest() -> None:
    nothing: Iterable[Clip] = []
    with pytest.raises(UserError, match="did you mean 'casme2_5'"):
        select("casme2-5", nothing)


def test_action_units_by_number() -> None:
    clip = Clip("samm", "006", "a", "anger", action_units=("L12B", "ref(24)", "(loses 1+2)"))
    assert unit_numbers(clip) == {12, 24}
    assert unit_numbers(Clip("fourd_me", "1", "a", "x", action_units=("AU4", "AU7(k)"))) == {4}
    assert cd6me_target(clip) == tuple(int(unit == 12) for unit in CD6ME_UNITS)


def test_cd6me_leaves_out_one_data_set_at_a_time(clips: list[Clip]) -> None:
    listed = expect("cd6me", clips)
    folds = list(lodo(listed, label_scheme("megc3")))
    assert [fold.name for fold in folds] == ["casme2", "casme3", "samm"]
    assert [len(fold.test) for fold in folds] == [255, 860, 159]
    assert all(len(fold.train) + len(fold.test) == 1274 for fold in folds)
    targets = [cd6me_target(clip) for clip in listed]
    assert {len(target) for target in targets} == {12}
    assert all(sum(column) > 20 for column in zip(*targets, strict=True))
