"""Dividing persons into groups of like size and classes; no person stands in two."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from microexpr.clip import Clip
from microexpr.errors import UserError
from microexpr.labels import LabelScheme


def split_persons(
    clips: Sequence[Clip], scheme: LabelScheme, share: float, seed: int = 0
) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """Sets persons aside, balanced in clips and classes: the inner validation of a fold.

    Args:
        clips: Clips with a label in the scheme, of at least two persons.
        scheme: Gives the classes to balance.
        share: Part of the clips to hold out, between 0 and 1.
        seed: Another number sets other persons aside.

    Returns:
        The rest and those held out, both in the order of their ids; neither is empty.

    Raises:
        UserError: `share` is not between 0 and 1, or there is only one person.
    """
    if not isinstance(share, int | float) or not 0 < share < 1:
        raise UserError(f"share must be a number between 0 and 1, got {share}")
    _, held = group_persons(clips, scheme, [1 - share, share], seed)
    ordered = sorted(clips, key=lambda clip: clip.id)
    rest = tuple(clip for clip in ordered if clip.person not in held)
    return rest, tuple(clip for clip in ordered if clip.person in held)


def group_persons(
    clips: Sequence[Clip], scheme: LabelScheme, shares: Sequence[float], seed: int = 0
) -> list[set[str]]:
    """Divides persons into groups that hold given shares of all clips and of each class.

    From an arbitrary start (persons in the order of a hash of seed and name) the exchange or move
    that helps most is made until none helps: a local minimum of the summed squared differences
    between a group's shares and the wanted ones.

    Args:
        clips: Clips with a label in the scheme.
        scheme: Gives the classes to balance.
        shares: One per group, positive, summing to 1.
        seed: Part of the hash: another start, and mostly another grouping.

    Returns:
        As many sets of `Clip.person` as shares; none is empty.

    Raises:
        UserError: Fewer persons than groups.
    """
    names = sorted(
        {clip.person for clip in clips},
        key=lambda person: hashlib.sha256(f"{seed}:{person}".encode()).digest(),
    )
    groups = len(shares)
    if len(names) < groups:
        raise UserError(f"{len(names)} person(s) cannot be divided into {groups} groups")
    middles = (np.arange(len(names)) + 0.5) / len(names)
    group = np.minimum(np.searchsorted(np.cumsum(shares), middles), groups - 1)
    group[:groups] = np.arange(groups)
    group = _balanced(_person_shares(clips, scheme, names), group, np.asarray(shares))
    return [{names[i] for i in np.flatnonzero(group == g)} for g in range(groups)]


def _person_shares(
    clips: Sequence[Clip], scheme: LabelScheme, names: Sequence[str]
) -> NDArray[np.float64]:
    """(persons, classes + data sets + 1): each person's part of what is to be balanced.

    A column is a person's part of all clips of one class, of one data set, of all clips. The last
    counts as much as the classes together, the data sets together as one class.
    """
    sets = sorted({clip.dataset for clip in clips})
    classes = len(scheme.labels)
    row = {person: i for i, person in enumerate(names)}
    counts = np.zeros((len(names), classes + len(sets) + 1))
    for clip in clips:
        columns = [scheme.index(clip), classes + sets.index(clip.dataset), -1]
        counts[row[clip.person], columns] += 1
    weights = np.array([1.0] * classes + [1 / len(sets)] * len(sets) + [classes])
    shares: NDArray[np.float64] = counts * weights**0.5 / np.maximum(counts.sum(axis=0), 1)
    return shares


def _balanced(
    persons: NDArray[np.float64], group: NDArray[np.intp], shares: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Steepest descent over exchanges of two persons and moves of one.

    With residual r_g of group g, exchanging i (of g) and j (of h) changes the cost by
    ``2 (p_i - p_j) . (r_h - r_g) + 2 |p_i - p_j|^2``; a move is the exchange with an empty place.
    """
    count, groups = len(persons), len(shares)
    rows = np.vstack([persons, np.zeros((groups, persons.shape[1]))])
    gram = rows @ rows.T
    square = np.diag(gram)
    distance = square[:, None] + square[None, :] - 2 * gram
    wanted = shares[:, None] * persons.sum(axis=0)
    group = np.concatenate([group, np.arange(groups)])
    while True:
        held = np.array([rows[group == g].sum(axis=0) for g in range(groups)])
        cross = rows @ (held - wanted)[group].T
        own = np.diag(cross)
        change = 2 * (cross + cross.T - own[:, None] - own[None, :] + distance)[:count]
        change[group[:count, None] == group[None, :]] = 0
        alone = np.bincount(group[:count], minlength=groups)[group[:count]] == 1
        change[alone, count:] = 0
        change = np.round(change, 12)  # equal candidates tie, whatever the order of summation
        i, j = np.unravel_index(np.argmin(change), change.shape)
        if change[i, j] >= 0:
            return group[:count]
        if j < count:
            group[i], group[j] = group[j], group[i]
        else:
            group[i] = group[j]
