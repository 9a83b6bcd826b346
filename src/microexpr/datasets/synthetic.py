"""Micro-expressions made from anatomy: persons, clips and optical flow, without a download.

Each person has a face of their own, a habitual crop and a stronger side; each clip an emotion, the
action units that show it, a moving head, blinks, and the errors that TV-L1 flow makes. A clip is
decided by (seed, person, number) alone, whatever is read beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from microexpr.anatomy import EMOTIONS, EXPRESSIVE, ONE_SIDED, UNIT_INDEX, UNITS, Mix
from microexpr.clip import Clip
from microexpr.datasets.base import Dataset, check_choice
from microexpr.encoding import encode, minmax8, optical_strain, resample
from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.mixes import counted_mixes, unit_shares
from microexpr.roughness import ROUGH, ROUGH_UNIFORM
from microexpr.simulation import (
    CLIP,
    CLIP_UNIFORM,
    PERSON,
    PERSON_UNIFORM,
    Shapes,
    disturbed,
    render,
)

Array = NDArray[np.float32]

PRIORS = ("balanced", "megc3")
MIXES = ("textbook", "counted", "both")
LOOKS = ("smooth", "rough", "published")
REALISM = (*LOOKS, "any")
_PUBLISHED = Input(("u", "v", "strain"), 28, "tvl1", "minmax8")
_FULL = 112  # pixels at which flow is made before it is published
_MEGC3 = {  # negative .4, positive .3, surprise .3; anger and disgust lead the negative ones
    "anger": 0.13,
    "contempt": 0.05,
    "disgust": 0.12,
    "fear": 0.04,
    "happiness": 0.30,
    "sadness": 0.06,
    "surprise": 0.30,
}
_PERSON, _SCRIPT, _FIELD, _ROUGH, _CAMERA = 1, 2, 3, 4, 5  # first word of a seed: own streams
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
        mixes: Which action units show an emotion: ``"textbook"``, those of
            `microexpr.anatomy.EMOTIONS`; ``"counted"``, as often and on the sides that coders saw
            them (`microexpr.mixes`), stray units too; ``"both"``, either by the toss of a coin.
        realism: How the flow looks: ``"smooth"``; ``"rough"``, in patches and bursts as TV-L1
            gives it (`microexpr.roughness`); ``"published"``, rough and then encoded as `flow442`
            was: strain of the full size, 28x28, each plane stretched to 0..255 on its own;
            ``"any"``: one of them for each person.
        disturbance: How much worse than usual the recordings are: errors of the flow, head motion,
            differences between crops (`microexpr.simulation.disturbed`). Of two numbers, each
            person has one between them, by equal chance for equal ratios.

    Raises:
        UserError: A number that is too small, an unknown prior, kind of mixes or realism, or a
            disturbance that is neither a positive number nor two in their order.
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
        disturbance: float | Sequence[float] = 1.0,
        mixes: str = "textbook",
        realism: str = "smooth",
    ) -> None:
        super().__init__(Path() if root is None else root)
        least = {"persons": (persons, 1), "clips_per_person": (clips_per_person, 1)}
        for name, (value, low) in (least | {"size": (size, 8), "seed": (seed, 0)}).items():
            if value < low:
                raise UserError(f"synthetic: {name} must be at least {low}, got {value}")
        check_choice("synthetic: prior", prior, PRIORS)
        check_choice("synthetic: mixes", mixes, MIXES)
        check_choice("synthetic: realism", realism, REALISM)
        smooth = Input(("u", "v"), size, "tvl1", "none")
        self.ships = _PUBLISHED if realism in ("published", "any") else smooth
        self.size, self.realism = size, realism
        self._disturbance = _range(disturbance)
        self._scripts: dict[str, _Script] = {}
        self._clips: list[Clip] = []
        for person in range(persons):
            for number in range(clips_per_person):
                script = _script((seed, person, number), prior, mixes)
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

        Fields are sampled at this set's size, or at the wanted size if that is larger; published
        ones have 28 pixels and no unit.
        """
        planes = np.empty((len(clips), len(wants.channels), wants.size, wants.size), np.float32)
        looks = [self._look(clip) for clip in clips]
        for look in LOOKS:
            rows = [row for row, own in enumerate(looks) if own == look]
            for start in range(0, len(rows), _CHUNK):
                part = rows[start : start + _CHUNK]
                planes[part] = self._shown([clips[row] for row in part], look, wants)
        return planes

    def _shown(self, clips: Sequence[Clip], look: str, wants: Input) -> Array:
        """Fields of clips that look alike."""
        size = _FULL if look == "published" else max(self.size, wants.size)
        activation, chance = self.drawn(clips)
        if look != "smooth":
            keys = [(_ROUGH, *self._scripts[clip.id].key) for clip in clips]
            chance |= _chance(keys, ROUGH, ROUGH_UNIFORM)
        worse = np.array([self._worse(clip) for clip in clips], np.float32)
        flow = render(activation, disturbed(chance, worse), size)
        if look == "published":
            return encode(_publish(flow), _PUBLISHED, wants)
        return encode(flow, Input(("u", "v"), size, "tvl1", "none"), wants)

    def _look(self, clip: Clip) -> str:
        """How the flow of a clip's person looks."""
        if self.realism != "any":
            return self.realism
        return str(self._camera(clip).choice(LOOKS))

    def _worse(self, clip: Clip) -> float:
        """The disturbance of a clip's person."""
        low, high = self._disturbance
        if low == high:
            return low
        share = self._camera(clip).random(2)[1]  # the first number chooses the look
        return float(low * (high / low) ** share)

    def _camera(self, clip: Clip) -> np.random.Generator:
        """Random numbers that are the same for all clips of a person."""
        return np.random.default_rng([_CAMERA, *self._script(clip).key[:2]])

    def _script(self, clip: Clip) -> _Script:
        if clip.id not in self._scripts:
            raise UserError(f"synthetic has no clip '{clip.id}': take clips from its clips()")
        return self._scripts[clip.id]

    def drawn(self, clips: Sequence[Clip]) -> tuple[Array, dict[str, Array]]:
        """What is known of clips before their fields are made: as `disturbance` 1 has it, smooth.

        Returns:
            Activations ``(clips, units, 2)`` and random numbers, as `microexpr.simulation.render`
            takes them.

        Raises:
            UserError: A clip of another set.
        """
        scripts = [self._script(clip) for clip in clips]
        keys = [script.key for script in scripts]
        chance = _chance([(_PERSON, *key[:2]) for key in keys], PERSON, PERSON_UNIFORM)
        chance |= _chance([(_FIELD, *key) for key in keys], CLIP, CLIP_UNIFORM)
        return np.stack([script.activation for script in scripts]), chance


@dataclass(frozen=True, slots=True)
class _Script:
    """What happens in a clip: all but the field itself."""

    key: tuple[int, int, int]  # seed, person, number
    emotion: str
    activation: Array  # (units, 2): left and right half of the picture


def _script(key: tuple[int, int, int], prior: str, mixes: str) -> _Script:
    """Draws emotion, action units, strengths and sides of one clip."""
    seed, person, number = key
    random = np.random.default_rng([_SCRIPT, seed, person, number])
    if prior == "balanced":
        emotion = list(EMOTIONS)[(person + number) % len(EMOTIONS)]
    else:
        emotion = str(random.choice(list(_MEGC3), p=list(_MEGC3.values())))
    counted = mixes == "counted" or (mixes == "both" and random.random() < 0.5)
    activation = np.zeros((len(UNITS), 2), np.float32)
    for unit, lone in _counted(random, emotion) if counted else _textbook(random, emotion):
        gains = _sides(random, lone)
        activation[UNIT_INDEX[unit]] = random.uniform(0.35, 1.0) * gains
    if random.random() < 0.15:  # co-activation: a weak unit that belongs to no emotion
        shares = [unit_shares()[unit] for unit in EXPRESSIVE] if counted else None
        stray = UNIT_INDEX[str(random.choice(EXPRESSIVE, p=shares))]
        activation[stray] += random.uniform(0.1, 0.35) * _sides(random, None)
    if random.random() < 0.3:  # a blink; a third of them open between onset and apex
        activation[UNIT_INDEX["45"]] = random.uniform(0.2, 1.0) * random.choice([1, 1, -1])
    return _Script(key, emotion, activation)


def _drawn(random: np.random.Generator, mixes: Sequence[Mix]) -> tuple[str, ...]:
    """The units of one of some mixes, by their weights."""
    weights = np.array([mix.weight for mix in mixes], float)
    return mixes[int(random.choice(len(mixes), p=weights / weights.sum()))].units


def _textbook(random: np.random.Generator, emotion: str) -> Iterator[tuple[str, int | None]]:
    """Units, and the half of the picture to which each is confined, if it is."""
    units = _drawn(random, EMOTIONS[emotion])
    chance, side = random.random(), int(random.integers(2))  # one-sided clips are so in every unit
    for unit in units:
        yield unit, side if chance < ONE_SIDED.get(unit, 0) else None


def _counted(random: np.random.Generator, emotion: str) -> Iterator[tuple[str, int | None]]:
    """The same, of a combination as coded: L is the person's left, the picture's right half."""
    for code in _drawn(random, counted_mixes()[emotion]):
        yield code.lstrip("LR"), {"L": 1, "R": 0}.get(code[0])


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


def _range(disturbance: float | Sequence[float]) -> tuple[float, float]:
    """The least and the greatest disturbance."""
    given = disturbance if isinstance(disturbance, Sequence) else (disturbance, disturbance)
    numbers = [number for number in given if isinstance(number, int | float)]
    if len(numbers) != 2 or len(given) != 2 or not 0 < given[0] <= given[1] < float("inf"):
        raise UserError(
            "synthetic: disturbance must be above 0, or two such numbers in their order, got "
            f"{disturbance}"
        )
    return given[0], given[1]


def _publish(flow: Array) -> Array:
    """Flow ``(clips, 2, n, n)`` as `flow442` was made of it, ``(clips, 3, 28, 28)``."""
    strain = optical_strain(flow[:, 0], flow[:, 1])[:, None]
    planes = resample(np.concatenate([flow, strain], axis=1), _PUBLISHED.size)
    return minmax8(planes).astype(np.float32)


def _chance(keys: Sequence[tuple[int, ...]], normal: Shapes, uniform: Shapes) -> dict[str, Array]:
    """Random numbers ``(keys, *shape)`` by name, each row decided by its key."""
    rows: list[dict[str, Array]] = []
    for key in keys:
        source = np.random.default_rng(key)
        row = {k: source.standard_normal(s, np.float32) for k, s in normal.items()}
        rows.append(row | {k: source.random(s, np.float32) for k, s in uniform.items()})
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
