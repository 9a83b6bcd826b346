"""ONNX files against the models they were made of."""

from __future__ import annotations

import importlib.util
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from microexpr import cli, export
from microexpr.errors import UserError
from microexpr.inputs import Input
from microexpr.models import create_model, model_class, model_names
from microexpr.models.base import Classifier, ClosedForm
from microexpr.training.checkpoint import Checkpoint, save_checkpoint

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
pytest.importorskip("onnxscript", reason="the extra `export` is not installed")

DOCUMENT = Path(__file__).parents[1] / "docs" / "export.md"
NANO = {"size": "nano", "normalisation": "relative"}
LEARNT = [name for name in model_names() if not issubclass(model_class(name), ClosedForm)]


def moved(model: Classifier) -> Classifier:
    """The model with weights that are not those of its start, where some are zero or tiny."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(0.1 * torch.randn_like(buffer))
    return model.eval()


def saved(folder: Path, name: str, classes: int = 3, **settings: Any) -> tuple[Path, Classifier]:
    """A checkpoint of a model with random weights."""
    torch.manual_seed(0)
    model = moved(create_model(name, classes, **settings))
    labels = ("negative", "positive", "surprise", "others")[:classes]
    path = folder / f"{name}.safetensors"
    save_checkpoint(path, Checkpoint(model, name, labels))
    return path, model


def agrees(path: Path, model: Classifier, clips: int) -> None:
    """Logits to 1e-4, and the model's own rule."""
    planes = export.example(model, clips) * 0.9
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits, probabilities, label = session.run(None, {"planes": planes.numpy()})
    with torch.no_grad():
        wanted, (chosen, likely) = model(planes), model.predict(planes)
    scale = max(1.0, float(wanted.abs().max()))
    assert float(np.abs(logits - wanted.numpy()).max()) <= 1e-4 * scale
    assert np.allclose(probabilities, likely, atol=1e-4)
    ranked = likely.sort(dim=1).values
    clear = (ranked[:, -1] - ranked[:, -2] > 1e-3).numpy()
    assert (label == chosen.numpy())[clear].all()


def test_merba_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file, what it says about itself, and the example of the document run on it."""
    checkpoint, model = saved(tmp_path, "merba", **NANO)
    out = tmp_path / "deep" / "model.onnx"
    words = ["microexpr", "export", str(checkpoint), "--out", str(out), "--json"]
    monkeypatch.setattr("sys.argv", words)
    start = time.process_time()
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in (0, None)
    assert time.process_time() - start < 20  # of one core, shared with other tests
    done = json.loads(capsys.readouterr().out)
    assert done["scans"] == 3  # one for each mixer, and nothing unrolled
    assert done["nodes"] < 500
    assert done["difference"] <= 1e-4
    assert [path.name for path in out.parent.iterdir()] == ["model.onnx"]
    for clips in (1, 2, 5):
        agrees(out, model, clips)

    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    assert about["format"] == export.FORMAT
    assert about["model"] == "merba"
    assert json.loads(about["classes"]) == ["negative", "positive", "surprise"]
    assert json.loads(about["settings"]) == NANO
    assert Input(**json.loads(about["input"])) == model.eats
    assert about["input_digest"] == model.eats.digest
    assert [put.name for put in session.get_outputs()] == list(export.OUTPUTS)

    monkeypatch.chdir(out.parent)
    picture = np.random.default_rng(0).integers(0, 256, (14, 14), np.uint8)
    onset = cv2.resize(picture, (224, 224), interpolation=cv2.INTER_CUBIC)
    given = {"onset": onset, "apex": np.roll(onset, 1, axis=1)}
    for code in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL):
        exec(code, given)
    assert capsys.readouterr().out.split()[0] in json.loads(about["classes"])


def test_the_document_names_all_metadata() -> None:
    model = create_model("smallcnn", 3)
    text = DOCUMENT.read_text("utf-8")
    for key in export.metadata(Checkpoint(model, "smallcnn", ("a", "b", "c"))):
        assert f"`{key}`" in text


@pytest.mark.slow
def test_coarse_to_fine_keeps_its_two_rules(tmp_path: Path) -> None:
    settings = {"size": "nano", "head": "dgcm", "coarse": [0, 1, 0, 2]}
    checkpoint, model = saved(tmp_path, "merba", 4, **settings)
    export.export(checkpoint, tmp_path / "model.onnx")
    agrees(tmp_path / "model.onnx", model, 4)


def test_solved_models_are_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "svm.safetensors"
    model = create_model("svm", 3, **model_class("svm").smallest).eval()
    save_checkpoint(checkpoint, Checkpoint(model, "svm", ("a", "b", "c")))
    with pytest.raises(UserError, match=r"svm is solved, .* it has no graph"):
        export.export(checkpoint, tmp_path / "model.onnx")


def test_a_wrong_name_or_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ends in \.onnx"):
        export.export(tmp_path / "a.safetensors", tmp_path / "model.pt")
    with pytest.raises(UserError, match="no checkpoint at"):
        export.export(tmp_path / "a.safetensors", tmp_path / "model.onnx")


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name)
    )
    with pytest.raises(UserError, match=r"needs onnxscript: run .*pip install 'microexpr\[export"):
        export.export(tmp_path / "a.safetensors", tmp_path / "model.onnx")


def test_a_file_that_disagrees_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, _ = saved(tmp_path, "smallcnn")
    out = tmp_path / "out" / "model.onnx"
    compare: Callable[..., float] = export._compare

    def spoilt(path: Path, model: Classifier) -> float:
        with torch.no_grad():
            next(model.parameters()).mul_(1.5)
        return compare(path, model)

    monkeypatch.setattr(export, "_compare", spoilt)
    with pytest.raises(UserError, match=r"differs from the model by .*: not written"):
        export.export(checkpoint, out)
    assert list(out.parent.iterdir()) == []


def test_a_file_that_does_not_run_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, _ = saved(tmp_path, "smallcnn")
    out = tmp_path / "out" / "model.onnx"

    def cut(graph: Any) -> None:
        next(iter(graph.graph)).op_type = "Relu6OfNobody"

    monkeypatch.setattr(export, "_tidy", cut)
    with pytest.raises(UserError, match="ONNX Runtime cannot run the exported graph: "):
        export.export(checkpoint, out)
    assert list(out.parent.iterdir()) == []


def test_what_pytorch_cannot_export_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, model = saved(tmp_path, "smallcnn")

    def forward(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(len(x), 3) if x.sum().item() > 0 else x.new_ones(len(x), 3)

    monkeypatch.setattr(type(model), "forward", forward)
    with pytest.raises(UserError, match="PyTorch cannot export smallcnn: ") as caught:
        export.export(checkpoint, tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNT)
def test_every_model_that_learns_is_exported(name: str, tmp_path: Path) -> None:
    checkpoint, model = saved(tmp_path, name, **model_class(name).smallest)
    export.export(checkpoint, tmp_path / "model.onnx")
    agrees(tmp_path / "model.onnx", model, 2)


@pytest.mark.slow
def test_merba_base_at_224(tmp_path: Path) -> None:
    checkpoint, model = saved(tmp_path, "merba", size="base")
    done = export.export(checkpoint, tmp_path / "model.onnx")
    assert done.scans == 12
    agrees(tmp_path / "model.onnx", model, 2)
