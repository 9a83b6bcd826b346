from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from microexpr.errors import UserError
from microexpr.nn.weights import load_strict, read_state_dict


@pytest.mark.parametrize("nest", [lambda s: s, lambda s: {"state_dict": s}, lambda s: {"model": s}])
def test_files_and_dicts_nested_or_not(tmp_path: Path, nest: object) -> None:
    source, target = nn.Linear(2, 3), nn.Linear(2, 3)
    wrapped = nest(source.state_dict())  # type: ignore[operator]
    torch.save(wrapped, tmp_path / "w.pth")
    for given in (wrapped, tmp_path / "w.pth", str(tmp_path / "w.pth")):
        load_strict(target, read_state_dict(given), "a line")
        assert torch.equal(source.weight, target.weight)


def test_what_does_not_fit_is_named_and_nothing_is_copied() -> None:
    layer = nn.Linear(2, 3)
    before = layer.bias.detach().clone()
    state = {"bias": torch.ones(3), "weigth": torch.ones(3, 2)}
    with pytest.raises(
        UserError, match=r"weights of a line: 1 missing \(first: weight\); 1 unknown"
    ):
        load_strict(layer, state, "a line")
    with pytest.raises(UserError, match=r"weight \(3, 4\) instead of \(3, 2\)"):
        load_strict(layer, {"bias": torch.ones(3), "weight": torch.ones(3, 4)}, "a line")
    assert torch.equal(layer.bias, before)


class Foreign:
    """Something that only unpickling could bring back."""


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file of weights at"):
        read_state_dict(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(UserError, match="no file of weights"):
        read_state_dict(tmp_path / "text.pth")
    torch.save({"weight": Foreign()}, tmp_path / "code.pth")
    with pytest.raises(UserError, match="no file of weights"):
        read_state_dict(tmp_path / "code.pth")
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="'epoch' is int"):
        read_state_dict(tmp_path / "other.pth")
    with pytest.raises(UserError, match="holds no state dict"):
        read_state_dict({})
