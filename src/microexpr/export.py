"""A trained model as an ONNX file, which runs without PyTorch and without this package.

The graph takes ``planes``, any number of clips, and gives ``logits``, ``probabilities`` and
``label`` by the model's own rule. Every mixer's recurrence is one ONNX Scan
(`microexpr.nn.scan_graph`). The file says in its metadata what it eats and what its outputs mean;
after writing it is run and compared with the model, and kept only if both agree.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.files import replacing
from microexpr.inputs import PICTURES
from microexpr.models.base import Classifier, ClosedForm, input_shape
from microexpr.nn.scan import use_backend
from microexpr.training.checkpoint import Checkpoint
from microexpr.training.pretrained import load_pretrained

OUTPUTS = ("logits", "probabilities", "label")
FORMAT = "microexpr-onnx-1"
TOLERANCE = 1e-4  # of logits, relative to the largest or to one, and of probabilities
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_BATCHES = (1, 3)  # none of them the batch that is traced


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        path: The file.
        model: Name of the model in the registry.
        classes: In the order of the outputs.
        nodes: Of the graph.
        scans: How many of them are loops.
        difference: Largest difference of the logits from PyTorch's, relative as `TOLERANCE` is.
    """

    path: Path
    model: str
    classes: tuple[str, ...]
    nodes: int
    scans: int
    difference: float


def export(model: str | Path, out: Path) -> Exported:
    """Writes a checkpoint as an ONNX file and runs it once.

    Args:
        model: Any name of `load_pretrained`: a checkpoint of `microexpr train`, a folder, a hub id.
        out: Ends in ``.onnx``.

    Raises:
        UserError: Packages missing, no checkpoint, a model without a graph (`ClosedForm`), a model
            that PyTorch cannot export, or a file that does not agree with the model.
    """
    _check_packages()
    if out.suffix != ".onnx":
        raise UserError(f"an exported model ends in .onnx, got {out}")
    loaded = load_pretrained(model).checkpoint
    program = _graph(loaded)
    program.model.metadata_props.update(metadata(loaded))
    with replacing(out) as unfinished:
        program.save(unfinished, external_data=False)
        difference = _compare(unfinished, loaded.model)
    kinds = [node.op_type for node in program.model.graph]
    return Exported(out, loaded.name, loaded.labels, len(kinds), kinds.count("Scan"), difference)


def metadata(checkpoint: Checkpoint) -> dict[str, str]:
    """What the file says about itself; lists and objects as JSON (`docs/export.md`)."""
    eats = checkpoint.model.eats
    return {
        "format": FORMAT,
        "microexpr": version("microexpr"),
        "model": checkpoint.name,
        "settings": json.dumps(checkpoint.model.settings, sort_keys=True),
        "classes": json.dumps(checkpoint.labels),
        "input": json.dumps(asdict(eats)),
        "input_digest": eats.digest,
    }


class _Whole(nn.Module):
    """A classifier with its rule: logits, probabilities, label."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = self.model(planes)
        self.model.forward = lambda x: logits  # type: ignore[method-assign]
        try:  # predict asks for the logits: they are there, and not worked out twice
            label, probabilities = self.model.predict(planes)
        finally:
            del self.model.forward
        return logits, probabilities, label


def _graph(checkpoint: Checkpoint) -> Any:
    """The ONNX program of a model, for any number of clips."""
    model = checkpoint.model.eval()
    if isinstance(model, ClosedForm):
        raise UserError(f"{checkpoint.name} is solved, not trained by gradients: it has no graph")
    with _quietly(), use_backend("graph"), torch.no_grad():
        traced = _trace(_Whole(model), example(model, 2), checkpoint.name)
        program = torch.onnx.export(
            traced,
            input_names=["planes"],
            output_names=list(OUTPUTS),
            custom_translation_table=_translations(),
            dynamo=True,
            optimize=False,
            verbose=False,
        )
        assert program is not None
        _tidy(program.model)
    return program


def _trace(whole: nn.Module, planes: Tensor, name: str) -> Any:
    """The model's operations; where its Python fixes the batch, Python is read instead of run."""
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    problem: Exception | None = None
    for strict in (False, True):
        try:
            return torch.export.export(whole, (planes,), dynamic_shapes=shapes, strict=strict)
        except Exception as error:  # many kinds, and none of them documented
            problem = problem or error
    raise UserError(f"PyTorch cannot export {name}: {str(problem).splitlines()[0]}") from problem


def _tidy(graph: Any) -> None:
    """What `onnxscript.optimizer.optimize` does, less most of its rewriting, which takes longest.

    It tries each rule on each node in Python; ONNX Runtime does the same when it loads a file. The
    rule kept removes the biases of zeros that the exporter invents, of a wrong shape for conv3d.
    """
    from onnx_ir.passes import Sequential, common
    from onnxscript import optimizer, rewriter
    from onnxscript.rewriter.rules.common import remove_optional_bias_from_conv_rule

    optimizer.inline(graph)
    optimizer.fold_constants(graph, onnx_shape_inference=False)
    rewriter.rewrite(graph, [remove_optional_bias_from_conv_rule])
    optimizer.remove_unused_nodes(graph)
    optimizer.remove_unused_functions(graph)
    Sequential(
        common.RemoveUnusedOpsetsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.LiftSubgraphInitializersToMainGraphPass(),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    )(graph)


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Operations that PyTorch's exporter does not know."""
    from onnxscript import opset18 as op

    def hypot(x: Any, y: Any) -> Any:
        return op.Sqrt(op.Add(op.Mul(x, x), op.Mul(y, y)))

    return {torch.ops.prims.hypot.default: hypot}


@contextmanager
def _quietly() -> Iterator[None]:
    """No advice to developers of exporters; no search for garbage among millions of objects."""
    collecting, level = gc.isenabled(), logging.root.manager.disable
    gc.disable()
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        if collecting:
            gc.enable()


def example(model: Classifier, clips: int) -> Tensor:
    """Random planes that a model eats: flow in [0, 1), pictures in [0, 255)."""
    eats = model.eats
    pictures = eats.normalisation == "minmax8" or set(eats.channels) & set(PICTURES)
    generator = torch.Generator().manual_seed(clips)
    planes = torch.rand(clips, *input_shape(eats), generator=generator)
    return planes * 255 if pictures else planes


@torch.no_grad()
def _compare(path: Path, model: Classifier) -> float:
    """The largest difference between file and model.

    Raises:
        UserError: It is too large, or the file does not run.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # the error says it
    worst = 0.0
    for clips in _BATCHES:
        planes = example(model, clips)
        try:
            session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
            logits, probabilities, _ = session.run(None, {"planes": planes.numpy()})
        except Exception as error:  # its classes are those of its C++ side
            why = str(error).splitlines()[0]
            raise UserError(f"ONNX Runtime cannot run the exported graph: {why}") from error
        worst = max(worst, _difference(logits, model(planes)))
        worst = max(worst, _difference(probabilities, model.predict(planes)[1]))
    if not worst <= TOLERANCE:
        raise UserError(f"the exported graph differs from the model by {worst:.1e}: not written")
    return worst


def _difference(found: NDArray[Any], wanted: Tensor) -> float:
    exact = wanted.numpy()
    return float(np.abs(found - exact).max() / max(1.0, float(np.abs(exact).max())))


def _check_packages() -> None:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"export needs {', '.join(missing)}: run  pip install 'microexpr[export]'")
