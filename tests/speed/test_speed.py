"""The whole measurement, on shapes of nothing."""

from __future__ import annotations

import math

import pytest
import torch

from microexpr.errors import UserError
from microexpr.nn.orders import scan_orders
from microexpr.nn.scan import window_scan
from microexpr.preprocess.tvl1 import native_available
from microexpr.speed import PARTS, flow, measure, nets, products, scaling, scan, timing
from microexpr.speed.figures import Figure, margin

KEPT = ("reference", "unbind", "blocked", "native")
needs_library = pytest.mark.skipif(not native_available(), reason="the library was not built")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SHORTEST", 0.0)
    for module in (scan, scaling):
        monkeypatch.setattr(module, "QUICK", {"stage 4": (2, 16)})
    monkeypatch.setattr(nets, "QUICK", (("nano", 28),))
    monkeypatch.setattr(flow, "QUICK", ((24, 0.3), (24, 0.0)))
    monkeypatch.setattr(flow, "PAIRS", 1)
    monkeypatch.setattr(scaling, "SIZE", "nano")
    monkeypatch.setattr(scaling, "BATCHES", (1, 2))
    monkeypatch.setattr(scaling, "IMAGES", (28, 32))
    monkeypatch.setattr(scaling, "MEMORY", (("nano", "training"),))


def figures(part: str) -> dict[str, Figure]:
    found = measure([part], quick=True, rounds=1).figures
    assert all(math.isfinite(f.value) and f.value >= 0 for f in found)
    for figure in found:
        if figure.unit == "x" and len(figure.times) == 2 and figure.table != "scaling":
            over, under = figure.times.values()
            assert figure.value == over / under
    return {figure.what: figure for figure in found}


@needs_library
def test_targets_of_the_scan() -> None:
    found = figures("scan")
    targets = {
        what: (f.least, f.most) for what, f in found.items() if (f.least, f.most) != (None, None)
    }
    assert targets == {
        "stage 4 scan, forward: reference over native": (15.0, None),
        "stage 4 scan, forward: reference over blocked": (2.5, None),
        "stage 4 scan, forward + backward: reference over native": (40.0, None),
        "stage 4 scan, forward + backward: reference over blocked": (5.0, None),
        "stage 4 scan, steps usual: native from float64": (None, 1e-6),
        "stage 4 scan, steps usual: blocked from float64": (None, 1e-6),
        "stage 4 scan, steps up to 200 and more: native from float64": (None, 1e-6),
        "stage 4 scan, steps up to 200 and more: blocked from float64": (None, 1e-6),
    }
    assert all((margin(f) or 0) >= 0 for what, f in found.items() if "float64" in what)
    kept = {name: found[f"stage 4 scan: kept for backward by {name}"].value for name in KEPT}
    inputs = 4 * sum(t.numel() for t in scan.scan_values(2, 16, 4)) / scan.MIB
    assert kept["native"] == pytest.approx(inputs, rel=0.03)  # and the orders
    assert kept["reference"] > 2 * inputs
    assert scan.FORWARD == {"stage 2": 30.0, "stage 3": 15.0, "stage 4": 15.0}


def test_the_reference_by_unbind_is_the_reference() -> None:
    orders = scan_orders(("a", "d"), scan.SIDE, scan.SIDE)
    values = scan.scan_values(2, 3, 2)
    expected = window_scan(*values, orders, backend="reference")
    torch.testing.assert_close(scan._scans(orders)["unbind"](*values), expected)


def test_targets_of_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(f.most for f in figures("net").values())  # narrow nets have no target
    assert nets.JUDGED == ("base", "small")
    monkeypatch.setattr(nets, "JUDGED", ("nano",))
    found = figures("net")
    name = "MERba-nano 28"
    assert {what: f.most for what, f in found.items() if f.most} == {
        f"{name}, inference of 8: net over floor": 1.10,
        f"{name}, inference of 8: deployed over deployed floor": 1.10,
        f"{name}, training step of 8: net over floor": 1.20,
    }
    assert {
        f"{name}, inference: net of 1 over floor of 1",
        f"{name}, inference of 8: plain over net",
    } < {*found}
    assert (nets.PLAIN, nets.NETS[0]) == (2.7, ("base", 224))


@needs_library
def test_targets_of_the_flow() -> None:
    found = figures("flow")
    moving, still = "24 x 24, movement up to 0.3 px", "24 x 24, movement up to 0 px"
    assert found[f"{moving}: opencv over native"].least == 10.0
    assert found[f"{moving}: native from opencv"].most == 0.005
    assert found[f"{still}: opencv over native"].least is None
    assert found[f"{still}: native from opencv"].value < 0.001


def test_products_compute_the_same() -> None:
    q, k, v = torch.randn(3, 2, 4, 5, 8)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(products.plain_attention(q, k, v), expected)


def test_products_have_no_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "LINEAR", {"stage 4": (4, 8, 8)})
    monkeypatch.setattr(products, "ATTENTION", {"stage 4": (1, 2, 4)})
    found = figures("products")
    assert {*found} == {
        f"stage 4 {what}, {way}: {over}"
        for what, over in (
            ("linear and GELU", "MKL over oneDNN"),
            ("attention of 4 tokens", "products over one kernel"),
        )
        for way in ("forward", "forward + backward")
    }
    assert all(margin(figure) is None for figure in found.values())


def test_scaling_names_batch_picture_and_threads() -> None:
    found = figures("scaling")
    assert found["MERba-nano 28: a picture of a batch of 1 over one alone"].value == 1
    assert found["MERba-nano: a pixel at 28 x 28 over one at 28 x 28"].value == 1
    per_pixel = found["MERba-nano: a pixel at 32 x 32 over one at 28 x 28"]
    ratio = per_pixel.times["32 px"] / per_pixel.times["28 px"]
    assert per_pixel.value == pytest.approx(ratio * (28 / 32) ** 2)
    assert any("1 thread over 2" in what for what in found) or scaling.os.cpu_count() == 1


@pytest.mark.slow
@pytest.mark.skipif(not scaling.STATUS.exists(), reason="no /proc here")
def test_memory_is_that_of_a_new_process() -> None:
    found = figures("memory")
    assert found["MERba-nano, training of 8, reference scan: most at a time"].value > 1


def test_parts_and_rounds_are_checked() -> None:
    with pytest.raises(UserError, match="did you mean 'scan'"):
        measure(["scam"], True, 1)
    with pytest.raises(UserError, match="--rounds"):
        measure([], True, 0)
    assert list(PARTS) == ["scan", "net", "products", "flow", "scaling", "memory"]
