from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from microexpr.errors import UserError
from microexpr.training.default import default_card, load_default
from microexpr.training.pretrained import Pretrained, load_pretrained, locate, save_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The default model, as it is shared."""
    save_folder(tmp_path / "mine", replace(load_pretrained(), readme="# hello\n"))
    return tmp_path / "mine"


def test_no_name_is_the_default_model() -> None:
    found, x = load_pretrained(), torch.rand(2, 3, 28, 28)
    assert torch.equal(found.checkpoint.model(x), load_default().model(x))
    assert found.card == default_card()
    assert found.license == "mit"


def test_a_folder_and_its_file_are_the_same_model(folder: Path) -> None:
    found = load_pretrained(folder)
    assert (found.card, found.readme, found.license) == (default_card(), "# hello\n", "mit")
    assert load_pretrained(folder / "model.safetensors").card == found.card
    assert load_pretrained(str(folder)).checkpoint.labels == found.checkpoint.labels
    about = json.loads((folder / "config.json").read_text())
    assert about["model"] == "smallcnn"
    assert about["labels"] == list(found.checkpoint.labels)
    assert about["input"]["size"] == 28
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_a_file_alone_has_its_name_for_a_card(folder: Path, tmp_path: Path) -> None:
    path = (folder / "model.safetensors").rename(tmp_path / "lonely.safetensors")
    assert load_pretrained(path).card.name == "lonely.safetensors"
    path.rename(tmp_path / "model.safetensors")
    assert load_pretrained(tmp_path).card.name == tmp_path.name
    assert load_pretrained(tmp_path).readme == ""


def test_a_folder_with_a_pickle_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(UserError, match="unpickling runs whatever code"):
        load_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(UserError, match=r"holds no model\.safetensors"):
        load_pretrained(tmp_path)


def test_a_card_of_other_weights_is_refused(folder: Path) -> None:
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b" ")
    with pytest.raises(UserError, match="damaged or no safetensors"):
        load_pretrained(folder)
    other = load_default()
    torch.nn.init.zeros_(other.model.head.bias)  # type: ignore[arg-type]
    saved = (folder / "config.json").read_text()
    save_folder(folder, Pretrained(other, default_card()))
    (folder / "config.json").write_text(saved)
    with pytest.raises(UserError, match="is about other weights"):
        load_pretrained(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"card": {"name": "x", "colour": 1}},
        {"card": {"name": 3}},
        {"card": {"name": "x", "uf1": "high"}},
        {"card": {"name": "x", "uf1": True}},
        {"card": {"name": "x", "confidence": None}},
        {"card": {"name": "x", "low": float("nan")}},
        {"card": None},
        {"sha256": 0},
    ],
)
def test_a_damaged_card_is_told(folder: Path, change: dict[str, Any]) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=r"config\.json is") as caught:
        load_pretrained(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "\x00"])
def test_no_json_is_told(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        load_pretrained(folder)


def test_a_name_of_nothing_says_what_could_be_given(tmp_path: Path) -> None:
    for name in (tmp_path / "none", "a\x00b", "x/y/z"):
        with pytest.raises(UserError, match=r"give a \.safetensors file, .* or owner/name"):
            locate(name)
