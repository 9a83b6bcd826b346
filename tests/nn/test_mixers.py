from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from microexpr.errors import UserError
from microexpr.nn.mixers import ConvMixer, Mixer, SeparateMixers, init_steps
from microexpr.nn.orders import scan_order
from microexpr.nn.scan import use_backend
from microexpr.nn.windows import cut, window_order

WINDOW = 7


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def walk_mixed(mixer: Mixer, tokens: Tensor) -> Tensor:
    """The mixer along one given walk, without output projection: ``(steps, d)`` -> the same."""
    half = tokens.shape[1] // 2
    xz = tokens @ mixer.in_proj.weight.T
    x = torch.zeros(len(xz), half, dtype=xz.dtype)
    z = torch.zeros_like(x)
    for t in range(len(xz)):
        for tap in range(3):
            if 0 <= t + tap - 1 < len(xz):
                x[t] += mixer.conv1d_x.weight[:, 0, tap] * xz[t + tap - 1, :half]
                z[t] += mixer.conv1d_z.weight[:, 0, tap] * xz[t + tap - 1, half:]
    x, z = silu(x), silu(z)
    projected = x @ mixer.x_proj.weight.T
    dt, B, C = projected.split([mixer.dt_proj.in_features, 8, 8], dim=1)
    delta = torch.log1p(torch.exp(dt @ mixer.dt_proj.weight.T + mixer.dt_proj.bias))
    h = torch.zeros(half, 8, dtype=xz.dtype)
    ys = []
    for t in range(len(x)):
        h = torch.exp(-delta[t, :, None] * mixer.A_log.exp()) * h
        h = h + (delta[t] * x[t])[:, None] * B[t]
        ys.append(h @ C[t] + mixer.D * x[t])
    return torch.cat([torch.stack(ys), z], dim=1)


def padded_and_masked(
    mixers: dict[str, Mixer], out_proj: nn.Module, grid: Tensor, window: int = WINDOW
) -> Tensor:
    """The slow twin: the map is padded to whole windows; padding never enters a walk.

    Args:
        mixers: For each scan order the mixer that walks it.
        out_proj: Behind the sum over the orders.
        grid: ``(h, w, d)``.
        window: Side.
    """
    h, w, d = grid.shape
    rows, columns = -(-h // window) * window, -(-w // window) * window
    padded = torch.full((rows, columns, d), float("nan"), dtype=grid.dtype)
    padded[:h, :w] = grid
    real = torch.zeros(rows, columns, dtype=torch.bool)
    real[:h, :w] = True
    total = torch.zeros_like(padded)
    for r in range(0, rows, window):
        for c in range(0, columns, window):
            for name, mixer in mixers.items():
                walk = [divmod(t, window) for t in scan_order(name, window, window)]
                walk = [(r + i, c + j) for i, j in walk if real[r + i, c + j]]
                mixed = walk_mixed(mixer, torch.stack([padded[place] for place in walk]))
                for place, value in zip(walk, mixed, strict=True):
                    total[place] += value
    out: Tensor = out_proj(total[:h, :w])
    return out


def run_on_map(module: nn.Module, grid: Tensor, window: int = WINDOW) -> Tensor:
    """The fast mixer on one ``(h, w, d)`` map."""
    h, w, d = grid.shape
    order = window_order(h, w, window)
    out = torch.empty(1, h * w, d, dtype=grid.dtype)
    out[:, order] = module(grid.reshape(1, h * w, d)[:, order])
    return out.view(h, w, d)


@pytest.mark.parametrize("size", [(7, 7), (14, 7), (9, 10), (4, 4), (8, 3), (1, 15)])
@torch.no_grad()
def test_maps_that_windows_do_not_divide_equal_padding_and_masking(size: tuple[int, int]) -> None:
    names = ["a", "b", "c", "d"]
    mixer = Mixer(6, cut(*size, WINDOW), names).double().apply(init_steps)
    grid = torch.randn(*size, 6, dtype=torch.float64)
    twin = padded_and_masked(dict.fromkeys(names, mixer), mixer.out_proj, grid)
    torch.testing.assert_close(run_on_map(mixer, grid), twin, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_separate_mixers_walk_one_order_each() -> None:
    names = ["a", "d", "b_sy"]
    module = SeparateMixers(6, cut(8, 9, WINDOW), names).double()
    one_each = dict(zip(names, module.mixers, strict=True))
    grid = torch.randn(8, 9, 6, dtype=torch.float64)
    twin = padded_and_masked(one_each, module.out_proj, grid)  # type: ignore[arg-type]
    torch.testing.assert_close(run_on_map(module, grid), twin, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_conv_mixer_equals_each_window_alone() -> None:
    module = ConvMixer(8, cut(9, 8, WINDOW)).double()
    grid = torch.randn(9, 8, 8, dtype=torch.float64)
    found = run_on_map(module, grid)
    half, k = 4, module.conv_x.kernel_size[0]
    for r in range(0, 9, WINDOW):
        for c in range(0, 8, WINDOW):
            piece = grid[r : r + WINDOW, c : c + WINDOW]
            xz = piece @ module.in_proj.weight.T
            out = torch.empty_like(xz)
            for i in range(piece.shape[0]):
                for j in range(piece.shape[1]):
                    x, z = module.conv_x.bias.clone(), module.conv_z.bias.clone()
                    for p in range(piece.shape[0]):
                        for q in range(piece.shape[1]):
                            if max(abs(p - i), abs(q - j)) <= k // 2:
                                tap = (p - i + k // 2, q - j + k // 2)
                                x += module.conv_x.weight[:, 0, tap[0], tap[1]] * xz[p, q, :half]
                            if max(abs(p - i), abs(q - j)) <= 1:
                                tap = (p - i + 1, q - j + 1)
                                z += module.conv_z.weight[:, 0, tap[0], tap[1]] * xz[p, q, half:]
                    out[i, j] = torch.cat([x * silu(z), silu(z)])
            alone = out @ module.out_proj.weight.T
            torch.testing.assert_close(found[r : r + WINDOW, c : c + WINDOW], alone)


@pytest.mark.parametrize("dim", [32, 64, 256, 512, 1024])
def test_conv_mixer_has_about_as_many_parameters(dim: int) -> None:
    with torch.device("meta"):
        regions = cut(7, 7, WINDOW)
        scan = sum(p.numel() for p in Mixer(dim, regions, ["a"]).parameters())
        conv = sum(p.numel() for p in ConvMixer(dim, regions).parameters())
    assert 0.97 * scan < conv <= scan


@torch.no_grad()
def test_steps_start_log_uniform_between_a_thousandth_and_a_tenth() -> None:
    mixer = Mixer(512, cut(7, 7, WINDOW), ["a"])
    init_steps(mixer)
    delta = nn.functional.softplus(mixer.dt_proj.bias)
    assert delta.min() > 0.001 * 0.99
    assert delta.max() < 0.1 * 1.01
    assert abs(delta.log().mean() - (math.log(0.001) + math.log(0.1)) / 2) < 0.3
    assert mixer.dt_proj.weight.abs().max() <= 32**-0.5


def test_scan_parameters_are_marked_against_weight_decay() -> None:
    mixer = Mixer(8, cut(7, 7, WINDOW), ["a"])
    marked = {n for n, p in mixer.named_parameters() if getattr(p, "no_weight_decay", False)}
    assert marked == {"A_log", "D", "dt_proj.bias"}
    assert torch.equal(mixer.A_log.exp()[0].round(), torch.arange(1.0, 9.0))


def test_gradients_agree_between_backends() -> None:
    mixer = Mixer(8, cut(9, 9, WINDOW), ["a", "b", "c", "d"]).double()
    x = torch.randn(2, 81, 8, dtype=torch.float64)
    found = []
    for backend in ("reference", "blocked"):
        with use_backend(backend):
            mixer.zero_grad()
            mixer(x).square().sum().backward()
            found.append([p.grad.clone() for p in mixer.parameters() if p.grad is not None])
    assert len(found[0]) == len(list(mixer.parameters()))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", [Mixer, ConvMixer])
def test_odd_widths_are_refused(kind: type[nn.Module]) -> None:
    more = (["a"],) if kind is Mixer else ()
    with pytest.raises(UserError, match="even width, got 7"):
        kind(7, cut(7, 7, WINDOW), *more)
