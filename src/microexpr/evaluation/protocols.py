"""Who is trained on and who is tested: protocols as functions from clips to folds.

A fold leaves out whole persons: a `Fold` in which a person stands on both sides cannot be made.
Every protocol yields the same folds for the same clips, in whatever order these come.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from microexpr.clip import Clip
from microexpr.errors import UserError, suggest
from microexpr.labels import LabelScheme
from microexpr.training.persons import group_persons, split_persons


@dataclass(frozen=True, slots=True)
class Fold:
    """One training and what it is tested on.

    Attributes:
        name: Unique within its protocol: the person, data set, number or part that is tested.
        train: Clips to learn from, in the order of their ids.
        test: Clips to predict, in the order of their ids.

    Raises:
        UserError: A side is empty, or a person stands on both.
    """

    name: str
    train: tuple[Clip, ...]
    test: tuple[Clip, ...]

    def __post_init__(self) -> None:
        if not self.train or not self.test:
            raise UserError(f"fold {self.name}: nothing to {'test' if self.train else 'train on'}")
        both = {clip.person for clip in self.train} & {clip.person for clip in self.test}
        if both:
            raise UserError(f"fold {self.name}: {min(both)} is in both training and test")


@dataclass(frozen=True, slots=True)
class Protocol:
    """An entry of `PROTOCOLS`.

    Attributes:
        name: Its key.
        about: One line for a list.
        covers: Whether every clip is tested exactly once.
        folds: ``(clips, scheme, *, settings) -> folds``; every clip has a label in the scheme.
    """

    name: str
    about: str
    covers: bool
    folds: Callable[..., Iterator[Fold]]


def loso(clips: Sequence[Clip], scheme: LabelScheme) -> Iterator[Fold]:
    """Leave one person out; over several data sets this is the composite evaluation (CDE).

    See et al., MEGC 2019: 68 folds on the 442 clips of SMIC-HS, CASME II and SAMM.
    """
    return _leave_out("person", clips, lambda clip: clip.person)


def lodo(clips: Sequence[Clip], scheme: LabelScheme) -> Iterator[Fold]:
    """Leave one data set out (CD6ME of Varanka et al., TAFFC 2024, where six sets are given)."""
    return _leave_out("data set", clips, lambda clip: clip.dataset)


def kfold(
    clips: Sequence[Clip], scheme: LabelScheme, *, folds: int = 10, seed: int = 0
) -> Iterator[Fold]:
    """Persons in `folds` groups of like size and class counts; each group is tested once.

    Args:
        clips: Clips with a label in the scheme.
        scheme: Gives the classes to balance.
        folds: Number of groups, at least 2 and at most the number of persons.
        seed: Another number gives another, equally balanced grouping.

    Raises:
        UserError: `folds` is not such a number.
    """
    persons = len({clip.person for clip in clips})
    if not _whole(folds) or not 2 <= folds <= persons:
        raise UserError(f"kfold: folds must be 2 to {persons} (the number of persons), got {folds}")
    groups = group_persons(clips, scheme, [1 / folds] * folds, seed)
    width = len(str(folds))
    for number, group in enumerate(groups, start=1):
        yield _fold(f"{number:0{width}d}", clips, group)


def holdout(
    clips: Sequence[Clip], scheme: LabelScheme, *, share: float = 0.2, seed: int = 0
) -> Iterator[Fold]:
    """One fold: persons with about `share` of the clips of each class are tested.

    Raises:
        UserError: `share` is not between 0 and 1, or there is only one person.
    """
    _, held = split_persons(clips, scheme, share, seed)
    yield _fold("holdout", clips, {clip.person for clip in held})


def fixed(clips: Sequence[Clip], scheme: LabelScheme, *, train: str = "train") -> Iterator[Fold]:
    """The data set's own parts (`Clip.split`): learn from one, test each of the others (DFME).

    Raises:
        UserError: A clip has no part, no clip has the part `train`, or none has another.
    """
    for clip in clips:
        if clip.split is None:
            raise UserError(f"fixed: {clip.id} has no part (Clip.split); use kfold or loso")
    parts = sorted({str(clip.split) for clip in clips})
    if train not in parts:
        raise UserError(f"fixed: no clip is in the part '{train}': {suggest(train, parts)}")
    if len(parts) < 2:
        raise UserError(f"fixed: all clips are in the part '{train}'; nothing is left to test")
    learn = _by_id(clip for clip in clips if clip.split == train)
    for part in parts:
        if part != train:
            yield Fold(part, learn, _by_id(clip for clip in clips if clip.split == part))


def _leave_out(what: str, clips: Sequence[Clip], key: Callable[[Clip], str]) -> Iterator[Fold]:
    held: dict[str, set[str]] = {}
    for clip in clips:
        held.setdefault(key(clip), set()).add(clip.person)
    if len(held) < 2:
        raise UserError(f"leaving one {what} out needs two, and all clips are of {min(held)}")
    for name in sorted(held):
        yield _fold(name, clips, held[name])


def _fold(name: str, clips: Sequence[Clip], held: set[str]) -> Fold:
    train = _by_id(clip for clip in clips if clip.person not in held)
    return Fold(name, train, _by_id(clip for clip in clips if clip.person in held))


def _by_id(clips: Iterable[Clip]) -> tuple[Clip, ...]:
    return tuple(sorted(clips, key=lambda clip: clip.id))


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


PROTOCOLS: dict[str, Protocol] = {
    entry.name: entry
    for entry in (
        Protocol("loso", "leave one person out; over several data sets, CDE", True, loso),
        Protocol("lodo", "leave one data set out", True, lodo),
        Protocol("kfold", "persons in balanced groups, each tested once", True, kfold),
        Protocol("holdout", "one balanced group of persons is tested", False, holdout),
        Protocol("fixed", "the data set's own parts: train, then each other", False, fixed),
    )
}


def protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        UserError: Unknown name; the message names the nearest.
    """
    if name not in PROTOCOLS:
        raise UserError(f"unknown protocol '{name}': {suggest(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def protocol_settings(name: str) -> dict[str, Any]:
    """The settings of a protocol with their defaults.

    >>> protocol_settings("kfold")
    {'folds': 10, 'seed': 0}

    Raises:
        UserError: Unknown name.
    """
    parameters = inspect.signature(protocol(name).folds).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def make_folds(
    name: str, clips: Sequence[Clip], scheme: LabelScheme, settings: Mapping[str, Any] | None = None
) -> tuple[Fold, ...]:
    """The folds of a protocol, all of them, after checking what it is given.

    Args:
        name: Key of `PROTOCOLS`.
        clips: Clips in any order; those without a label in the scheme are left out.
        scheme: The classes.
        settings: What `protocol_settings` lists.

    Raises:
        UserError: Unknown protocol or setting, two clips of one id, or no clip with a label.
    """
    settings, known = dict(settings or {}), protocol_settings(name)
    for key, value in settings.items():
        if key not in known:
            raise UserError(f"protocol '{name}' has no setting '{key}': {suggest(key, known)}")
        if _whole(known[key]) and not _whole(value):
            raise UserError(f"protocol '{name}': {key} must be a whole number, got {value!r}")
    used = _by_id(clip for clip in clips if scheme(clip) is not None)
    if not used:
        raise UserError(f"none of {len(clips)} clips has a label in the scheme {scheme.name}")
    for one, other in pairwise(used):
        if one.id == other.id:
            raise UserError(f"two clips are called {one.id}: ids must be unique")
    return tuple(protocol(name).folds(used, scheme, **settings))
