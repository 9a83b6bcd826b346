"""Synthetic persons: reproducible, one by one as in a batch, and labelled by what was drawn."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from microexpr.anatomy import EMOTIONS, UNITS
from microexpr.clip import Clip
from microexpr.datasets import open_dataset
from microexpr.datasets.synthetic import Synthetic
from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.labels import label_scheme
from microexpr.mixes import counted_mixes

FLOW442 = Input(("u", "v", "strain"), 28, "tvl1", "minmax8")
RELATIVE = Input(("u", "v", "m"), 28, "tvl1", "relative")


@pytest.fixture(scope="module")
def people() -> Synthetic:
    return Synthetic(persons=20, clips_per_person=21, seed=3, prior="megc3")


def test_it_opens_with_any_root_and_needs_no_files() -> None:
    for root in (None, Path("no/such/folder")):
        data = open_dataset("synthetic", root, persons=2, clips_per_person=3)  # type: ignore[arg-type]
        assert len(data.clips()) == 6
        assert data.videos() == []


def test_balanced_means_every_emotion_equally_often() -> None:
    clips = Synthetic(persons=3, clips_per_person=14).clips()
    for person in {clip.person for clip in clips}:
        counts = Counter(clip.emotion for clip in clips if clip.person == person)
        assert counts == dict.fromkeys(EMOTIONS, 2)
    short = Synthetic(persons=7, clips_per_person=1).clips()
    assert {clip.emotion for clip in short} == set(EMOTIONS)


def test_the_prior_of_megc3_is_kept() -> None:
    clips = Synthetic(persons=60, clips_per_person=50, prior="megc3").clips()
    scheme = label_scheme("megc3")
    shares = np.bincount([scheme.index(clip) for clip in clips]) / len(clips)
    np.testing.assert_allclose(shares, [0.4, 0.3, 0.3], atol=0.03)


def test_clips_have_unique_ids_persons_and_units(people: Synthetic) -> None:
    clips = people.clips()
    assert len({clip.id for clip in clips}) == len(clips) == 420
    assert len({clip.person for clip in clips}) == 20
    assert clips[0].person == "synthetic/s3p0000"
    for clip in clips:
        units = {code.lstrip("LR") for code in clip.action_units}
        assert units <= set(UNITS)
        assert any(set(mix.units) <= units for mix in EMOTIONS[clip.emotion])
    assert {code[0] for clip in clips for code in clip.action_units} >= {"L", "R"}


def test_the_seed_decides_everything() -> None:
    def fields(seed: int) -> NDArray[np.float32]:
        data = Synthetic(persons=2, clips_per_person=7, seed=seed)
        return data.read_many(data.clips(), RELATIVE)

    assert np.array_equal(fields(0), fields(0))
    assert not np.array_equal(fields(0), fields(1))


def test_more_persons_or_clips_do_not_change_those_there() -> None:
    few, many = Synthetic(persons=2, clips_per_person=3), Synthetic(persons=5, clips_per_person=9)
    for clip in few.clips():
        assert clip in many.clips()
        assert np.array_equal(few.read(clip, RELATIVE), many.read(clip, RELATIVE))


@pytest.mark.parametrize("wants", [FLOW442, RELATIVE, Input(("u", "v"), 56, "tvl1", "none")])
def test_one_clip_equals_its_row_in_a_batch(people: Synthetic, wants: Input) -> None:
    clips = people.clips()
    batch = people.read_many(clips, wants)
    assert batch.dtype == np.float32
    assert batch.shape == (420, len(wants.channels), wants.size, wants.size)
    for row in (0, 127, 128, 419):
        assert np.array_equal(people.read(clips[row], wants), batch[row])
    assert np.array_equal(people.read_many(clips[::-50], wants), batch[::-50])


def test_nobody_reads_nothing(people: Synthetic) -> None:
    assert people.read_many([], RELATIVE).shape == (0, 3, 28, 28)


def test_the_encoding_of_flow442(people: Synthetic) -> None:
    planes = people.read_many(people.clips()[:50], FLOW442)
    assert (planes == np.rint(planes)).all()
    assert (planes.min(axis=(2, 3)) == 0).all()
    assert (planes.max(axis=(2, 3)) == 255).all()


def test_larger_inputs_are_sampled_not_blown_up(people: Synthetic) -> None:
    clip = people.clips()[5]
    large = people.read(clip, Input(("u", "v"), 112, "tvl1", "none"))
    twin = Synthetic(persons=20, clips_per_person=21, seed=3, size=112, prior="megc3")
    assert np.array_equal(large, twin.read(clip, Input(("u", "v"), 112, "tvl1", "none")))


def test_smiles_differ_from_frowns_where_they_should(people: Synthetic) -> None:
    clips = people.clips()
    fields = people.read_many(clips, Input(("u", "v"), 28, "tvl1", "robust"))

    def mean(*units: str) -> NDArray[np.float32]:
        rows = [i for i, clip in enumerate(clips) if set(units) <= set(clip.action_units)]
        assert len(rows) >= 10
        field: NDArray[np.float32] = fields[rows].mean(axis=0)
        return field

    smile, frown, raised = mean("12"), mean("4"), mean("1", "2")
    assert smile[0, 15:24, 18:].mean() > 0.3 > -0.3 > smile[0, 15:24, :10].mean()
    assert smile[1, 15:22, 18:24].mean() < -0.3
    assert frown[1, 2:7, 9:19].mean() > 0.3
    assert raised[1, 1:6].mean() < -0.3


def test_persons_differ_more_than_their_own_clips() -> None:
    data = Synthetic(persons=12, clips_per_person=40, seed=1)
    clips = [clip for clip in data.clips() if "12" in clip.action_units]
    fields = data.read_many(clips, RELATIVE).reshape(len(clips), -1)
    fields = fields - fields.mean(axis=0)
    same, other = [], []
    for i, a in enumerate(clips):
        for j in range(i):
            likeness = np.corrcoef(fields[i], fields[j])[0, 1]
            (same if a.person == clips[j].person else other).append(likeness)
    assert np.mean(same) > np.mean(other) + 0.02


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"persons": 0}, "persons must be at least 1"),
        ({"clips_per_person": 0}, "clips_per_person must be at least 1"),
        ({"size": 4}, "size must be at least 8"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"prior": "megc"}, "did you mean 'megc3'"),
        ({"people": 3}, "has no setting 'people'"),
        ({"disturbance": 0.0}, "disturbance must be above 0"),
        ({"disturbance": [2.0, 1.0]}, "two such numbers in their order"),
        ({"disturbance": [1.0]}, "two such numbers in their order"),
        ({"disturbance": ["low", "high"]}, "two such numbers in their order"),
        ({"mixes": "count"}, "did you mean 'counted'"),
        ({"realism": "rouge"}, "did you mean 'rough'"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        open_dataset("synthetic", Path(), **settings)


def test_clips_of_others_are_refused(people: Synthetic) -> None:
    stranger = Synthetic(persons=30, clips_per_person=1, seed=3).clips()[-1]
    with pytest.raises(UserError, match="take clips from its clips"):
        people.read(stranger, RELATIVE)


def test_disturbed_people_are_the_same_people() -> None:
    calm, worse = (Synthetic(persons=3, clips_per_person=4, disturbance=d) for d in (1.0, 3.0))
    assert calm.clips() == worse.clips()
    a, b = (data.read_many(data.clips(), RELATIVE) for data in (calm, worse))
    assert not np.allclose(a, b, atol=0.05)
    np.testing.assert_array_equal(
        a, Synthetic(persons=3, clips_per_person=4).read_many(calm.clips(), RELATIVE)
    )


def test_by_default_nothing_has_changed() -> None:
    """What experiments were trained on before `mixes` and other settings came stays as it was."""
    data = Synthetic(persons=4, clips_per_person=9, seed=5, prior="megc3")
    clips = data.clips()
    said = hashlib.sha256(repr([(clip.id, clip.action_units) for clip in clips]).encode())
    assert said.hexdigest().startswith("12d36930db7aaa2d")
    fields = data.read_many(clips, Input(("u", "v"), 56, "tvl1", "none"))
    assert np.abs(fields).sum() == pytest.approx(57781.25, rel=1e-5)
    textbook = Synthetic(persons=4, clips_per_person=9, seed=5, prior="megc3", mixes="textbook")
    assert textbook.clips() == clips


def test_counted_mixes_come_as_often_as_counted() -> None:
    clips = Synthetic(persons=100, clips_per_person=70, mixes="counted").clips()
    contempt = [set(clip.action_units) - {"45"} for clip in clips if clip.emotion == "contempt"]
    mixes = counted_mixes()["contempt"]
    weight = {frozenset(mix.units): mix.weight for mix in mixes}
    share = sum(units in ({"L12"}, {"R12"}) for units in contempt) / len(contempt)
    expected = (weight[frozenset({"L12"})] + weight[frozenset({"R12"})]) / sum(weight.values())
    assert share == pytest.approx(0.85 * expected, abs=0.05)  # the rest have a stray unit too
    for clip in clips[:200]:
        units = {code.lstrip("LR") for code in clip.action_units}
        counted = counted_mixes()[clip.emotion]
        assert any({u.lstrip("LR") for u in mix.units} <= units for mix in counted)


def test_both_kinds_of_mixes_by_turns() -> None:
    made = {
        mixes: Synthetic(persons=20, clips_per_person=7, mixes=mixes).clips()
        for mixes in ("textbook", "counted", "both")
    }
    emotions = [[clip.emotion for clip in clips] for clips in made.values()]
    assert emotions[0] == emotions[1] == emotions[2]
    textbook = {mix.units for mixes in EMOTIONS.values() for mix in mixes}

    def plain(clips: list[Clip]) -> float:
        found = [
            tuple(u for c in clip.action_units if (u := c.lstrip("LR")) != "45") for clip in clips
        ]
        return sum(units in textbook for units in found) / len(found)

    assert plain(made["textbook"]) > plain(made["both"]) > plain(made["counted"])


def test_rough_people_show_the_same_in_patches() -> None:
    data = {
        r: Synthetic(persons=6, clips_per_person=7, seed=2, realism=r) for r in ("smooth", "rough")
    }
    assert data["smooth"].clips() == data["rough"].clips()
    smooth, rough = (d.read_many(d.clips(), RELATIVE)[:, :2] for d in data.values())
    likeness = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(smooth, rough, strict=True)]
    assert 0.4 < np.median(likeness) < 0.95

    def jumps(fields: NDArray[np.float32]) -> float:
        steps = np.diff(fields, axis=-1)
        return float(np.median((steps**4).mean(axis=(1, 2, 3)) / (steps**2).mean((1, 2, 3)) ** 2))

    assert jumps(rough) > 1.5 * jumps(smooth)
    few = Synthetic(persons=2, clips_per_person=3, seed=2, realism="rough")
    for clip in few.clips():
        np.testing.assert_array_equal(few.read(clip, RELATIVE), data["rough"].read(clip, RELATIVE))


def test_published_people_are_as_flow442_ships() -> None:
    data = Synthetic(persons=3, clips_per_person=7, realism="published")
    assert data.ships == FLOW442
    planes = data.read_many(data.clips(), FLOW442)
    assert (planes == np.rint(planes)).all()
    assert (planes.max(axis=(2, 3)) == 255).all()
    assert data.read_many(data.clips(), RELATIVE).shape == (21, 3, 28, 28)
    with pytest.raises(UserError, match="flow in pixels cannot be had"):
        data.read(data.clips()[0], Input(("u", "v"), 28, "tvl1", "none"))
    # strain was computed before it was made small: it is not that of the small flow
    rough = Synthetic(persons=3, clips_per_person=7, realism="rough", size=112)
    own = rough.read_many(rough.clips(), FLOW442)
    assert np.corrcoef(planes[:, 0].ravel(), own[:, 0].ravel())[0, 1] > 0.99
    assert np.corrcoef(planes[:, 2].ravel(), own[:, 2].ravel())[0, 1] < 0.99


def test_people_of_any_look_are_each_of_one() -> None:
    made = {
        r: Synthetic(persons=12, clips_per_person=2, realism=r)
        for r in ("smooth", "rough", "published", "any")
    }
    clips = made["any"].clips()
    assert made["any"].ships == FLOW442
    fields = {r: data.read_many(clips, RELATIVE) for r, data in made.items()}
    looks = [
        [r for r in ("smooth", "rough", "published") if np.array_equal(fields[r][i], field)]
        for i, field in enumerate(fields["any"])
    ]
    assert all(len(found) == 1 for found in looks)
    assert looks[::2] == looks[1::2]  # a person's clips look alike
    assert len({found[0] for found in looks}) == 3
    one = made["any"].read(clips[7], RELATIVE)
    np.testing.assert_array_equal(one, fields["any"][7])


def test_disturbance_between_two_numbers_is_each_persons_own() -> None:
    data = Synthetic(persons=60, clips_per_person=2, disturbance=[1.0, 2.0])
    worse = np.array([data._worse(clip) for clip in data.clips()])
    np.testing.assert_array_equal(worse[::2], worse[1::2])
    assert worse.min() >= 1
    assert worse.max() <= 2
    assert np.median(worse) == pytest.approx(2**0.5, abs=0.15)
    fixed = Synthetic(persons=60, clips_per_person=2, disturbance=float(worse[10]))
    clip = data.clips()[10]
    np.testing.assert_allclose(data.read(clip, RELATIVE), fixed.read(clip, RELATIVE), atol=1e-6)
