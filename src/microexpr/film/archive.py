"""An archive of films of drawn people, one micro-expression each, and an index of the truth.

    OUT/archive.json                 what was asked for
    OUT/index.csv                    clip, person, emotion, units, onset, apex, offset, fps, peak
    OUT/s0p0003/0007_happiness.mp4   person 3, film 7 of the archive with seed 0

Frames are numbered from 1; `peak` is the largest displacement of skin, % of the eyes' distance.

The people, their emotions and action units are those of the data set ``synthetic`` with the same
settings, so both roads to training data, flow made directly and films that go through detection,
alignment and TV-L1, show the same. Films are decided by (seed, person, number) alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from microexpr.anatomy import UNIT_INDEX
from microexpr.clip import Clip
from microexpr.datasets.synthetic import Synthetic
from microexpr.errors import UserError
from microexpr.files import write_text
from microexpr.film.people import drawn_person
from microexpr.film.portrait import LEVEL, Portrait
from microexpr.film.script import CLOSING, OPENING, Blink, Movement, Script, course
from microexpr.film.warp import pictures, stage
from microexpr.jobs import check_jobs, spread
from microexpr.simulation import build, skin
from microexpr.template import INDEX
from microexpr.videowriter import write_video

SETTINGS, TABLE = "archive.json", "index.csv"
FORMAT = 1  # raised whenever the same settings give other films
COLUMNS = ("clip", "person", "emotion", "units", "onset", "apex", "offset", "fps", "peak")
RATES = (30.0, 60.0, 100.0, 200.0)  # frames per second, each as likely
SIDE = 320  # pixels of a film
CROP = 1.9  # IOD: side of the crop in which `microexpr.simulation` says how far blobs stray
# Of 2629 clips of DFME 5 to 95 % last .20 to .50 s and reach the apex after .31 to .80 of that.
LASTING, APEX = (0.2, 0.5), (0.52, 0.13, 0.28, 0.82)  # range; mean, deviation and range

Array = NDArray[np.float32]
Watch = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Archive:
    """What is asked for.

    Attributes:
        persons: Number of persons.
        clips: Films of each.
        seed: Of everything.
        prior: As in `microexpr.datasets.synthetic.Synthetic`.
        mixes: Likewise.
    """

    persons: int = 20
    clips: int = 21
    seed: int = 0
    prior: str = "balanced"
    mixes: str = "textbook"


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """One film before it is shot.

    Attributes:
        clip: Of the data set ``synthetic``; its name and units are the film's.
        script: What happens when.
        activation: ``(units, 2)`` at the apex.
        chance: Random numbers of `microexpr.simulation.skin`, ``(1, ...)`` each.
    """

    clip: Clip
    script: Script
    activation: Array
    chance: Mapping[str, Array]


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """One person's films, for a worker process.

    Attributes:
        out: Folder of the archive.
        key: Seed of the archive, and number of the person.
        landmarks: ``(landmarks, 2, 2)`` IOD.
        takes: The films.
    """

    out: Path
    key: tuple[int, int]
    landmarks: Array
    takes: tuple[Take, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """What a call of `make_archive` did: films made now, and films that were there."""

    made: int
    kept: int


def make_archive(
    out: Path,
    asked: Archive,
    jobs: int | None = None,
    watch: Watch = lambda what, done, of: None,
) -> Made:
    """Makes an archive; killed and started again, it goes on.

    More persons or films may be asked for later: those that are there stay as they are.

    Args:
        out: Its folder; made if need be.
        asked: What it is to hold.
        jobs: Processes; None: one a core.
        watch: Called with (what, done, of).

    Raises:
        UserError: A bad setting; or the folder holds an archive with another seed or other mixes.
    """
    workers = check_jobs(jobs)
    people = list(_people(out, asked))
    _enter(out, asked)
    made, total = 0, asked.persons * asked.clips
    watch("films", 0, total)
    for done, (_, shot) in enumerate(spread(shoot_person, people, workers), start=1):
        made += shot
        watch("films", done * asked.clips, total)
    rows = [_row(take) for person in people for take in person.takes]
    write_text("\n".join(",".join(row) for row in (COLUMNS, *rows)) + "\n", out / TABLE)
    return Made(made, total - made)


def shoot_person(person: Person) -> int:
    """Shoots those of a person's films that are not there; for worker processes.

    Returns:
        How many.
    """
    cv2.setNumThreads(1)
    paths = {take.clip.id: film_path(person.out, take.clip) for take in person.takes}
    left = [take for take in person.takes if not paths[take.clip.id].exists()]
    portrait = drawn_person(*person.key, person.landmarks) if left else None
    for take in left:
        assert portrait is not None
        shoot_take(portrait, take, paths[take.clip.id])
    return len(left)


def shoot_take(portrait: Portrait, take: Take, path: Path) -> None:
    """Shoots one film; a second time it is the same, byte for byte."""
    script = take.script
    scene = stage(portrait, script)
    field = true_field(scene.portrait.landmarks, take)
    scene = replace(scene, fields=(field, scene.fields[-1]))
    write_video(path, pictures(scene), script.fps, script.crf, repeatable=True)


def film_path(out: Path, clip: Clip) -> Path:
    """Where a film lies in an archive."""
    return out / clip.subject / f"{clip.name}.mp4"


def true_field(landmarks: Array, take: Take) -> Array:
    """Displacement of the skin at the apex of a film, ``(SIDE, SIDE, 2)`` pixels of the film.

    Args:
        landmarks: ``(landmarks, 2, 2)`` in pixels of the film.
        take: The film.
    """
    points = (landmarks[None] + 0.5) / SIDE
    reach = CROP * take.script.eyes / SIDE
    moved = skin(points, take.activation[None], take.chance, SIDE, reach=reach)
    return np.ascontiguousarray(np.moveaxis(moved[0], 0, -1) * SIDE, np.float32)


def people_of(asked: Archive) -> Synthetic:
    """The data set whose persons and clips the films show."""
    return Synthetic(
        None, asked.persons, asked.clips, asked.seed, prior=asked.prior, mixes=asked.mixes
    )


def _people(out: Path, asked: Archive) -> Iterator[Person]:
    data = people_of(asked)
    clips = data.clips()
    for number in range(asked.persons):
        own = clips[number * asked.clips : (number + 1) * asked.clips]
        activation, chance = data.drawn(own)
        landmarks = build(chance["build"][:1], chance["points"][:1])[0]
        key = (asked.seed, number)
        takes = tuple(
            _take(clip, (*key, i), activation[i], {k: chance[k][[i]] for k in ("side", "blob")})
            for i, clip in enumerate(own)
        )
        yield Person(out, key, np.asarray(landmarks, np.float32), takes)


def _take(
    clip: Clip, key: tuple[int, int, int], activation: Array, chance: Mapping[str, Array]
) -> Take:
    """Writes the script of one film."""
    rng = np.random.default_rng([*key, 9])
    lasting = rng.uniform(*LASTING)
    onset = 0.04 + rng.uniform(0, LASTING[1] - lasting)
    mean, deviation, low, high = APEX
    apex = onset + lasting * float(np.clip(rng.normal(mean, deviation), low, high))
    blink = activation[UNIT_INDEX["45"]].mean()
    still = activation.copy()
    still[UNIT_INDEX["45"]] = 0  # lids are drawn, not moved
    blinks = _blink(rng, float(blink), onset, apex)
    script = Script(
        fps=float(rng.choice(RATES)),
        seconds=max(onset + lasting, *(b.offset for b in blinks), 0.0) + 0.05,
        events=(Movement(clip.emotion, _shown(clip), onset, apex, onset + lasting, 1.0),),
        blinks=blinks,
        drift=float(np.exp(rng.uniform(np.log(0.3), np.log(8)))),
        flicker=rng.uniform(0, 1.5),
        noise=float(np.exp(rng.uniform(np.log(0.5), np.log(4)))),
        crf=int(rng.integers(8, 26)),
        seed=int(rng.integers(2**31)),
        width=SIDE,
        height=SIDE,
        eyes=rng.uniform(75, 95),
    )
    take = Take(clip, script, still, chance)
    return replace(take, script=replace(script, events=(_measured(take),)))


def _shown(clip: Clip) -> tuple[str, ...]:
    return tuple(code for code in clip.action_units if code != "45")


def _measured(take: Take) -> Movement:
    """The film's movement with its true peak, as the template's face would show it."""
    (event,) = take.script.events
    middle = SIDE * np.array([0.5, LEVEL])
    landmarks = build(np.zeros((1, 5)), np.zeros((1, len(INDEX), 2, 2)))[0] * take.script.eyes
    field = true_field(np.asarray(landmarks + middle, np.float32), take)[::4, ::4]
    return replace(event, peak=100 * float(np.hypot(*field.T).max()) / take.script.eyes)


def _blink(rng: np.random.Generator, closes: float, onset: float, apex: float) -> tuple[Blink, ...]:
    """A blink that has closed the lids by `closes` between onset and apex, or opened them by -it.

    >>> _blink(np.random.default_rng(0), 0.0, 0.1, 0.3)
    ()
    """
    if closes == 0:
        return ()
    closing, opening = rng.uniform(*CLOSING), rng.uniform(*OPENING)
    share = min(abs(closes), 1.0)
    part = np.linspace(0, 1, 201)
    way = float(np.interp(share, course(part, 0.0, 1.0, 2.0), part))
    begins = apex - way * closing if closes > 0 else onset - closing - (1 - way) * opening
    begins = max(begins, 0.0)
    return (Blink(begins, begins + closing, begins + closing + opening),)


def _row(take: Take) -> tuple[str, ...]:
    """The film's row in the index; frames are numbered from 1."""
    script, (event,) = take.script, take.script.events
    times = (event.onset, event.apex, event.offset)
    frames = (str(1 + min(round(time * script.fps), script.frames - 1)) for time in times)
    told = (take.clip.name, take.clip.subject, take.clip.emotion, "+".join(event.units))
    return (*told, *frames, f"{script.fps:g}", f"{event.peak:.3f}")


def _enter(out: Path, asked: Archive) -> None:
    """Notes what was asked for; what decides a film must stay the same.

    Raises:
        UserError: It does not.
    """
    path = out / SETTINGS
    entry = asdict(asked) | {"format": FORMAT}
    if path.exists():
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
            other = [k for k in ("seed", "prior", "mixes", "format") if old[k] != entry[k]]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error}); choose another folder") from error
        if other:
            kept = ", ".join(f"{key} {old[key]}" for key in other)
            raise UserError(f"{out} holds films with {kept}; choose another folder")
    write_text(json.dumps(entry, indent=1) + "\n", path)
