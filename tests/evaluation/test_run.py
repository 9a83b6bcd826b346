"""Whole experiments, small: columns, resuming, refusing, no leak."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from microexpr.clip import Clip
from microexpr.datasets.synthetic import Synthetic
from microexpr.errors import UserError
from microexpr.evaluation import run as running
from microexpr.evaluation.experiment import Experiment, parse
from microexpr.evaluation.plan import plan
from microexpr.evaluation.predictions import read_predictions, selected
from microexpr.evaluation.run import Task, do_task, predict, run_experiment, train_on_all
from microexpr.inputs import Input
from microexpr.models import create_model
from microexpr.models.ammsm import Ammsm
from microexpr.training.checkpoint import load_checkpoint


def experiment(**changes: Any) -> Experiment:
    table: dict[str, Any] = {
        "data": {
            "dataset": "synthetic",
            "labels": "megc3",
            "settings": {"persons": 6, "clips_per_person": 6},
            "others": {
                "more": {"dataset": "synthetic", "settings": {"persons": 7, "clips_per_person": 3}}
            },
        },
        "protocol": {"name": "kfold", "folds": 3},
        "model": {"name": "smallcnn"},
        "recipe": {
            "warmup": 0,
            "cooldown": 0,
            "lr": 2e-3,
            "batch": 16,
            "phases": [{"name": "main", "epochs": 3}],
        },
        "run": {"seeds": [0, 1], "selections": ["last", "inner", "oracle"]},
    }
    for key, value in changes.items():
        table[key] = {**table[key], **value}
    return parse(table)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "whole"
    run_experiment(experiment(), None, out)
    return out


def test_every_clip_is_predicted_once_for_each_seed_and_column(finished: Path) -> None:
    rows = read_predictions(finished)
    clips = {clip.id for clip in Synthetic(None, persons=6, clips_per_person=6).clips()}
    for selection in ("last", "inner", "oracle"):
        part = selected(rows, selection)
        for seed in (0, 1):
            assert sorted(part.clip[part.seed == seed]) == sorted(clips)
    assert not (finished / "folds").exists()
    assert not (finished / "cache").exists()
    assert (finished / "environment.json").exists()


def test_last_is_the_same_without_the_oracle(finished: Path, tmp_path: Path) -> None:
    plain = experiment(run={"selections": ["last"]})
    table = run_experiment(plain, None, tmp_path / "plain").read_text().splitlines()
    both = (finished / "predictions.csv").read_text().splitlines()
    assert table == [both[0], *(line for line in both[1:] if ",last," in line)]


def test_oracle_is_at_least_as_accurate_as_last_for_every_person(finished: Path) -> None:
    rows = read_predictions(finished)
    last, oracle = selected(rows, "last"), selected(rows, "oracle")
    for seed in (0, 1):
        for person in set(last.person.tolist()):
            right = [
                float((p.true == p.pred)[(p.person == person) & (p.seed == seed)].mean())
                for p in (last, oracle)
            ]
            assert right[1] >= right[0]


def test_killed_and_started_again_it_ends_with_the_same_bytes(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def dies(task: Task) -> None:
        nonlocal calls
        calls += 1
        if calls in (3, 6):
            raise KeyboardInterrupt
        do_task(task)

    monkeypatch.setattr(running, "do_task", dies)
    out = tmp_path / "killed"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_experiment(experiment(), None, out)
    part = next((out / "folds").rglob("*.csv"))
    part.write_text(part.read_text()[:-20])  # as a copy that was cut off
    run_experiment(experiment(), None, out)
    assert (out / "predictions.csv").read_bytes() == (finished / "predictions.csv").read_bytes()


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(finished: Path, tmp_path: Path) -> None:
    run_experiment(experiment(), None, tmp_path / "two", jobs=2)
    two = (tmp_path / "two" / "predictions.csv").read_bytes()
    assert two == (finished / "predictions.csv").read_bytes()


def test_another_experiment_is_refused(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(finished, out)
    with pytest.raises(UserError, match=r"recipe\.phases\.0\.lr is 0\.002 there and 0\.1 here"):
        run_experiment(experiment(recipe={"lr": 0.1}), None, out)
    assert run_experiment(experiment(), None, out) == out / "predictions.csv"


def test_shared_pretraining_equals_each_fold_doing_it(tmp_path: Path) -> None:
    """`more` shares persons with the main set (same names), so it must be done fold by fold."""
    phases = [{"name": "pre", "on": "more", "epochs": 1}, {"name": "main", "epochs": 1}]
    few = {"seeds": [0], "selections": ["last"]}
    shared = experiment(recipe={"phases": phases}, run=few)
    run_experiment(shared, None, tmp_path / "overlap")

    def bench(settings: dict[str, Any]) -> running.Bench:
        others = {"more": {"dataset": "synthetic", "settings": settings}}
        chosen = experiment(data={"others": others}, recipe={"phases": phases}, run=few)
        clips, sets = running.open_sets(chosen, None)
        return running.Bench(chosen, clips, {}, sets)

    assert bench({"persons": 7}).lead == 0
    assert bench({"persons": 7, "seed": 5}).lead == 1


def test_no_fold_reads_a_test_clip_while_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each training of a fold is given a source that holds its training persons only."""
    seen: list[set[str]] = []
    original = running.epochs

    class Guarded:
        def __init__(self, inside: Any, allowed: set[str]) -> None:
            self.inside, self.allowed = inside, allowed

        def read_many(self, clips: Sequence[Clip], wants: Input) -> NDArray[np.float32]:
            assert {clip.person for clip in clips} <= self.allowed
            seen.append({clip.person for clip in clips})
            rows: NDArray[np.float32] = self.inside.read_many(clips, wants)
            return rows

    def guarded(model: Any, train: Any, *rest: Any) -> Any:
        allowed = set(train.persons)
        return original(model, replace(train, source=Guarded(train.source, allowed)), *rest)

    monkeypatch.setattr(running, "epochs", guarded)
    run_experiment(experiment(run={"seeds": [0]}), None, tmp_path / "guarded")
    everyone = {clip.person for clip in Synthetic(None, persons=6, clips_per_person=6).clips()}
    assert len(seen) == 6
    assert all(persons < everyone for persons in seen)


def three_phases() -> Experiment:
    """AMMSM, very small: adapting, searching, fine-tuning."""
    phases = [
        {"name": "adapt", "mode": "adapt", "hold_out": 0.4, "epochs": 2, "ema": 0.5, "mesa": 1.0},
        {"name": "search", "mode": "search", "hold_out": 0.4, "epochs": 2, "population": 3},
        {"name": "tune", "epochs": 1},
    ]
    return experiment(
        model={"name": "ammsm", **Ammsm.smallest, "widths": [8, 8], "depths": [1, 1]},
        protocol={"folds": 2},
        recipe={"phases": phases},
        run={"seeds": [0]},
    )


def test_a_training_goes_on_at_the_phase_in_which_it_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_experiment(three_phases(), None, tmp_path / "whole")
    original, done = running.epochs, 0

    def dies(*given: Any) -> Any:
        nonlocal done
        for epoch in original(*given):
            yield epoch
            done += 1
            if done in (4, 6, 9, 13):  # after a search's last generation, within phases, in a fold
                raise KeyboardInterrupt

    monkeypatch.setattr(running, "epochs", dies)
    out = tmp_path / "killed"
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            run_experiment(three_phases(), None, out)
    assert list((out / "folds").rglob("*.journal.1"))
    run_experiment(three_phases(), None, out)
    for name in ("predictions.csv", "search.csv", "search.png"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert done < 4 * 5 + 6  # 2 folds, last and inner, of 5 epochs: few were done twice
    rows = (out / "search.csv").read_text().splitlines()
    assert rows[0] == "seed,fold,selection,loss,ratio_1_1,ratio_2_1,alpha"
    assert len(rows) == 1 + 4


def test_predict_leaves_model_and_random_state_alone() -> None:
    model = create_model("smallcnn", 3).train()
    x = torch.randn(4, 3, 28, 28)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    predict(model, x)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_train_on_all_saves_what_it_trained(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    train_on_all(experiment(), None, path, 0, lambda what, done, of: None)
    found = load_checkpoint(path)
    assert (found.name, found.labels) == ("smallcnn", ("negative", "positive", "surprise"))
    x = torch.randn(2, 3, 28, 28)
    assert torch.equal(found.model(x), load_checkpoint(path).model(x))


def test_a_plan_counts(tmp_path: Path) -> None:
    text = plan(experiment(), None)
    assert "36 clips of 6 persons" in text
    assert "3 folds, 12 trainings" in text


def test_a_plan_counts_a_search() -> None:
    text = plan(three_phases(), None)
    assert "phase adapt on train: 2 epochs, 2 steps" in text  # 11 of the 18 clips of a fold
    assert "phase search on train: search, 2 generations of 3, 6 batches" in text
    assert "phase tune on train: 1 epochs, 2 steps" in text  # all 18, 16 a batch


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--jobs must be at least 1"):
        run_experiment(experiment(), None, tmp_path / "a", jobs=0)
    with pytest.raises(UserError, match="needs a folder: give --data"):
        run_experiment(experiment(data={"dataset": "flow442", "settings": {}}), None, tmp_path)
    with pytest.raises(UserError, match="several devices for one training"):
        run_experiment(experiment(recipe={"devices": 2}), None, tmp_path)
    assert not (tmp_path / "experiment.toml").exists()  # a failed start claims no folder
    with pytest.raises(UserError, match="unknown model 'smalcnn': did you mean 'smallcnn'"):
        run_experiment(experiment(model={"name": "smalcnn"}), None, tmp_path / "b")
    with pytest.raises(UserError, match="has no setting 'dropuot': did you mean 'dropout'"):
        run_experiment(experiment(model={"dropuot": 0.1}), None, tmp_path / "c")
