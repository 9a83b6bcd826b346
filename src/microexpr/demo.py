"""The demonstration: a film whose movements are known, and a small MERba on synthetic people."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from microexpr.evaluation.experiment import Chosen, Data, Experiment, Run
from microexpr.evaluation.spotting import Interval, match
from microexpr.film import Script, Truth, default_portrait, film, write_script
from microexpr.film import truth as truth_of
from microexpr.training.recipe import Phase, Recipe

Watch = Callable[[str, int, int], None]
SIDES = {"both": "", "left": " (left)", "right": " (right)"}


def demo_experiment() -> Experiment:
    """Thirty synthetic persons in five groups, MERba-nano, two dozen epochs."""
    return Experiment(
        Data(
            "synthetic",
            "megc3",
            {"persons": 30, "clips_per_person": 20, "prior": "megc3"},
            input={"normalisation": "relative"},
        ),
        Chosen("kfold", {"folds": 5}),
        Chosen("merba", {"size": "nano", "image": 28, "stem_stride": 2}),
        Recipe((Phase(epochs=24, warmup=2, cooldown=2, batch=64, lr=2e-3, ema=0.98),)),
        Run(seeds=(0,)),
    )


def demo_script() -> Script:
    """Six seconds at 100 frames a second with three movements and two blinks."""
    return write_script(
        seed=3,
        fps=100.0,
        seconds=6.0,
        events=3,
        peak=(1.5, 3.0),
        emotions=("happiness", "surprise", "disgust"),
    )


def sample_film(path: Path, script: Script, watch: Watch = lambda what, done, of: None) -> Truth:
    """Makes the film of a script, unless it is there already, and gives what happens in it.

    The truth is written beside the film, after it: where it is, the film is whole.
    """
    watch("film", 0, 1)
    told = _there(path, script) or film(default_portrait(), script, path)
    watch("film", 1, 1)
    return told


def _there(path: Path, script: Script) -> Truth | None:
    """What happens in the film of a script; None where it has not been made."""
    told, beside = truth_of(script), path.with_suffix(".json")
    if not (path.exists() and beside.exists()):
        return None
    same = beside.read_text(encoding="utf-8") == json.dumps(asdict(told), indent=1) + "\n"
    return told if same else None


def film_table(truth: Truth, report: dict[str, Any]) -> Table:
    """What was found in a film beside what is there, to be printed.

    Args:
        truth: From `sample_film`.
        report: The content of report.json.
    """
    labels = ", ".join(report["model"]["labels"])
    columns = ("in the film: onset, apex, offset", f"found (model: {labels})")
    table = Table(*columns, box=box.SIMPLE, pad_edge=False)
    for row in against_truth(truth, report["events"]):
        table.add_row(*row)
    return table


def against_truth(truth: Truth, events: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """What happened in a film beside what was found in it.

    Args:
        truth: From `sample_film`.
        events: Those of its report.json.

    Returns:
        ``(true, found)``, in words: for each true movement the one that was found there
        (intersection over union at least .5), or none; and then what was found elsewhere.
    """
    true = [Interval(event.onset, event.offset) for event in truth.events]
    found = [Interval(e["onset"]["frame"], e["offset"]["frame"]) for e in events]
    pairs = dict(match(true, found))
    rows = []
    for number, event in enumerate(truth.events):
        times = (event.onset_time, event.apex_time, event.offset_time)
        happened = _words(times, event.emotion, [_unit(unit) for unit in event.units])
        rows.append((happened, _found(events[pairs[number]]) if number in pairs else "not found"))
    others = set(range(len(events))) - set(pairs.values())
    return rows + [("nothing", _found(events[number])) for number in sorted(others)]


def _unit(unit: str) -> str:
    """An action unit as FACS writes it, with its side of the picture as in report.json.

    >>> _unit("12"), _unit("L14")
    ('AU12', 'AU14 (right)')
    """
    side = {"L": "right", "R": "left"}.get(unit[0], "both")
    return f"AU{unit.lstrip('LR')}{SIDES[side]}"


def _found(event: dict[str, Any]) -> str:
    """An event of report.json in words."""
    onset, apex, offset = (event[moment]["time"] for moment in ("onset", "apex", "offset"))
    units = [f"AU{unit['unit']}{SIDES[unit['side']]}" for unit in event["action_units"]]
    emotion = event["emotion"]
    if emotion:
        emotion += f" {event['probabilities'][emotion]['mean']:.2f}"
    return _words((onset, apex, offset), emotion or "no emotion named", units)


def _words(times: Sequence[float], emotion: str, units: Sequence[str]) -> str:
    """Onset, apex and offset in seconds, emotion, action units.

    >>> _words((0.5, 0.61, 0.8), "surprise", ("AU1", "AU2"))
    '0.50 0.61 0.80 s  surprise  AU1, AU2'
    """
    return f"{' '.join(f'{time:.2f}' for time in times)} s  {emotion}  {', '.join(units)}".rstrip()
