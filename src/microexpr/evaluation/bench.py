"""What every fold of an experiment shares: the model's shape, the sets of clips, the folds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from microexpr.datasets import dataset_class, open_dataset
from microexpr.errors import UserError
from microexpr.evaluation.experiment import Experiment, OtherData
from microexpr.evaluation.protocols import Fold
from microexpr.inputs import Input
from microexpr.labels import LabelScheme, label_scheme
from microexpr.models import create_model
from microexpr.models.base import Classifier
from microexpr.preprocess.store import Store, is_store
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
    cls, scheme = dataset_class(spec.dataset), label_scheme(labels)
    root = (data or Path()) / spec.folder
    if data is None and spec.dataset != "synthetic":
        raise UserError(f"the data set '{spec.dataset}' needs a folder: give --data FOLDER")
    if cls.ships is None and is_store(root):
        return _prepared(spec, Store(root), scheme, wants)
    dataset = open_dataset(spec.dataset, root, **spec.settings)
    return TrainingSet(labelled(dataset.clips(), scheme), scheme, dataset, wants)


def _prepared(spec: OtherData, store: Store, scheme: LabelScheme, wants: Input) -> TrainingSet:
    """The clips of a store; a composite may have been prepared under its members' names.

    The setting ``complete = false`` leaves out clips that could not be prepared, and accepts a
    store that was prepared with it.

    Raises:
        UserError: The store holds other settings, lacks clips, or cannot give what is wanted.
    """
    members = (spec.dataset,) if spec.dataset in store.sets else dataset_class(spec.dataset).members
    members = members or (spec.dataset,)
    clips = labelled([clip for name in members for clip in store.clips(name)], scheme)
    complete = spec.settings.get("complete", True)
    for name in members:
        held = store.sets[name]
        for key, value in {**spec.settings, "complete": complete or held.get("complete")}.items():
            if held.get(key, value) != value:
                raise UserError(
                    f"{store.root} holds {name} with {key} = {held[key]}, the experiment asks for "
                    f"{value}: prepare another store, or change [data] settings"
                )
    lost = [clip for clip in clips if not store.has(clip)]
    if lost and complete:
        raise UserError(
            f"{len(lost)} of {len(clips)} clips could not be prepared, first {lost[0].id}: "
            f"{store.reason(lost[0])}; [data] settings = {{ complete = false }} leaves them out"
        )
    kept = tuple(clip for clip in clips if store.has(clip))
    store.check(kept, wants)
    return TrainingSet(kept, scheme, store, wants)
