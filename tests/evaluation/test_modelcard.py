from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from huggingface_hub import ModelCard as HubCard

from microexpr.errors import UserError
from microexpr.evaluation.experiment import parse, to_table
from microexpr.evaluation.modelcard import card_of, document, read_reports
from microexpr.evaluation.predictions import Predictions, concatenate, write_predictions
from microexpr.evaluation.tables import table
from microexpr.models import create_model
from microexpr.training.checkpoint import Checkpoint
from microexpr.training.default import ModelCard

Maker = Callable[..., Predictions]
Run = Callable[..., Path]
LABELS = ("negative", "positive", "surprise")
BASE: dict[str, Any] = {
    "data": {"dataset": "flow442", "labels": "megc3", "settings": {"aligned": True}},
    "protocol": {"name": "loso"},
    "model": {"name": "smallcnn", "dropout": 0.2},
}
ZERO_SHOT = {
    "data": BASE["data"] | {"others": {"anatomy": {"dataset": "synthetic"}}},
    "recipe": {"phases": [{"on": "anatomy", "epochs": 20}]},
}


@pytest.fixture
def run(by_chance: Maker, tmp_path: Path) -> Run:
    """Makes a finished run of smallcnn; its settings may be others."""

    def make(name: str, *selections: str, seeds: tuple[int, ...] = (0,), **change: Any) -> Path:
        made = [by_chance(12, seeds=seeds, selection=s) for s in selections or ("last",)]
        write_predictions(concatenate(made), tmp_path / name / "predictions.csv")
        settings = to_table(parse(BASE | {"run": {"seeds": list(seeds)}} | change))
        (tmp_path / name / "experiment.toml").write_text(tomli_w.dumps(settings))
        about = {"processor": "a slow one", "packages": {"torch": "9.9"}, "core_seconds": 12.5}
        (tmp_path / name / "environment.json").write_text(json.dumps(about))
        return tmp_path / name

    return make


def checkpoint(labels: tuple[str, ...] = LABELS, **settings: Any) -> Checkpoint:
    model = create_model("smallcnn", len(labels), **{"dropout": 0.2, **settings}).eval()
    return Checkpoint(model, "smallcnn", labels)


def test_the_short_card_has_the_scores_of_the_last_epoch(run: Run) -> None:
    folder = run("first", "last", "oracle", seeds=(0, 1))
    card, column = card_of(read_reports([folder])), table(folder).columns[0]
    scores = column.parts[0].scores
    assert column.selection == "last"
    assert card.uf1 == round(scores["uf1"].value, 4)
    assert card.uar == round(scores["uar"].value, 4)
    assert (card.low, card.high) == (round(scores["uf1"].low, 4), round(scores["uf1"].high, 4))
    assert "12 persons (samm, smic), leave one person out" in card.measured_on
    assert card.trained_on.startswith("Flow images of the MEGC2019 composite")
    assert "had not seen the person" in card.how


def test_a_zero_shot_run_is_told_as_one(run: Run) -> None:
    reports = read_reports([run("zero", **ZERO_SHOT)])
    card, text = card_of(reports), document(card_of(reports), None, reports)
    assert card.trained_on.startswith("Synthetic micro-expressions")
    assert card.how == "none of which it had seen"
    assert "Nothing of the tested data took part" in text
    assert "was as a rule trained on all" not in text


def test_the_document_says_all_that_the_files_say(run: Run) -> None:
    reports = read_reports([run("first", "last", "inner", seeds=(0, 3))], checkpoint())
    text = document(card_of(reports), checkpoint(), reports, license="mit", source="ann/net")
    scores = reports[0].columns[0].parts[0].scores["uf1"]
    shown = f"{scores.value:.3f} [{scores.low:.3f}, {scores.high:.3f}]".replace("0.", ".")
    assert shown in text
    for words in (
        "microexpr.load('ann/net')",
        "negative, positive, surprise",
        "`smallcnn` (ours)",
        "dropout 0.2",
        "17,307 parameters",
        "u, v, m, 28x28; flow by tvl1, normalisation relative",
        "Protocol `loso` (leave one person out",
        "seeds 0, 3",
        "12 persons",
        "aligned = true",
        "a slow one, torch 9.9, core_seconds 12.5",
        "Weights: mit.",
        "It is no lie detector",
        "See et al., FG 2019",
        "| samm | UF1 |",
        "few test clips of",
        "not calibrated",
    ):
        assert words in text
    assert "oracle" not in text
    assert "samm/p01" not in text  # persons are not named
    assert "\n\n\n" not in text


def test_the_oracle_is_labelled_leaky(run: Run) -> None:
    reports = read_reports([run("first", "last", "oracle")])
    text = document(card_of(reports), None, reports)
    assert "| part | metric | last epoch | oracle (leaky) |" in text
    assert "It is no measure of the model" in text
    head = text.split("---")[1]
    assert "oracle" not in head


def test_the_hub_can_read_the_head(run: Run) -> None:
    folder = run("first", "last", "oracle")
    reports = read_reports([folder])
    data = HubCard(document(card_of(reports), None, reports, license="mit")).data
    assert (data.library_name, data.license) == ("microexpr", "mit")
    assert "micro-expression" in data.tags
    found = {(r.dataset_type, r.metric_type): r.metric_value for r in data.eval_results}
    parts = table(folder).columns[0].parts
    assert found == {
        (part.name, key): round(part.scores[key].value, 4)
        for part in parts
        for key in ("uf1", "uar")
    }
    bare = HubCard(document(ModelCard('quite: "odd"\n---'), checkpoint())).data
    assert bare.eval_results is None


def test_several_runs_of_one_model_stand_in_one_card(run: Run) -> None:
    lodo = run("second", protocol={"name": "lodo"})
    reports = read_reports([run("first"), lodo], checkpoint())
    text = document(card_of(reports), checkpoint(), reports)
    assert text.index("### first") < text.index("### second")
    assert "leave one data set out" in text
    assert card_of(reports).name == "smallcnn, measured by first"


def test_runs_of_another_model_are_refused(run: Run, tmp_path: Path) -> None:
    first = run("first")
    for other, told in (
        (run("a", model={"name": "ststnet"}), "measured ststnet, not smallcnn"),
        (run("b", model={"name": "smallcnn"}), r"measured smallcnn, not smallcnn \(dropout 0.2\)"),
    ):
        with pytest.raises(UserError, match=told):
            read_reports([first, other])
    with pytest.raises(UserError, match=r"dropout 0\.2"):
        read_reports([first], checkpoint(dropout=0.3))
    with pytest.raises(UserError, match="has the labels negative, positive, surprise"):
        read_reports([first], checkpoint(labels=("a", "b", "c")))
    with pytest.raises(UserError, match="no predictions of the last epoch"):
        read_reports([run("c", "oracle")])
    (first / "experiment.toml").unlink()
    with pytest.raises(UserError, match="holds no experiment"):
        read_reports([first])
    with pytest.raises(UserError):
        read_reports([tmp_path / "none"])


def test_a_model_that_nobody_measured_says_so() -> None:
    text = document(ModelCard("mine"), checkpoint())
    assert "It has not been measured." in text
    assert "ask whoever made it" in text
    assert "model-index" not in text
    known = ModelCard("x", "clouds", "9 clips", 0.5, 0.6, 0.4, 0.7)
    assert "On 9 clips, none of which it had seen: UF1 0.500 (95 % interval 0.400 to 0.700)" in (
        document(known, checkpoint())
    )


def test_a_run_on_synthetic_people_says_what_it_is_worth(run: Run) -> None:
    data = {"dataset": "synthetic", "labels": "megc3"}
    reports = read_reports([run("made", data=data)])
    text = document(card_of(reports), None, reports)
    assert "says nothing about real faces" in text
    assert "filmed in few places" not in text
    assert "owners of a data set" not in text


def test_committed_runs_make_cards() -> None:
    """The card of a published row has the row's figures."""
    results = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
    reports = read_reports([results / "merba_nano_flow442"])
    text = document(card_of(reports), None, reports)
    assert ".724 [.655, .793]" in text
    assert "arXiv 2506.14468" in text
