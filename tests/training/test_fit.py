from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from microexpr.clip import Clip
from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.labels import SCHEMES
from microexpr.models.base import Adaptive, Classifier
from microexpr.training.data import TrainingSet, labelled, tensors, without
from microexpr.training.fit import Epoch, build_optimiser, epochs, fit
from microexpr.training.recipe import Phase, Recipe

EATS = Input(("u", "v"), 4, normalisation="none")
QUICK = Phase(epochs=4, batch=8, lr=0.05, warmup=0, cooldown=0)


class Tiny(Classifier):
    """Dropout, batch norm and a linear layer: everything that has state or randomness."""

    paper: ClassVar[str] = "none"
    smallest: ClassVar[dict[str, Any]] = {}
    eats = EATS

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(2), nn.Dropout(0.2)
        self.head = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.drop(self.norm(x)).flatten(1))
        return out


class Fields:
    """A source whose classes can be learned; it raises for a clip it must not be asked for."""

    def __init__(self, forbidden: Sequence[Clip] = ()) -> None:
        self.forbidden = {clip.id for clip in forbidden}

    def read_many(self, clips: Sequence[Clip], wants: Input) -> NDArray[np.float32]:
        for clip in clips:
            assert clip.id not in self.forbidden, f"{clip.id} is a test clip"
        rows = []
        for clip in clips:
            rng = np.random.default_rng(sum(map(ord, clip.id)))
            row = rng.normal(size=(2, 4, 4)).astype(np.float32)
            row[1, ["negative", "positive", "surprise"].index(clip.emotion)] += 3
            rows.append(row)
        return np.stack(rows)


CLIPS = tuple(
    Clip("smic", f"s{p:02d}", f"c{i}", ["negative", "positive", "surprise"][(p + i) % 3])
    for p in range(8)
    for i in range(5)
)


def training_set(clips: Sequence[Clip] = CLIPS, source: Fields | None = None) -> TrainingSet:
    return TrainingSet(tuple(clips), SCHEMES["megc3"], source or Fields(), EATS)


def trained(recipe: Recipe, seed: int = 0, **others: TrainingSet) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return fit(Tiny(), training_set(), recipe, seed, others).state_dict()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


def test_fit_has_no_way_to_take_a_test_clip() -> None:
    assert list(inspect.signature(fit).parameters) == ["model", "train", "recipe", "seed", "others"]


def test_fit_asks_for_no_test_clip() -> None:
    train, test = CLIPS[:30], CLIPS[30:]
    source = Fields(forbidden=test)
    fit(Tiny(), training_set(train, source), Recipe((QUICK,)), 0)
    with pytest.raises(AssertionError, match="test clip"):
        source.read_many(test, EATS)


def test_fit_learns() -> None:
    torch.manual_seed(0)
    phase = replace(QUICK, epochs=40, flip=False)
    model = fit(Tiny(), training_set(), Recipe((phase,)), 0)
    x, y = tensors(training_set())
    assert not model.training
    assert float((model.predict(x)[0] == y).float().mean()) > 0.9


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"mixup": 0.4, "ema": 0.9, "class_weights": True},
        {"sampling": "balanced", "shift": 1.0, "rotate": 5.0, "zoom": 0.1, "noise": 0.1},
        {"optimiser": "adam", "schedule": "constant", "sampling": "in_order", "clip_grad": 1.0},
        {"optimiser": "sgd", "label_smoothing": 0.1},
    ],
)
def test_a_seed_decides_everything(change: dict[str, Any]) -> None:
    recipe = Recipe((replace(QUICK, **change),))
    assert same(trained(recipe), trained(recipe))
    assert not same(trained(recipe), trained(recipe, seed=1))


def test_phases_may_be_done_one_by_one() -> None:
    first, second = replace(QUICK, name="a", ema=0.5), replace(QUICK, name="b")
    recipe = Recipe((first, second))
    torch.manual_seed(0)
    model: Classifier = Tiny()
    for epoch in epochs(model, training_set(), recipe, 0, phases=range(1)):
        model = epoch.model
    again = Tiny()
    again.load_state_dict(model.state_dict())
    for epoch in epochs(again, training_set(), recipe, 0, phases=range(1, 2)):
        again_kept = epoch.model
    assert same(again_kept.state_dict(), trained(recipe))


def test_phases_and_replay_use_other_sets() -> None:
    other = training_set([replace(clip, dataset="samm") for clip in CLIPS])
    on = trained(Recipe((replace(QUICK, on="films"),)), films=other)
    replayed = trained(Recipe((replace(QUICK, replay="films", replay_batch=4),)), films=other)
    plain = trained(Recipe((QUICK,)))
    assert not same(on, plain)
    assert not same(replayed, plain)
    with pytest.raises(UserError, match=r"data\.others\.films"):
        trained(Recipe((replace(QUICK, on="films"),)))


def test_epochs_tells_where_it_is() -> None:
    recipe = Recipe((replace(QUICK, name="a", epochs=2), replace(QUICK, name="b", epochs=1)))
    seen: list[Epoch] = list(epochs(Tiny(), training_set(), recipe, 0))
    assert [(e.phase, e.number) for e in seen] == [(0, 1), (0, 2), (1, 1)]
    assert all(np.isfinite(e.loss) for e in seen)


def test_the_average_is_what_is_kept() -> None:
    """Against a loop over the weights after each step, which the average must equal."""
    phase = replace(QUICK, epochs=1, batch=40, ema=0.5, flip=False)
    torch.manual_seed(0)
    model = Tiny()
    steps = Recipe(tuple(replace(phase, name=str(i)) for i in range(1)))
    kept = [e.model for e in epochs(model, training_set(), steps, 0)][-1]
    assert same(kept.state_dict(), model.state_dict())  # the first average is the first weights
    phase = replace(phase, epochs=3)
    torch.manual_seed(0)
    model, expected = Tiny(), None
    for n, epoch in enumerate(epochs(model, training_set(), Recipe((phase,)), 0)):
        now = model.head.weight.detach().clone()
        decay = min(0.5, (1 + n) / (10 + n))
        expected = now if expected is None else expected * decay + now * (1 - decay)
        assert isinstance(epoch.model, Tiny)
        assert torch.allclose(epoch.model.head.weight, expected, atol=1e-6)


def test_vectors_get_no_weight_decay() -> None:
    model = Tiny()
    model.head.weight.no_weight_decay = True  # type: ignore[assignment]
    groups = build_optimiser(model, QUICK).param_groups
    assert [group["weight_decay"] for group in groups] == [0.0]
    model = Tiny()
    decayed = build_optimiser(model, QUICK).param_groups[0]
    assert decayed["weight_decay"] == 0.05
    assert [p is model.head.weight for p in decayed["params"]] == [True]


def test_frozen_parameters_stay() -> None:
    torch.manual_seed(0)
    model = Tiny()
    before = model.head.weight.detach().clone()
    fit(model, training_set(), Recipe((replace(QUICK, freeze=("head",)),)), 0)
    assert torch.equal(model.head.weight, before)
    with pytest.raises(UserError, match="no parameter starts with 'tail'"):
        fit(model, training_set(), Recipe((replace(QUICK, freeze=("tail",)),)), 0)


def test_class_weights_come_from_the_training_clips() -> None:
    """One clip of a rare class weighs as much as all of a frequent one together."""
    few = [c for c in CLIPS if c.emotion == "negative"] + [
        next(c for c in CLIPS if c.emotion == "positive"),
        next(c for c in CLIPS if c.emotion == "surprise"),
    ]
    from microexpr.training.fit import _target_mass

    _, y = tensors(training_set(few))
    mass = _target_mass(y, 3, replace(QUICK, class_weights=True))
    assert torch.allclose(mass.sum(0), torch.full((3,), len(few) / 3))


def test_labelled_and_without() -> None:
    extra = Clip("samm", "006", "x", "other")
    assert extra not in labelled([*CLIPS, extra], SCHEMES["megc3"])
    with pytest.raises(UserError, match="no clip has a label"):
        labelled([extra], SCHEMES["megc3"])
    less = without(training_set(), {"smic/s00", "smic/s01"})
    assert less.persons == training_set().persons - {"smic/s00", "smic/s01"}
    with pytest.raises(UserError, match="every person is held out"):
        tensors(without(training_set(), training_set().persons))


class Gain(Adaptive):
    """A linear layer behind a gain that may be chosen; remembers what it was given."""

    paper: ClassVar[str] = "none"
    smallest: ClassVar[dict[str, Any]] = {}
    eats = EATS

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 3)
        self.register_buffer("percent", torch.tensor(100))
        self.seen: list[tuple[bool, Tensor]] = []

    @property
    def choices(self) -> dict[str, tuple[float, ...]]:
        return {"gain": (0.25, 0.5, 1.0, 2.0)}

    @property
    def chosen(self) -> dict[str, float]:
        return {"gain": int(self.get_buffer("percent")) / 100}

    def choose(self, values: Mapping[str, float]) -> None:
        self.get_buffer("percent").fill_(round(100 * values["gain"]))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x.flatten(1)) * self.chosen["gain"]
        return out

    def loss(self, x: Tensor, y: Tensor, progress: float) -> Tensor:
        self.seen.append((self.adapting, y.detach().clone()))
        return super().loss(x, y, progress)


ADAPT = replace(QUICK, name="adapt", mode="adapt", hold_out=0.25, ema=0.5)
SEARCH = Phase(name="search", mode="search", hold_out=0.25, epochs=2, population=4)
TUNE = replace(QUICK, name="tune", epochs=2)


class Recorded(Fields):
    """Remembers whose clips were read, reading by reading."""

    def __init__(self) -> None:
        super().__init__()
        self.persons: list[set[str]] = []

    def read_many(self, clips: Sequence[Clip], wants: Input) -> NDArray[np.float32]:
        self.persons.append({clip.person for clip in clips})
        return super().read_many(clips, wants)


def test_a_search_is_judged_on_persons_that_adapting_left_out() -> None:
    source = Recorded()
    fit(Gain(), training_set(source=source), Recipe((ADAPT, SEARCH, TUNE)), 0)
    adapted, judged, tuned = source.persons
    assert adapted.isdisjoint(judged)
    assert adapted | judged == tuned == {clip.person for clip in CLIPS}
    assert len(judged) == 2


def test_replayed_clips_of_persons_set_aside_are_left_out_too() -> None:
    source, replayed = Recorded(), Recorded()
    phase = replace(ADAPT, replay="films", replay_batch=4)
    others = {"films": training_set(source=replayed)}
    fit(Gain(), training_set(source=source), Recipe((phase,)), 0, others)
    assert replayed.persons == source.persons


def test_the_search_fixes_what_is_best_on_the_persons_set_aside() -> None:
    """The chosen gain has the smallest loss of all, and the weights are untouched."""
    model = Gain()
    held = Recorded()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.tensor([3.0, -1.0, -1.0]))  # wrong for two of three
    before = model.head.weight.detach().clone()
    recipe = Recipe((replace(SEARCH, population=8),))
    seen = list(epochs(model, training_set(source=held), recipe, 0))
    assert [(e.phase, e.number) for e in seen] == [(0, 1), (0, 2)]
    clips = [clip for clip in CLIPS if clip.person in held.persons[0]]
    x, y = tensors(training_set(clips))
    losses = {}
    for gain in model.choices["gain"]:
        twin = Gain()
        twin.load_state_dict(model.state_dict())
        twin.choose({"gain": gain})
        losses[gain] = float(nn.functional.cross_entropy(twin(x), y).detach())
    best = min(losses, key=lambda gain: losses[gain])
    assert model.chosen == {"gain": best}
    assert seen[-1].loss == pytest.approx(losses[best], rel=1e-5)
    assert torch.equal(model.head.weight, before)


def test_phases_say_whether_a_model_adapts() -> None:
    model = Gain()
    recipe = Recipe((ADAPT, replace(TUNE, name="x"), replace(ADAPT, name="again", epochs=1)))
    kept = [epoch.model for epoch in epochs(model, training_set(), recipe, 0)][-1]
    assert {adapting for adapting, _ in model.seen} == {True}
    assert isinstance(kept, Gain)
    assert not kept.adapting
    model = Gain()
    fit(model, training_set(), Recipe((replace(TUNE, name="x"),)), 0)
    assert {adapting for adapting, _ in model.seen} == {False}
    for phase, says in ((replace(ADAPT), "use mode 'train'"), (SEARCH, "nothing to choose")):
        with pytest.raises(UserError, match=says):
            fit(Tiny(), training_set(), Recipe((phase,)), 0)


def test_adapting_and_searching_may_be_done_one_by_one(tmp_path: Path) -> None:
    recipe = Recipe((ADAPT, SEARCH, TUNE))
    torch.manual_seed(0)
    whole = fit(Gain(), training_set(), recipe, 3).state_dict()
    torch.manual_seed(0)
    model: Classifier = Gain()
    for index in range(3):
        fresh = Gain()
        fresh.load_state_dict(model.state_dict())
        for epoch in epochs(
            fresh, training_set(), recipe, 3, None, range(index, index + 1), tmp_path / "j"
        ):
            model = epoch.model
    assert same(whole, model.state_dict())
    assert [file.name for file in tmp_path.iterdir()] == ["j.1"]


def test_mesa_adds_what_the_average_says_as_target_mass() -> None:
    phase = replace(TUNE, ema=0.5, mesa=0.7, mesa_start=0.5, flip=False, sampling="in_order")
    model = Gain()
    states = [
        {k: v.clone() for k, v in epoch.model.state_dict().items()}
        for epoch in epochs(model, training_set(), Recipe((phase,)), 0)
    ]
    masses = [y.sum(1) for _, y in model.seen]
    half = len(masses) // 2
    assert all(torch.allclose(m, torch.ones(len(m))) for m in masses[:half])
    assert all(torch.allclose(m, torch.full((len(m),), 1.7)) for m in masses[half:])
    average = Gain()
    average.load_state_dict(states[0])  # as it stood when the second half began
    x, y = tensors(training_set())
    wanted = torch.eye(3)[y[:8]] + 0.7 * average.predict(x[:8])[1]
    torch.testing.assert_close(model.seen[half][1], wanted)
