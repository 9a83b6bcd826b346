"""Experiments on a store: which clips they get, and what they refuse before they train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microexpr.clip import Clip
from microexpr.errors import UserError
from microexpr.evaluation.bench import open_sets
from microexpr.evaluation.experiment import Experiment, parse
from microexpr.inputs import Input
from microexpr.preprocess.store import Record, enter_set, recipe_here, write_clip, write_manifest

FLOW = Input(("u", "v"), 56, "tvl1", "none")
SETS = {
    "casme2": ("happiness", "disgust", "others"),
    "smic": ("positive", "negative"),
    "samm": ("anger", "other", "surprise"),
}


def clips(name: str) -> list[Clip]:
    return [
        Clip(name, f"{person}", f"{emotion}{person}", emotion, apex=2)
        for person in range(3)
        for emotion in SETS[name]
    ]


def enter(
    root: Path, name: str, settings: Mapping[str, Any] | None = None, lost: int = 0
) -> list[Clip]:
    """A set in a store; the first `lost` of its clips could not be prepared."""
    held = clips(name)
    enter_set(root, name, held, {"complete": True, **(settings or {})})
    rng = np.random.default_rng(0)
    for i, clip in enumerate(held):
        planes = rng.standard_normal((2, 56, 56)).astype(np.float32)
        if i < lost:
            write_clip(root, recipe_here(FLOW), Record(clip.id, failed="no face"), None)
        else:
            write_clip(root, recipe_here(FLOW), Record(clip.id), planes)
    write_manifest(root)
    return held


def experiment(dataset: str, settings: dict[str, Any] | None = None, **data: Any) -> Experiment:
    return parse(
        {
            "data": {"dataset": dataset, "labels": "megc3", "settings": settings or {}, **data},
            "protocol": {"name": "loso"},
            "model": {"name": "smallcnn"},
        }
    )


def test_a_store_serves_as_data_folder(tmp_path: Path) -> None:
    held = enter(tmp_path, "casme2", {"coding": "2014"})
    found, _ = open_sets(experiment("casme2", {"coding": "2014"}), tmp_path)
    assert list(found.clips) == [clip for clip in held if clip.emotion != "others"]
    planes = found.source.read_many(found.clips, found.wants)
    assert planes.shape == (6, 3, 28, 28)


def test_a_store_may_lie_in_a_folder_of_the_data(tmp_path: Path) -> None:
    enter(tmp_path / "stores" / "a", "samm")
    found, _ = open_sets(experiment("samm", folder="stores/a"), tmp_path)
    assert len(found.clips) == 6


def test_a_composite_is_made_of_its_members(tmp_path: Path) -> None:
    held = [clip for name in ("samm", "casme2", "smic") for clip in enter(tmp_path, name)]
    found, _ = open_sets(experiment("megc2019"), tmp_path)
    assert {clip.id for clip in found.clips} < {clip.id for clip in held}
    order = [clip.dataset for clip in found.clips]
    assert order == sorted(order, key=["casme2", "smic", "samm"].index)
    assert len(found.clips) == 6 + 6 + 6
    enter(tmp_path / "half", "casme2")
    with pytest.raises(UserError, match="holds casme2, not smic"):
        open_sets(experiment("megc2019"), tmp_path / "half")


def test_lost_clips_stop_an_experiment_unless_it_says_so(tmp_path: Path) -> None:
    enter(tmp_path, "casme2", lost=2)
    with pytest.raises(UserError, match=r"2 of 6 clips .* first casme2/0/happiness0: no face; .*"):
        open_sets(experiment("casme2"), tmp_path)
    found, _ = open_sets(experiment("casme2", {"complete": False}), tmp_path)
    assert len(found.clips) == 4


@pytest.mark.parametrize(
    ("held", "asked", "says"),
    [
        ({"coding": "2019"}, {"coding": "2014"}, "holds casme2 with coding = 2019"),
        ({"complete": False}, {}, "holds casme2 with complete = False, .* asks for True"),
    ],
)
def test_other_settings_are_refused(
    tmp_path: Path, held: dict[str, Any], asked: dict[str, Any], says: str
) -> None:
    enter(tmp_path, "casme2", held)
    with pytest.raises(UserError, match=says):
        open_sets(experiment("casme2", asked), tmp_path)


def test_an_input_that_the_store_cannot_give_is_refused_at_once(tmp_path: Path) -> None:
    enter(tmp_path, "casme2")
    asked = experiment("casme2")
    asked = replace(asked, data=replace(asked.data, input={"flow": "dis"}))
    with pytest.raises(UserError, match=r"run `microexpr prepare` with .*--input flow=dis"):
        open_sets(asked, tmp_path)


def test_frames_alone_are_no_data(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no label file under"):
        open_sets(experiment("casme2"), tmp_path)
