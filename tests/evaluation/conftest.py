"""Predictions made up by hand or by chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from microexpr.evaluation.predictions import Predictions, concatenate

LABELS = ("negative", "positive", "surprise")
Row = tuple[str, int, int]  # clip id, true, pred


def _hand_made(
    rows: Sequence[Row], seed: int = 0, selection: str = "last", labels: Sequence[str] = LABELS
) -> Predictions:
    clips, true, pred = (np.array(column) for column in zip(*rows, strict=True))
    persons = np.array(["/".join(clip.split("/")[:2]) for clip in clips.tolist()])
    probabilities = np.full((len(rows), len(labels)), 0.1)
    probabilities[np.arange(len(rows)), pred] = 1 - 0.1 * (len(labels) - 1)
    return Predictions(
        labels=tuple(labels),
        clip=clips,
        person=persons,
        fold=persons,
        seed=np.full(len(rows), seed),
        selection=np.full(len(rows), selection),
        true=true,
        pred=pred,
        probabilities=probabilities,
    )


@pytest.fixture
def hand_made() -> Callable[..., Predictions]:
    """``(rows of (clip id, true, pred), seed, selection) -> Predictions``, a fold per person."""
    return _hand_made


@pytest.fixture
def by_chance() -> Callable[..., Predictions]:
    """``(persons, skill, seeds, selection, salt) -> Predictions`` of two data sets.

    Clips and their truth depend on `persons` alone; a prediction is right with chance `skill`.
    """

    def make(
        persons: int = 12,
        skill: float = 0.6,
        seeds: Sequence[int] = (0,),
        selection: str = "last",
        salt: int = 0,
    ) -> Predictions:
        chance = np.random.default_rng(7)
        clips = [
            (f"{'samm' if i % 3 else 'smic'}/p{i:02d}/c{j}", int(chance.integers(3)))
            for i in range(persons)
            for j in range(chance.integers(1, 9))
        ]
        parts = []
        for seed in seeds:
            luck = np.random.default_rng([salt, seed])
            rows = [
                (clip, true, true if luck.random() < skill else int(luck.integers(3)))
                for clip, true in clips
            ]
            parts.append(_hand_made(rows, seed, selection))
        return concatenate(parts)

    return make
