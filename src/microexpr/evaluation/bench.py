"""What every fold of an experiment shares: the model's shape, the sets of clips, the folds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from microexpr.datasets import dataset_class, open_dataset
from microexpr.errors import UserError
from microexpr.evaluation.experiment import Experiment, OtherData
from microexpr.evaluation.protocols import Fold
from microexpr.inputs import Input
from microexpr.labels import label_scheme
from microexpr.models import create_model
from microexpr.models.base import Classifier
from microexpr.training.data import TrainingSet, labelled


@dataclass(frozen=True, slots=True)
class Bench:
    """What every fold of an experiment shares."""

    experiment: Experiment
    clips: TrainingSet
    folds: dict[str, Fold]
    others: dict[str, TrainingSet]

    @property
    def lead(self) -> int:
        """How many phases, from the first, are the same for every fold: they see no fold's clip."""
        phases = self.experiment.recipe.phases
        if any(other.persons & self.clips.persons for other in self.others.values()):
            return 0
        return next((i for i, p in enumerate(phases) if p.on == "train"), len(phases))


def build_model(experiment: Experiment) -> Classifier:
    """The experiment's model with random weights; `eats` says what it will be given.

    A coarse-to-fine head gets the label scheme's coarse classes unless the settings name others.
    """
    scheme = label_scheme(experiment.data.labels)
    settings = dict(experiment.model.settings)
    if settings.get("head") == "dgcm":
        settings.setdefault("coarse", list(scheme.coarse_indices()))
    model = create_model(experiment.model.name, len(scheme.labels), **settings)
    try:
        model.eats = replace(model.eats, **experiment.data.input)
    except TypeError as error:
        raise UserError(f"[data] input: {error}") from error
    return model


def open_sets(
    experiment: Experiment, data: Path | None
) -> tuple[TrainingSet, dict[str, TrainingSet]]:
    """All labelled clips of the experiment's data set, and of the others that its phases use."""
    wants = build_model(experiment).eats
    spec = experiment.data
    main = OtherData(spec.dataset, spec.settings, spec.folder)
    others = {name: _open(other, data, spec.labels, wants) for name, other in spec.others.items()}
    return _open(main, data, spec.labels, wants), others


def _open(spec: OtherData, data: Path | None, labels: str, wants: Input) -> TrainingSet:
    dataset_class(spec.dataset)
    root = (data or Path()) / spec.folder
    if data is None and spec.dataset != "synthetic":
        raise UserError(f"the data set '{spec.dataset}' needs a folder: give --data FOLDER")
    dataset = open_dataset(spec.dataset, root, **spec.settings)
    scheme = label_scheme(labels)
    return TrainingSet(labelled(dataset.clips(), scheme), scheme, dataset, wants)
