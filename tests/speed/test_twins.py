from __future__ import annotations

import pytest
import torch
from torch import nn

from microexpr.models import create_model
from microexpr.nn import dense, mixers
from microexpr.nn.mixers import Mixer
from microexpr.nn.windows import cut
from microexpr.speed.twins import GemmMixer, PlainMixer, gemm_twin, plain_twin

SMALL = {"size": "nano", "widths": [8, 16, 16], "depths": [1, 1, 1]}


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return create_model("merba", 3, **SMALL, image=40).eval()


def test_the_plain_twin_computes_the_same(net: nn.Module) -> None:
    """Every order walks alone, and windows of all shapes are there."""
    x = torch.randn(2, 3, 40, 40)
    assert any(len(m.regions) > 1 for m in net.modules() if isinstance(m, Mixer))
    with torch.no_grad():
        torch.testing.assert_close(plain_twin(net)(x), net(x), atol=1e-5, rtol=1e-4)


def test_the_plain_twin_takes_no_detour(net: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("oneDNN was called")

    monkeypatch.setattr(dense, "_WORTH", 1)
    monkeypatch.setattr(dense, "_product", refuse)
    with torch.no_grad():
        plain_twin(net)(torch.randn(2, 3, 40, 40))
        with pytest.raises(AssertionError, match="oneDNN"):
            net(torch.randn(2, 3, 40, 40))


def products(module: nn.Module, x: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Shapes of the matrix products, forward and backward."""
    seen: list[tuple] = []
    real = dense._product

    def note(a: torch.Tensor, b: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append((tuple(a.shape), tuple(b.shape)))
        return real(a, b, *rest)

    monkeypatch.setattr(dense, "_WORTH", 1)
    monkeypatch.setattr(dense, "_product", note)
    module(x).sum().backward()
    monkeypatch.undo()
    return sorted(seen)


def test_the_gemm_twin_has_the_products_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    mixer = Mixer(32, cut(14, 14, 7), ["a", "b"])
    x = torch.randn(2, 196, 32, requires_grad=True)
    expected = products(mixer, x, monkeypatch)
    for name in ("order_conv", "window_scan"):
        monkeypatch.setattr(mixers, name, None)
    assert products(GemmMixer(mixer), x, monkeypatch) == expected
    assert len(expected) == 4 * 3  # value, gradient of the input, gradient of the weight


def test_twins_share_their_weights(net: nn.Module) -> None:
    own = {id(p) for p in net.parameters()}
    mixers_of = [name for name, m in net.named_modules() if isinstance(m, Mixer)]
    for twin, kind in ((gemm_twin(net), GemmMixer), (plain_twin(net).net, PlainMixer)):
        assert {id(p) for p in twin.parameters()} == own
        assert all(isinstance(twin.get_submodule(name), kind) for name in mixers_of)
    assert mixers_of
    assert all(isinstance(net.get_submodule(name), Mixer) for name in mixers_of)
