from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from microexpr.errors import UserError
from microexpr.models import create_model
from microexpr.models.base import input_shape
from microexpr.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

LABELS = ("negative", "positive", "surprise")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = create_model("smallcnn", 3, dropout=0.2).eval()
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, Checkpoint(model, "smallcnn", LABELS))
    return path


def rewritten(path: Path, **change: Any) -> Path:
    """The checkpoint with another description of itself, as a file of no check sum may have."""
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["microexpr"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del about["sha256"]
    other = path.with_stem("rewritten")
    save_file(weights, other, metadata={"microexpr": json.dumps(about | change)})
    return other


def loaded(path: Path) -> Checkpoint | None:
    """The checkpoint, or None where a user is told in one line what is wrong."""
    told = ""
    try:
        return load_checkpoint(path)
    except UserError as error:
        told = str(error)
    assert told.count("\n") == 0
    return None


def test_what_is_saved_comes_back(saved: Path) -> None:
    torch.manual_seed(0)
    model = create_model("smallcnn", 3, dropout=0.2).eval()
    found = load_checkpoint(saved)
    x = torch.randn(2, 3, 28, 28)
    assert torch.equal(found.model(x), model(x))
    assert found.labels == LABELS
    assert found.model.settings == {"dropout": 0.2}
    assert found.model.eats == model.eats
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]
    (saved.parent / "plain").touch()
    assert saved.stat().st_mode == (saved.parent / "plain").stat().st_mode


def test_what_is_saved_twice_is_the_same_file(saved: Path) -> None:
    found, again = load_checkpoint(saved), saved.with_stem("again")
    for _ in range(8):
        save_checkpoint(again, found)
        assert again.read_bytes() == saved.read_bytes()


def test_models_without_gradients_are_saved_too(tmp_path: Path) -> None:
    model = create_model("svm", 3, image=8, C=0.1)
    x, y = torch.randn(12, 3, 8, 8), torch.arange(12) % 3
    model.solve(x, y, torch.arange(12) // 3, 0)  # type: ignore[operator]
    save_checkpoint(tmp_path / "svm.safetensors", Checkpoint(model, "svm", LABELS))
    found = load_checkpoint(tmp_path / "svm.safetensors").model
    assert torch.equal(found(x), model(x))
    assert bool(found(x).any())


def test_damaged_files_are_told(saved: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(UserError, match="damaged or no safetensors"):
        load_checkpoint(cut)
    with pytest.raises(UserError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "none.safetensors")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(1)}, foreign)
    with pytest.raises(UserError, match="is no checkpoint of microexpr"):
        load_checkpoint(foreign)


def test_weights_that_do_not_fit_are_told(tmp_path: Path) -> None:
    model = create_model("smallcnn", 3)
    path = tmp_path / "odd.safetensors"
    save_checkpoint(path, Checkpoint(model, "smallcnn", (*LABELS, "others")))
    with pytest.raises(UserError, match="does not fit the model smallcnn"):
        load_checkpoint(path)


def test_labels_that_are_no_labels_are_told(saved: Path) -> None:
    for labels, told in (
        (["a", "b", "b"], "each once"),
        (["a"], "two labels or more"),
        (["a", "b", ""], "no names"),
        ([1, 2, 3], "no names"),
        ({"a": 1}, "'labels' in its metadata"),
    ):
        with pytest.raises(UserError, match=told):
            load_checkpoint(rewritten(saved, labels=labels))


def test_settings_that_do_not_fit_are_told(saved: Path) -> None:
    eats = {"channels": ["u", "v", "m"], "size": 28, "flow": "tvl1", "normalisation": "relative"}
    for change, told in (
        ({"model": "smallccn"}, "did you mean 'smallcnn'"),
        ({"model": 3}, "'model' in its metadata"),
        ({"settings": {"dropuot": 0.2}}, "did you mean 'dropout'"),
        ({"settings": {"dropout": "much"}}, "does not fit the model smallcnn"),
        ({"settings": {"image": 10**9}}, "does not fit the model smallcnn"),
        ({"settings": None}, "'settings' in its metadata"),
        ({"input": eats | {"flow": "tvl2"}}, "unknown flow"),
        ({"input": eats | {"colour": 1}}, "does not fit the model smallcnn"),
        ({"input": eats | {"size": "28"}}, "does not fit the model smallcnn"),
        ({"input": eats | {"size": 56}}, "does not fit the model smallcnn"),
        ({"input": eats | {"channels": ["u", "v"]}}, "eats 3 planes, not 2"),
        ({"input": eats | {"frames": 4}}, "eats 1 frames, not 4"),
        ({"temperature": -1.0}, "temperature"),
        ({"sha25q": "a letter changed"}, "'sha25q' in its metadata"),
        ({"format": "microexpr-9"}, "no checkpoint of microexpr"),
    ):
        with pytest.raises(UserError, match=told) as caught:
            load_checkpoint(rewritten(saved, **change))
        assert "\n" not in str(caught.value)


def test_an_adaptive_model_is_tried_with_its_choices(tmp_path: Path) -> None:
    settings = {"size": "nano", "image": 28, "spatial": False}
    model = create_model("ammsm", 3, **settings).eval()
    path = tmp_path / "ammsm.safetensors"
    save_checkpoint(path, Checkpoint(model, "ammsm", LABELS))
    eats = {"channels": ["u", "v", "m"], "size": 28}
    with pytest.raises(UserError, match="eats 2 planes, not 3"):
        load_checkpoint(rewritten(path, input=eats))
    with safe_open(path, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(file.metadata()["microexpr"])
    del about["sha256"]
    weights["alpha_percent"].fill_(-(2**60))
    save_file(weights, path, metadata={"microexpr": json.dumps(about)})
    assert loaded(path) is None


def test_a_machine_of_support_vectors_must_be_whole(tmp_path: Path) -> None:
    model = create_model("svm", 3, kernel="rbf", image=8, C=1.0, gamma=1.0)
    path = tmp_path / "svm.safetensors"
    save_checkpoint(path, Checkpoint(model, "svm", LABELS))  # not solved: empty tensors
    assert load_checkpoint(path).name == "svm"
    x, y = torch.randn(12, 3, 8, 8), torch.arange(12) % 3
    model.solve(x, y, torch.arange(12) // 3, 0)  # type: ignore[operator]
    save_checkpoint(path, Checkpoint(model, "svm", LABELS))
    assert torch.allclose(load_checkpoint(path).model(x), model(x), atol=1e-6)
    with safe_open(path, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(file.metadata()["microexpr"])
    del about["sha256"]
    weights["machine.support"] = weights["machine.support"][:, :5].contiguous()
    save_file(weights, path, metadata={"microexpr": json.dumps(about)})
    with pytest.raises(UserError, match="does not fit the model svm"):
        load_checkpoint(path)


def test_another_content_than_was_saved_is_told(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[-3] ^= 4  # a weight, as good as any other
    saved.write_bytes(data)
    with pytest.raises(UserError, match="does not hold what was saved"):
        load_checkpoint(saved)


def test_a_pickle_is_refused_with_the_reason(tmp_path: Path) -> None:
    """By its name, and under any name: the ways of torch, of pickle and of the hub."""
    named = tmp_path / "pytorch_model.bin"
    named.write_bytes(b"anything")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "torch.safetensors")
    (tmp_path / "pickle.safetensors").write_bytes(pickle.dumps({"weight": 1}))
    torch.save({"a": 1}, tmp_path / "old.safetensors", _use_new_zipfile_serialization=False)
    for path in tmp_path.iterdir():
        with pytest.raises(UserError, match="unpickling runs whatever code") as caught:
            load_checkpoint(path)
        assert ".safetensors file" in str(caught.value)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Path]:
    """The bytes of a checkpoint, and a place for damaged ones."""
    folder = tmp_path_factory.mktemp("fuzz")
    torch.manual_seed(0)
    model = create_model("smallcnn", 3, image=8).eval()
    save_checkpoint(folder / "m.safetensors", Checkpoint(model, "smallcnn", LABELS))
    return (folder / "m.safetensors").read_bytes(), folder / "damaged.safetensors"


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_damage_is_an_error_of_the_user_or_does_no_harm(
    whole: tuple[bytes, Path], data: st.DataObject
) -> None:
    """Bytes flipped, cut off, put in: one line, or the same model; never anything else."""
    good, path = whole
    header = 8 + int.from_bytes(good[:8], "little")
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(0, 4))):
        end = data.draw(st.sampled_from([header, len(good)]))
        damaged[data.draw(st.integers(0, end - 1))] ^= data.draw(st.integers(1, 255))
    kept = data.draw(st.one_of(st.just(len(damaged)), st.integers(0, len(damaged))))
    path.write_bytes(bytes(damaged[:kept]) + data.draw(st.binary(max_size=3)))
    found = loaded(path)
    if found is None:
        return
    assert found.labels == LABELS
    torch.manual_seed(0)
    model = create_model("smallcnn", 3, image=8).eval()
    assert all(
        torch.equal(a, b)
        for a, b in zip(found.model.state_dict().values(), model.state_dict().values(), strict=True)
    )


@settings(max_examples=60)
@given(
    change=st.dictionaries(
        st.sampled_from(["model", "settings", "input", "labels", "temperature", "format"]),
        st.recursive(
            st.none() | st.booleans() | st.integers(-3, 40) | st.floats() | st.text(max_size=3),
            lambda some: (
                st.lists(some, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["image", "channels", "size", "units", "dropout"]),
                    some,
                    max_size=3,
                )
            ),
            max_leaves=5,
        ),
        min_size=1,
    )
)
def test_any_metadata_is_an_error_of_the_user_or_a_model(
    whole: tuple[bytes, Path], change: dict[str, Any]
) -> None:
    good, path = whole
    path.write_bytes(good)
    found = loaded(rewritten(path, **change))
    if found is None:
        return
    eats = found.model.eats
    assert found.model.predict(torch.zeros(1, *input_shape(eats)))[1].shape == (1, 3)
