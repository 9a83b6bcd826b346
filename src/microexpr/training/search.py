"""Evolutionary search over a model's choices (Liu et al., AMMSM, section III-C).

A genetic algorithm with optuna: a random first generation, then children of the best, by uniform
crossover and mutation. One generation is `Phase.population` configurations; `Phase.epochs` says how
many there are. What a configuration is worth is for the caller to say (`judge`).

A generation is drawn whole before any of it is judged, every configuration from its own random
stream, fixed by the seed and by how many came before; its parents are fixed, too. So it does not
matter where and in which order configurations are judged, and a search that was killed goes on from
its journal and ends where it would have ended.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from microexpr.errors import UserError
from microexpr.files import replacing
from microexpr.models.base import Adaptive
from microexpr.training.recipe import Phase

if TYPE_CHECKING:
    import optuna

_ABOUT = "about"

Judge = Callable[[Sequence[Mapping[str, float]]], Iterator[float]]


def search(
    model: Adaptive,
    judge: Judge,
    phase: Phase,
    about: Mapping[str, Any],
    seed: int,
    journal: Path | None = None,
    process: tuple[int, int, Callable[[], None]] = (0, 1, lambda: None),
) -> Iterator[float]:
    """Searches, generation by generation.

    Args:
        model: Its `choices` are searched. After each generation the best so far is chosen.
        judge: Gives the losses of the model under some choices, in their order, each as soon as it
            can; smaller is better, nan is worst.
        phase: Gives `population`, `epochs` (generations) and `mutation`.
        about: What else decides the result; a journal of anything else is refused.
        seed: Not negative.
        journal: File that records every trial; one that is there is gone on with. None: memory.
        process: This process's number among those that share the journal and the work, how many
            they are, and what waits until all of them have come as far.

    Yields:
        The best loss so far, after each generation.

    Raises:
        UserError: optuna is not installed, or the journal belongs to another search.
    """
    if not model.choices:
        yield from list(judge([{}])) * phase.epochs
        return
    rank, world, barrier = process if journal is not None else (0, 1, lambda: None)
    if rank == 0 and journal is not None:
        _mend(journal)
    study = _open(journal, {**about, "choices": model.choices, "seed": seed}, phase)
    if rank == 0:
        _give_up_unfinished(study)
    barrier()
    for generation in range(1, phase.epochs + 1):
        wanted = generation * phase.population
        if rank == 0:
            for number in range(len(_begun(study)), wanted):
                study.sampler = _sampler(phase, seed, number)
                trial = study.ask()
                for name, options in model.choices.items():
                    trial.suggest_categorical(name, options)
        barrier()
        _judge_share(study, _begun(study)[:wanted][rank::world], judge)
        barrier()
        best = min(_finished(study)[:wanted], key=_loss)
        model.choose(best.params)
        yield _loss(best)


def read_trials(journal: Path) -> list[dict[str, float]]:
    """What a search has judged, in order: ``trial``, ``loss``, and each choice by its name."""
    return [
        {"trial": number, "loss": _loss(trial), **trial.params}
        for number, trial in enumerate(_finished(_study(journal)))
    ]


def _judge_share(
    study: optuna.Study, share: Sequence[optuna.trial.FrozenTrial], judge: Judge
) -> None:
    """Judges those that are not judged yet, twins once."""
    known = {_key(trial.params): _loss(trial) for trial in _finished(study)}
    left = [trial for trial in share if not trial.state.is_finished()]
    new = {key: dict(key) for key in (_key(trial.params) for trial in left) if key not in known}
    losses = judge(list(new.values())) if new else iter(())
    for trial in left:
        key = _key(trial.params)
        if key not in known:
            loss = next(losses)
            known[key] = math.inf if math.isnan(loss) else loss
        study.tell(trial.number, known[key])


def fingerprint(*parts: bytes) -> str:
    """Sixteen hex digits for `about`: weights, clips.

    >>> fingerprint(b"a", b"b") == fingerprint(b"a", b"b") != fingerprint(b"ab")
    True
    """
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:16]


def _open(journal: Path | None, about: dict[str, Any], phase: Phase) -> optuna.Study:
    """The study of the journal, or a new one, after checking that it is about the same."""
    about = json.loads(
        json.dumps({**about, "population": phase.population, "mutation": phase.mutation})
    )
    study = _study(journal)
    if _ABOUT not in study.user_attrs:
        study.set_user_attr(_ABOUT, about)
    there = study.user_attrs[_ABOUT]
    differs = [
        key for key in sorted(about.keys() | there.keys()) if about.get(key) != there.get(key)
    ]
    if differs:
        raise UserError(
            f"{journal} holds the search of another experiment ({differs[0]} differs): remove it, "
            "or choose another folder"
        )
    return study


def _study(journal: Path | None) -> optuna.Study:
    try:
        import optuna
        from optuna.storages import InMemoryStorage, JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise UserError("a search phase needs optuna: pip install 'microexpr[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if journal is None:
        storage: Any = InMemoryStorage()
    else:
        journal.parent.mkdir(parents=True, exist_ok=True)
        storage = JournalStorage(JournalFileBackend(str(journal)))
    return optuna.create_study(
        storage=storage, study_name="search", direction="minimize", load_if_exists=True
    )


def _sampler(phase: Phase, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """The sampler of one trial: what it draws depends on nothing that was drawn before."""
    from optuna.samplers import NSGAIISampler

    stream = np.random.SeedSequence([seed, number, 0]).generate_state(1)
    return NSGAIISampler(
        population_size=phase.population, mutation_prob=phase.mutation, seed=int(stream[0])
    )


def _begun(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials finished or under way in the order of their numbers."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING))


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Finished trials in the order of their numbers."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _loss(trial: optuna.trial.FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def _mend(journal: Path) -> None:
    """Cuts off a last line that a killed process did not finish."""
    if journal.exists():
        text = journal.read_bytes()
        if text and not text.endswith(b"\n"):
            with replacing(journal) as whole:
                whole.write_bytes(text[: text.rfind(b"\n") + 1])


def _give_up_unfinished(study: optuna.Study) -> None:
    """Marks what a killed process left under way, so that it is done again."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)


def _key(values: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(values.items()))
