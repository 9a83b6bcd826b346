"""The model card: README.md beside a shared model, written from the files of its runs.

Every figure comes from ``predictions.csv``, ``experiment.toml`` and ``environment.json`` through
`microexpr.evaluation.tables`, or from the model's `ModelCard`; none is typed. The head in YAML is
what the Hugging Face hub reads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from microexpr.datasets import dataset_class
from microexpr.errors import UserError
from microexpr.evaluation.experiment import Experiment, parse
from microexpr.evaluation.protocols import protocol
from microexpr.evaluation.report import scores_to_markdown
from microexpr.evaluation.tables import Column, Report, table
from microexpr.models import model_class
from microexpr.training.checkpoint import Checkpoint
from microexpr.training.default import ModelCard

RARE = 30  # test clips of a class below which its scores are rough
MISUSE = (
    "It is no lie detector. A micro-expression shows that a muscle moved, not why; spontaneous "
    "emotion cannot be read with certainty from a face, and a person who shows none may feel much. "
    "Do not use it to judge, hire, police, diagnose or rank anyone. Faces are biometric data: film "
    "and keep them only with consent."
)


def read_reports(runs: Sequence[Path], checkpoint: Checkpoint | None = None) -> list[Report]:
    """Scores runs that measured one model.

    Args:
        runs: Folders of ``microexpr run``; the first is the headline.
        checkpoint: The model that the card is for.

    Raises:
        UserError: A run without settings or without predictions of the last epoch, or runs of
            different models, or of another model or other labels than the checkpoint's.
    """
    reports = [table(run) for run in runs]
    for run, report in zip(runs, reports, strict=True):
        if not report.experiment:
            raise UserError(f"{run} holds no experiment.toml: a card cannot say what was measured")
        if report.columns[0].selection != "last":
            raise UserError(f"{run} holds no predictions of the last epoch: it has no honest score")
        model, labels = parse(report.experiment).model, report.labels
        first = parse(reports[0].experiment).model
        name = checkpoint.name if checkpoint else first.name
        settings = checkpoint.model.settings if checkpoint else first.settings
        if model.name != name or not _agree(model.settings, settings):
            raise UserError(
                f"{run} measured {_named(model.name, model.settings)}, not "
                f"{_named(name, settings)}: a card is about one model"
            )
        if labels != (checkpoint.labels if checkpoint else reports[0].labels):
            raise UserError(f"{run} has the labels {', '.join(labels)}, not those of the model")
    return reports


def card_of(reports: Sequence[Report]) -> ModelCard:
    """What the first of several runs says of its model."""
    report = reports[0]
    experiment, part = parse(report.experiment), _headline(report).parts[0]
    uf1 = part.scores["uf1"]
    sets = [p.name for p in _headline(report).parts[1:]] or [experiment.data.dataset]
    what = f"{part.clips} clips of {part.persons} persons ({', '.join(sets)})"
    return ModelCard(
        name=f"{experiment.model.name}, measured by {report.name}",
        trained_on="; then ".join(_sources(experiment)),
        measured_on=f"{what}, {protocol(experiment.protocol.name).about}",
        uf1=_defined(uf1.value),
        uar=_defined(part.scores["uar"].value),
        low=_defined(uf1.low),
        high=_defined(uf1.high),
        how="none of which it had seen"
        if _zero_shot(experiment)
        else "each read by a model of the same recipe that had not seen the person",
    )


def document(
    card: ModelCard,
    checkpoint: Checkpoint | None = None,
    reports: Sequence[Report] = (),
    *,
    license: str = "",
    source: str = "",
) -> str:
    """The model card as Markdown under a head in YAML.

    Args:
        card: What is known in short.
        checkpoint: The model.
        reports: From `read_reports`.
        license: Of the weights, as the hub spells it; empty: the card says that it is open.
        source: What `microexpr.load` is to be given: a folder, ``owner/name``; empty: nothing.
    """
    labels = checkpoint.labels if checkpoint else reports[0].labels if reports else ()
    experiments = [parse(report.experiment) for report in reports]
    parts = [
        _head(card, reports, license),
        f"# {card.name}",
        "A model of microexpr. It reads facial micro-expressions from what moved between onset and "
        f"apex and knows these classes and no others: {', '.join(labels)}.",
        f"```python\nimport microexpr\n\npredictor = microexpr.load({source and repr(source)})\n"
        'print(predictor.analyze("video.mp4").findings)\n```',
        "## The model",
        _bullets(_about_model(checkpoint, experiments)),
        "## What it learnt from",
        _trained(card, experiments),
        "## How well it does",
        _measured(card, reports),
        "## Where that ends",
        _bullets(_limits(checkpoint, reports, experiments)),
        "## What it must not be used for",
        MISUSE,
        "## Licence",
        _licence(experiments, license),
        *_settings(reports),
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _head(card: ModelCard, reports: Sequence[Report], license: str) -> str:
    """The YAML block; values are written as JSON, which YAML contains."""
    lines = ["---", "library_name: microexpr"]
    lines += [f"license: {json.dumps(license)}"] if license else []
    lines += ["pipeline_tag: video-classification", "tags:", "- micro-expression", "- optical-flow"]
    results = [line for report in reports for line in _results(report)]
    if results:
        lines += ["model-index:", f"- name: {json.dumps(card.name)}", "  results:", *results]
    return "\n".join([*lines, "---"])


def _results(report: Report) -> Iterator[str]:
    experiment = parse(report.experiment)
    for part in _headline(report).parts:
        yield '  - task: {"type": "video-classification", "name": "micro-expression recognition"}'
        name = f"{experiment.data.dataset}, {part.name}"
        yield f"    dataset: {json.dumps({'type': part.name, 'name': name})}"
        yield "    metrics:"
        for key in ("uf1", "uar"):
            value = _defined(part.scores[key].value)
            if value is not None:
                about = f"{key.upper()}, {experiment.protocol.name}, last epoch"
                yield f"    - {json.dumps({'type': key, 'name': about, 'value': round(value, 4)})}"


def _about_model(checkpoint: Checkpoint | None, experiments: Sequence[Experiment]) -> Iterator[str]:
    if checkpoint is None and not experiments:
        return
    name = checkpoint.name if checkpoint else experiments[0].model.name
    settings = checkpoint.model.settings if checkpoint else experiments[0].model.settings
    cls = model_class(name)
    paper = "" if cls.standing == "ours" else f": {cls.paper}"
    yield f"System: `{name}` ({cls.standing}){paper}"
    if cls.uncertain:
        yield f"Not certain: {cls.uncertain}"
    yield f"Settings: {_words(settings) or 'its defaults'}"
    if checkpoint is None:
        return
    model, eats = checkpoint.model, checkpoint.model.eats
    yield f"Weights: {sum(p.numel() for p in model.parameters()):,} parameters"
    frames = f", {eats.frames} frames" if eats.frames > 1 else ""
    yield (
        f"Input: {', '.join(eats.channels)}, {eats.size}x{eats.size}{frames}; flow by {eats.flow}, "
        f"normalisation {eats.normalisation}"
    )
    calibrated = model.temperature != 1
    yield f"Probabilities: {f'temperature {model.temperature:.3g}' if calibrated else 'as trained'}"


def _trained(card: ModelCard, experiments: Sequence[Experiment]) -> str:
    if not experiments:
        return f"{card.trained_on or 'It is not known: ask whoever made it'}."
    sources = _sources(experiments[0])
    steps = [f"{number}. {source}" for number, source in enumerate(sources, start=1)]
    return "\n".join(steps)


def _measured(card: ModelCard, reports: Sequence[Report]) -> str:
    if not reports:
        if card.uf1 is None or card.uar is None:
            return "It has not been measured."
        known = card.low is not None and card.high is not None
        between = f" (95 % interval {card.low:.3f} to {card.high:.3f})" if known else ""
        return (
            f"On {card.measured_on}, {card.how}: UF1 {card.uf1:.3f}{between}, UAR {card.uar:.3f}."
        )
    return "\n\n".join(_run(report, parse(report.experiment)) for report in reports)


def _run(report: Report, experiment: Experiment) -> str:
    """One run: who was tested and how, and the tables."""
    chosen = experiment.protocol
    about = ", ".join(filter(None, (protocol(chosen.name).about, _words(chosen.settings))))
    seeds = ", ".join(map(str, experiment.run.seeds))
    lines = [f"### {report.name}", ""]
    lines.append(
        f"Protocol `{chosen.name}` ({about}), seeds {seeds}. No test person chose an epoch: the "
        "figures of *last epoch* are those of the last one."
    )
    if _zero_shot(experiment):
        lines.append("Nothing of the tested data took part in training.")
    else:
        lines.append(
            "Each person was read by a model that had not seen them. A model that is shared was as "
            "a rule trained on all of them, by the same recipe; for it they are no test any more."
        )
    if any(column.selection == "oracle" for column in report.columns):
        lines.append(
            "The column *oracle (leaky)* lets each test person choose the epoch. It is no measure "
            "of the model; it is shown because much of the field reports it."
        )
    return "\n".join([*lines, "", scores_to_markdown(report, "####")])


def _limits(
    checkpoint: Checkpoint | None, reports: Sequence[Report], experiments: Sequence[Experiment]
) -> Iterator[str]:
    for report, experiment in zip(reports, experiments, strict=True):
        part = _headline(report).parts[0]
        if experiment.data.dataset == "synthetic":
            yield f"{report.name}: the persons are synthetic; it says nothing about real faces."
        else:
            yield (
                f"{report.name}: {part.persons} persons, filmed in few places. The intervals say "
                "how much depends on who was filmed, nothing about other people and cameras."
            )
        rare = [f"{c.label} ({c.support})" for c in part.classes if c.support < RARE]
        if rare:
            yield f"{report.name}: few test clips of {', '.join(rare)}."
    yield "Onset and apex were known where it was measured; in a video they must be found first."
    yield "It names one of its classes whatever it is shown; `analyze` abstains when it is unsure."
    if checkpoint and checkpoint.model.temperature == 1:
        yield "Its probabilities are not calibrated: .8 does not mean right eight times in ten."


def _licence(experiments: Sequence[Experiment], license: str) -> str:
    told = f"Weights: {license}." if license else "Weights: whoever shares them says under which."
    names = sorted({name for experiment in experiments for name in _data_sets(experiment)})
    if not names:
        return told
    terms = _bullets(
        f"{(cls := dataset_class(n)).title} ({cls.paper}): {cls.access}" for n in names
    )
    rest = "The owners of a data set may forbid passing on what was trained on it:"
    return f"{told} {rest}\n\n{terms}"


def _settings(reports: Sequence[Report]) -> Iterator[str]:
    """Every setting and the machine of each run, folded away."""
    for report in reports:
        yield f"## Settings of {report.name}"
        yield f"```toml\n{tomli_w.dumps(dict(report.experiment)).strip()}\n```"
        if report.environment:
            yield f"Environment: {_words(report.environment)}."


def _sources(experiment: Experiment) -> list[str]:
    """What each phase of the training saw, in order; what several see in turn is told once."""
    found = []
    for phase in experiment.recipe.phases:
        names = [phase.on, *([phase.replay] if phase.replay else [])]
        sets = [experiment.data if n == "train" else experiment.data.others[n] for n in names]
        found.append(
            " and ".join(
                dataset_class(part.dataset).title
                + (f" ({_words(part.settings)})" if part.settings else "")
                for part in sets
            )
        )
    return list(dict.fromkeys(found))


def _data_sets(experiment: Experiment) -> set[str]:
    data = experiment.data
    return {data.dataset, *(other.dataset for other in data.others.values())} - {"synthetic"}


def _zero_shot(experiment: Experiment) -> bool:
    return all(phase.on != "train" for phase in experiment.recipe.phases)


def _headline(report: Report) -> Column:
    return report.columns[0]


def _defined(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _agree(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Equal settings; what a label scheme adds to a coarse-to-fine head is no difference."""
    names = (one.keys() | other.keys()) - {"coarse"}
    return all(_plain(one.get(name)) == _plain(other.get(name)) for name in names)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _named(name: str, settings: Mapping[str, Any]) -> str:
    return f"{name} ({_words(settings)})" if settings else name


def _words(settings: Mapping[str, Any]) -> str:
    """Nested settings in one line.

    >>> _words({"folds": 10, "packages": {"torch": "2.13"}, "names": ["a", "b"]})
    'folds 10, torch 2.13, names a b'
    """
    found = []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found.append(_words(value))
        else:
            shown = " ".join(map(str, value)) if isinstance(value, list | tuple) else value
            found.append(f"{key} {shown}")
    return ", ".join(found)


def _bullets(lines: Iterator[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
