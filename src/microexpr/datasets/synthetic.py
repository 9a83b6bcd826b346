"""Micro-expressions made from anatomy: persons, clips and optical flow, without a download.

Each person has a face of their own, a habitual crop and a stronger side; each clip an emotion, the
action units that show it, a moving head, blinks, and the errors that TV-L1 flow makes. A clip is
decided by (seed, person, number) alone, whatever is read beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from microexpr.anatomy import EMOTIONS, EXPRESSIVE, ONE_SIDED, UNIT_INDEX, UNITS
from microexpr.clip import Clip
from microexpr.datasets.base import Dataset, check_choice
from microexpr.encoding import encode
from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.simulation import CLIP, CLIP_UNIFORM, PERSON, PERSON_UNIFORM, render

Array = NDArray[np.float32]

PRIORS = ("balanced", "megc3")
_MEGC3 = {  # negative .4, positive .3, surprise .3; anger and disgust lead the negative ones
    "anger": 0.13,
    "contempt": 0.05,
    "disgust": 0.12,
    "fear": 0.04,
    "happiness": 0.30,
    "sadness": 0.06,
    "surprise": 0.30,
}
_PERSON, _SCRIPT, _FIELD = 1, 2, 3  # first word of a seed: independent streams
_CHUNK = 128  # clips rendered together: keeps the working set small


class Synthetic(Dataset):
    """Synthetic micro-expressions from action units.

    Args:
        root: Ignored: there are no files.
        persons: Number of persons.
        clips_per_person: Clips of each.
        seed: Of everything.
        size: Side of the fields in pixels.
        prior: How emotions are chosen: ``"balanced"``, the seven in turn, or ``"megc3"``, drawn so
            that negative has .4, positive .3 and surprise .3.

    Raises:
        UserError: A number that is too small, or an unknown prior.
    """

    title = "Synthetic micro-expressions from action units, any number of persons"
    paper = "made here, after Ekman, Friesen and Hager, Facial Action Coding System, 2002"
    access = "made on the fly, nothing to obtain"
    ships = Input(("u", "v"), 56, "tvl1", "none")

    def __init__(
        self,
        root: Path | None = None,
        persons: int = 20,
        clips_per_person: int = 21,
        seed: int = 0,
        size: int = 56,
        prior: str = "balanced",
    ) -> None:
        super().__init__(Path() if root is None else root)
        least = {"persons": (persons, 1), "clips_per_person": (clips_per_person, 1)}
        for name, (value, low) in (least | {"size": (size, 8), "seed": (seed, 0)}).items():
            if value < low:
                raise UserError(f"synthetic: {name} must be at least {low}, got {value}")
        check_choice("synthetic: prior", prior, PRIORS)
        self.ships = Input(("u", "v"), size, "tvl1", "none")
        self.size = size
        self._scripts: dict[str, _Script] = {}
        self._clips: list[Clip] = []
        for person in range(persons):
            for number in range(clips_per_person):
                script = _script(seed, person, number, prior)
                clip = _clip(script)
                self._clips.append(clip)
                self._scripts[clip.id] = script

    def clips(self) -> list[Clip]:
        """Every clip, person by person; `Clip.action_units` is what was drawn."""
        return list(self._clips)

    def read(self, clip: Clip, wants: Input) -> Array:
        """The flow field of one clip, encoded as `wants`."""
        planes: Array = self.read_many([clip], wants)[0]
        return planes

    def read_many(self, clips: Sequence[Clip], wants: Input) -> Array:
        """The flow fields of several clips, encoded as `wants`.

        Fields are sampled at this set's size, or at the wanted size if that is larger.
        """
        unknown = [clip.id for clip in clips if clip.id not in self._scripts]
        if unknown:
            raise UserError(f"synthetic has no clip '{unknown[0]}': take clips from its clips()")
        size = max(self.size, wants.size)
        has = Input(("u", "v"), size, "tvl1", "none")
        planes = np.empty((len(clips), len(wants.channels), wants.size, wants.size), np.float32)
        for start in range(0, len(clips), _CHUNK):
            scripts = [self._scripts[clip.id] for clip in clips[start : start + _CHUNK]]
            activation = np.stack([script.activation for script in scripts])
            flow = render(activation, _chance(scripts), size)
            planes[start : start + _CHUNK] = encode(flow, has, wants)
        return planes


@dataclass(frozen=True, slots=True)
class _Script:
    """What happens in a clip: all but the field itself."""

    key: tuple[int, int, int]  # seed, person, number
    emotion: str
    activation: Array  # (units, 2): left and right half of the picture


def _script(seed: int, person: int, number: int, prior: str) -> _Script:
    """Draws emotion, action units, strengths and sides of one clip."""
    random = np.random.default_rng([_SCRIPT, seed, person, number])
    if prior == "balanced":
        emotion = list(EMOTIONS)[(person + number) % len(EMOTIONS)]
    else:
        emotion = str(random.choice(list(_MEGC3), p=list(_MEGC3.values())))
    mixes = EMOTIONS[emotion]
    weights = np.array([mix.weight for mix in mixes], float)
    units = mixes[int(random.choice(len(mixes), p=weights / weights.sum()))].units
    activation = np.zeros((len(UNITS), 2), np.float32)
    chance, side = random.random(), int(random.integers(2))  # one-sided clips are so in every unit
    for unit in units:
        gains = _sides(random, side if chance < ONE_SIDED.get(unit, 0) else None)
        activation[UNIT_INDEX[unit]] = random.uniform(0.35, 1.0) * gains
    if random.random() < 0.15:  # co-activation: a weak unit that belongs to no emotion
        stray = UNIT_INDEX[str(random.choice(EXPRESSIVE))]
        activation[stray] += random.uniform(0.1, 0.35) * _sides(random, None)
    if random.random() < 0.3:  # a blink; a third of them open between onset and apex
        activation[UNIT_INDEX["45"]] = random.uniform(0.2, 1.0) * random.choice([1, 1, -1])
    return _Script((seed, person, number), emotion, activation)


def _sides(random: np.random.Generator, lone: int | None) -> Array:
    """How strongly each half of the face takes part; all but nothing beside a `lone` half."""
    gains = np.clip(1 + 0.3 * random.standard_normal(2), 0.2, 1.8)
    if lone is not None:
        gains[1 - lone] *= 0.1
    return gains.astype(np.float32)


def _clip(script: _Script) -> Clip:
    seed, person, number = script.key
    return Clip(
        "synthetic",
        f"s{seed}p{person:04d}",
        f"{number:04d}_{script.emotion}",
        script.emotion,
        action_units=_codes(script.activation),
        modality="flow",
    )


def _codes(activation: Array) -> tuple[str, ...]:
    """FACS codes of active units; L and R are the person's left (the picture's right) and right."""
    codes = []
    for unit, i in sorted(UNIT_INDEX.items(), key=lambda item: int(item[0])):
        left, right = np.abs(activation[i])
        if max(left, right) > 0:
            stronger = "L" if right > left else "R"
            codes.append(unit if min(left, right) > max(left, right) / 4 else stronger + unit)
    return tuple(codes)


def _chance(scripts: Sequence[_Script]) -> dict[str, Array]:
    """The random numbers of some clips, ``(clips, *shape)`` each; those of a person are shared."""
    rows: list[dict[str, Array]] = []
    for script in scripts:
        seed, person, number = script.key
        row: dict[str, Array] = {}
        own = np.random.default_rng([_PERSON, seed, person])
        random = np.random.default_rng([_FIELD, seed, person, number])
        for source, normal, uniform in (
            (own, PERSON, PERSON_UNIFORM),
            (random, CLIP, CLIP_UNIFORM),
        ):
            row |= {k: source.standard_normal(s, np.float32) for k, s in normal.items()}
            row |= {k: source.random(s, np.float32) for k, s in uniform.items()}
        rows.append(row)
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}
