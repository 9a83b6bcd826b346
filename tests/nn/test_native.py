"""The native convolution and scan against float64 loops, and their manners when called wrongly."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from microexpr import native as library
from microexpr.errors import UserError
from microexpr.nn import native

pytestmark = pytest.mark.skipif(not native.available(), reason="the native library was not built")

Inputs = tuple[Tensor, ...]


@pytest.fixture(params=library.INSTRUCTION_SETS)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set this machine has, then back to the best."""
    if library.instruction_set(request.param) != request.param:
        library.instruction_set()
        pytest.skip(f"no {request.param} here")
    yield request.param
    library.instruction_set()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def conv_loop(x: Tensor, weight: Tensor, orders: Tensor, summed: bool) -> Tensor:
    """The definition, one token at a time."""
    outs = []
    for j, order in enumerate(orders.tolist()):
        taps = weight[j if len(weight) > 1 else 0]
        out = torch.zeros_like(x)
        for s, t in enumerate(order):
            pre = taps[:, 1] * x[:, t]
            if s > 0:
                pre = pre + taps[:, 0] * x[:, order[s - 1]]
            if s + 1 < len(order):
                pre = pre + taps[:, 2] * x[:, order[s + 1]]
            out[:, t] = pre * torch.sigmoid(pre)
        outs.append(out)
    return torch.stack(outs, 1).sum(1) if summed else torch.stack(outs, 1)


def scan_loop(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor, orders: Tensor
) -> Tensor:
    """The definition, one token at a time."""
    w, _, tokens, d = u.shape
    total = torch.zeros(w, tokens, d, dtype=u.dtype)
    for j, order in enumerate(orders.tolist()):
        a, skip, offset = (p[j if len(p) > 1 else 0] for p in (A, D, bias))
        delta = torch.logaddexp(dt[:, j] + offset, torch.zeros((), dtype=u.dtype))
        h = torch.zeros(w, d, A.shape[2], dtype=u.dtype)
        y = torch.zeros(w, tokens, d, dtype=u.dtype)
        for t in order:
            step = delta[:, t, :, None]
            h = torch.exp(step * a) * h + step * u[:, j, t, :, None] * B[:, j, t, None]
            y[:, t] = (h * C[:, j, t, None]).sum(-1) + skip * u[:, j, t]
        total = total + y
    return total


def random_orders(k: int, tokens: int) -> Tensor:
    return torch.stack([torch.randperm(tokens) for _ in range(k)])


def conv_inputs(
    w: int = 3, k: int = 4, t: int = 9, d: int = 21, shared: bool = False
) -> tuple[Inputs, Tensor]:
    return (torch.randn(w, t, d), torch.randn(1 if shared else k, d, 3)), random_orders(k, t)


def scan_inputs(
    w: int = 3, k: int = 4, t: int = 9, d: int = 21, n: int = 8, shared: bool = False
) -> tuple[Inputs, Tensor]:
    p = 1 if shared else k
    u, dt, B, C = (torch.randn(w, k, t, size) for size in (d, d, n, n))
    A = -torch.exp(torch.randn(p, d, n))
    return (u, dt, A, B, C, torch.randn(p, d), torch.randn(p, d)), random_orders(k, t)


def gradients(function: Callable[..., Tensor], inputs: Inputs, *rest: object) -> list[Tensor]:
    """The value and the gradients of all inputs along a direction that the seed fixes."""
    leaves = [t.detach().clone().requires_grad_() for t in inputs]
    out = function(*leaves, *rest)
    torch.manual_seed(1)
    direction = torch.randn(out.shape).to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, leaves, direction)]


def compare(
    function: Callable[..., Tensor], twin: Callable[..., Tensor], inputs: Inputs, *rest: object
) -> None:
    """Values and gradients within 1e-6 of the float64 twin.

    Relative to the largest value, or to 1, the size of the inputs, where sums cancel.
    """
    found = gradients(function, inputs, *rest)
    expected = gradients(twin, tuple(t.double() for t in inputs), *rest)
    for got, want in zip(found, expected, strict=True):
        assert got.shape == want.shape
        assert torch.isfinite(got).all()
        assert (got - want).abs().max() <= 1e-6 * want.abs().max().clamp(min=1)


SHAPES = [
    {"w": 1, "k": 1, "t": 1, "d": 1},
    {"w": 5, "k": 4, "t": 49, "d": 16},
    {"w": 2, "k": 2, "t": 16, "d": 64},
    {"w": 40, "k": 3, "t": 4, "d": 8},
    {"w": 3, "k": 4, "t": 7, "d": 37, "shared": True},
]


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_convolution_equals_the_loop(
    instruction_set: str, shape: dict[str, int], summed: bool
) -> None:
    inputs, orders = conv_inputs(**shape)
    compare(native.order_conv, conv_loop, inputs, orders, summed)


@pytest.mark.parametrize("n", [1, 7, 16])
@pytest.mark.parametrize("shape", SHAPES)
def test_scan_equals_the_loop(instruction_set: str, shape: dict[str, int], n: int) -> None:
    inputs, orders = scan_inputs(**shape, n=n)
    compare(native.window_scan, scan_loop, inputs, orders)


def test_scan_of_many_states(instruction_set: str) -> None:
    inputs, orders = scan_inputs(n=75)
    compare(native.window_scan, scan_loop, inputs, orders)


def test_extreme_steps_stay_finite_and_exact(instruction_set: str) -> None:
    (u, dt, *rest), orders = scan_inputs(t=49)
    dt = 80 * dt
    assert dt.abs().max() > 200
    compare(native.window_scan, scan_loop, (u, dt, *rest), orders)


def test_large_preactivations_stay_finite_and_exact(instruction_set: str) -> None:
    (x, weight), orders = conv_inputs()
    compare(native.order_conv, conv_loop, (100 * x, weight), orders, False)


@pytest.mark.parametrize(
    "inputs", [(native.order_conv, conv_inputs), (native.window_scan, scan_inputs)]
)
def test_threads_do_not_change_a_bit(inputs: tuple[Callable[..., Tensor], Callable]) -> None:
    function, make = inputs
    values, orders = make(w=45, d=24)
    rest = (orders, False) if function is native.order_conv else (orders,)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(gradients(function, values, *rest))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    values, orders = scan_inputs()
    halves = tuple(t.to(dtype) for t in values)
    found = gradients(native.window_scan, halves, orders)
    torch.manual_seed(1)
    direction = torch.randn(found[0].shape).to(dtype).float()
    leaves = [t.float().requires_grad_() for t in halves]
    out = native.window_scan(*leaves, orders)
    expected = [out, *torch.autograd.grad(out, leaves, direction)]
    for got, want in zip(found, expected, strict=True):
        assert got.dtype == dtype
        torch.testing.assert_close(got, want.to(dtype))


def test_arguments_may_mix_dtypes_and_strides() -> None:
    (u, dt, A, *rest), orders = scan_inputs()
    expected = native.window_scan(u.bfloat16().float(), dt, A, *rest, orders)
    strided = u.bfloat16().transpose(2, 3).contiguous().transpose(2, 3)
    found = native.window_scan(strided, dt, A, *rest, orders.t().contiguous().t())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected.bfloat16())


class Net(nn.Module):
    """Both operators, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        (x, weight), self.orders = conv_inputs(d=8)
        (_, _, *rest), _ = scan_inputs(d=8)
        self.rest = nn.ParameterList(rest)
        self.weight = nn.Parameter(weight)
        self.x = x

    def forward(self, x: Tensor) -> Tensor:
        u = native.order_conv(x, self.weight, self.orders, False)
        return native.window_scan(u, u, *self.rest, self.orders)


def test_compiles_without_a_graph_break() -> None:
    net = Net()
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    expected, found = net(net.x), compiled(net.x)
    assert torch.equal(found, expected)
    for got, want in zip(
        torch.autograd.grad(found.sum(), list(net.parameters())),
        torch.autograd.grad(expected.sum(), list(net.parameters())),
        strict=True,
    ):
        assert torch.equal(got, want)


def test_exports() -> None:
    net = Net()
    program = torch.export.export(net, (net.x,))
    assert torch.equal(program.module()(net.x), net(net.x))
    called = {str(node.target) for node in program.graph.nodes}
    assert {"microexpr.order_conv.default", "microexpr.window_scan.default"} <= called


def test_operators_keep_torchs_rules() -> None:
    (x, weight), orders = conv_inputs()
    leaves = (x.requires_grad_(), weight.requires_grad_(), orders, True)
    torch.library.opcheck(torch.ops.microexpr.order_conv.default, leaves)
    values, orders = scan_inputs(shared=True)
    leaves = (*(t.requires_grad_() for t in values), orders)
    torch.library.opcheck(torch.ops.microexpr.window_scan.default, leaves)


CONV_NAMES = ("x", "weight", "orders")
SCAN_NAMES = ("u", "dt", "A", "B", "C", "D", "dt_bias", "orders")

SPOILERS: dict[str, Callable[[Tensor], object]] = {
    "list": lambda t: t.tolist(),
    "none": lambda _: None,
    "double": lambda t: t.double(),
    "int": lambda t: t.int(),
    "complex": lambda t: t.to(torch.complex64),
    "meta": lambda t: t.to("meta"),
    "sparse": lambda t: t.to_sparse(),
    "empty": lambda t: t[:0],
    "empty last": lambda t: t[..., :0],
    "scalar": lambda t: t.sum(),
    "one axis more": lambda t: t.unsqueeze(0),
    "one axis less": lambda t: t[0],
    "longer": lambda t: torch.cat([t, t], -1),
    "wider": lambda t: torch.cat([t, t, t], 0),
}


@pytest.mark.parametrize("spoiler", SPOILERS)
@pytest.mark.parametrize(
    ("function", "make", "names"),
    [
        (native.order_conv, conv_inputs, CONV_NAMES),
        (native.window_scan, scan_inputs, SCAN_NAMES),
    ],
)
def test_a_wrong_argument_is_named(
    function: Callable[..., Tensor], make: Callable, names: tuple[str, ...], spoiler: str
) -> None:
    values, orders = make(w=3, k=4, t=5, d=6)
    rest = (False,) if function is native.order_conv else ()
    for i in range(len(names)):
        arguments = [*values, orders]
        arguments[i] = SPOILERS[spoiler](arguments[i])
        if spoiler == "wider" and i == 0 and function is native.order_conv:
            continue  # any number of windows is right
        with pytest.raises(UserError) as error:
            function(*arguments, *rest)
        assert str(error.value).split(":")[0] in names


OPERATORS = torch.ops.microexpr
WRONG = {k: v for k, v in SPOILERS.items() if k not in ("list", "none", "sparse", "meta")}


@pytest.mark.parametrize("spoiler", WRONG)
def test_the_operators_themselves_refuse_what_kernels_cannot_take(spoiler: str) -> None:
    """An exported program calls them without our functions around."""
    conv, walks = conv_inputs(w=3, k=4, t=5, d=6)
    scan, orders = scan_inputs(w=3, k=4, t=5, d=6)
    grad = torch.randn(3, 5, 6)
    calls = {
        OPERATORS.order_conv: ([*conv, walks], [True]),
        OPERATORS.order_conv_backward: ([grad, *conv, walks], [True]),
        OPERATORS.window_scan: ([*scan, orders], []),
        OPERATORS.window_scan_backward: ([grad, *scan, orders], []),
    }
    for operator, (right, rest) in calls.items():
        operator(*right, *rest)
        for i in range(len(right)):
            arguments = [*right]
            arguments[i] = WRONG[spoiler](arguments[i])
            if spoiler == "wider" and i == 0 and operator is OPERATORS.order_conv:
                continue  # any number of windows is right
            with pytest.raises(UserError) as error:
                operator(*arguments, *rest)
            assert str(error.value).split(":")[0] in {*CONV_NAMES, *SCAN_NAMES, "grad"}


@pytest.mark.parametrize("row", [[0, 1, 1], [0, 1, 3], [0, 1, -1], [2**40, 1, 0]])
def test_an_order_that_is_no_permutation_is_refused(row: list[int]) -> None:
    orders = torch.tensor([[0, 1, 2], row])
    (x, weight), _ = conv_inputs(k=2, t=3)
    with pytest.raises(UserError, match=r"^orders"):
        native.order_conv(x, weight, orders, True)
    values, _ = scan_inputs(k=2, t=3)
    with pytest.raises(UserError, match=r"^orders"):
        native.window_scan(*values, orders)


sizes = st.lists(st.integers(0, 5), max_size=5)
dtypes = st.sampled_from([torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.bool])
tensors = st.builds(lambda shape, dtype: torch.zeros(shape, dtype=dtype), sizes, dtypes)


@settings(deadline=None, max_examples=150)
@given(st.lists(tensors, min_size=8, max_size=8), st.data())
def test_anything_gives_a_result_or_a_user_error(wrong: list[Tensor], data: st.DataObject) -> None:
    """Arguments of right calls, some of them replaced by anything."""
    w, k, t, d, n = (data.draw(st.integers(1, 4)) for _ in range(5))
    keep = data.draw(st.lists(st.booleans(), min_size=8, max_size=8))
    scan, orders = scan_inputs(w, k, t, d, n)
    conv, _ = conv_inputs(w, k, t, d)

    def mixed(right: tuple[Tensor, ...]) -> list[Tensor]:
        return [a if kept else b for a, b, kept in zip(right, wrong, keep, strict=False)]

    u, *others = mixed((*scan, orders))
    with contextlib.suppress(UserError):
        assert native.window_scan(u, *others).shape == (u.shape[0], *u.shape[2:])
    x, weight, walks = mixed((*conv, orders))
    with contextlib.suppress(UserError):
        out = native.order_conv(x, weight, walks, False)
        assert out.shape == (len(x), len(walks), *x.shape[1:])
