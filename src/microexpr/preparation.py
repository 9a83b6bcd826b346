"""A data set, its settings and what to store, as a user writes them; `microexpr prepare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from microexpr.cluster import Cluster
from microexpr.datasets import dataset_class, every_setting, open_dataset, other_pictures
from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.jobs import check_jobs
from microexpr.preprocess.pipeline import DEFAULT, Watch, draw_sheet, prepare
from microexpr.registry import parse_settings

SHOWN = 20  # failures that a summary names


def prepare_dataset(
    name: str,
    root: Path,
    store: Path,
    wants: Sequence[str] = (),
    settings: Sequence[str] = (),
    sheet: int = 8,
    jobs: int | None = None,
    watch: Watch = lambda what, done, of: None,
    on: Cluster | None = None,
) -> dict[str, Any]:
    """Prepares every clip of a data set, and draws some of them to look at.

    Args:
        name: Of the data set.
        root: Its folder.
        store: Folder of the store.
        wants: Words ``KEY=VALUE``: fields of `Input` that differ from `pipeline.DEFAULT`.
        settings: Words ``KEY=VALUE``: settings of the data set.
        sheet: Clips on the contact sheet; 0: none is drawn.
        jobs: Processes; None: one a core.
        watch: Called with (what, done, of).
        on: A cluster whose machines do the work in place of processes here.

    Returns:
        ``made``, ``kept``, ``failed`` (id to reason), ``store`` and ``sheet``, JSON-able.

    Raises:
        UserError: The data set cannot be opened, ships flow or has no frames there, or a word does
            not fit.
    """
    workers = check_jobs(jobs)
    if dataset_class(name).ships is not None:
        raise UserError(f"{name} ships flow: there is nothing to prepare, run experiments on it")
    what = read_input(wants)
    known = every_setting(name, {})
    chosen = parse_settings(f"data set '{name}'", settings, known)
    clips = open_dataset(name, root, **chosen).clips()
    if not any(clip.source for clip in clips):
        other = other_pictures(name, root, chosen)
        hint = f"--set {other} finds some" if other else f"see `microexpr doctor {name} {root}`"
        raise UserError(f"no frames below {root}; {hint}")
    done = prepare(name, clips, root, store, what, known | chosen, workers, watch, on)
    drawn = draw_sheet(clips, root, store, what, sheet) if sheet > 0 else None
    return {
        "made": done.made,
        "kept": done.kept,
        "failed": dict(done.failed),
        "store": str(store),
        "sheet": None if drawn is None else str(drawn),
    }


def read_input(words: Sequence[str]) -> Input:
    """An `Input` from words ``KEY=VALUE``; the rest is `pipeline.DEFAULT`.

    >>> read_input(["channels=u,v,onset_r,onset_g,onset_b", "flow=dis"]).flow
    'dis'

    Raises:
        UserError: An unknown key or value.
    """
    defaults = asdict(DEFAULT)
    return Input(**{**defaults, **parse_settings("--input", words, defaults)})


def summary(done: Mapping[str, Any]) -> str:
    """What `prepare_dataset` returned, in words."""
    failed: dict[str, str] = done["failed"]
    lines = [
        f"{done['made']} clips prepared, {done['kept']} were there, {len(failed)} failed: "
        f"{done['store']}"
    ]
    lines += [f"  {clip}: {reason}" for clip, reason in list(failed.items())[:SHOWN]]
    if len(failed) > SHOWN:
        lines.append(f"  and {len(failed) - SHOWN} more; all of them are in manifest.json")
    if done["sheet"]:
        lines.append(f"look at {done['sheet']}")
    return "\n".join(lines)
