"""The Triton backend against the reference, on the GPU or in Triton's interpreter.

Systems of several channels go through states, banks of single-channel systems through the fused
kernels. As in ``test_triton_kernels.py``, machines without a GPU run this in the interpreter.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ssmbench.errors import UsageError
from ssmbench.registry import scans
from ssmbench.systems import DiscreteDense, DiscreteDiagonal
from ssmbench.testing import check_scan, example_delta_systems, example_time_varying_systems
from ssmbench.testing.scans import check_second_derivatives
from tests.scans.interpreter import DEVICE, INTERPRETED, skip_module_without_kernels

skip_module_without_kernels()

# The interpreter computes with numpy, which remarks on the overflow that some cases are about.
pytestmark = [
    pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning"),
    pytest.mark.usefixtures("interpreted_by_rows", "fresh_memory_is_nan"),
]


#: Float32 products of at most 128 terms stand in and around the scans.
TOLERANCE = 2e-6


def assert_close(got: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> None:
    for name, reference in wanted.items():
        assert got[name].shape == reference.shape, name
        error = (got[name] - reference).abs().max() / reference.abs().max().clamp(min=1e-30)
        assert error <= tolerance, f"{name}: relative error {error:.2e}"


def bank(kind: str, heads=2, states=3, inputs=2, outputs=2, modulus=None) -> dict[str, Tensor]:
    """The matrices of a system; lam of the given modulus, or between 0.9 and 0.98."""
    torch.manual_seed(1)
    dtype = torch.float32 if kind == "real" else torch.complex64
    sizes = {"B": (states, inputs), "C": (outputs, states)}
    matrices = {k: torch.randn(heads, *size, dtype=dtype) for k, size in sizes.items()}
    lam = 0.9 + 0.08 * torch.rand(heads, states)
    lam = lam if modulus is None else torch.full_like(lam, modulus)
    lam = lam if kind == "real" else torch.polar(lam, 3 * torch.rand(heads, states))
    real_output = kind != "complex"
    direct = torch.randn(heads, outputs, inputs, dtype=torch.float32 if real_output else dtype)
    tensors = {"lam": lam, **matrices, "D": direct}
    return {name: tensor.to(DEVICE) for name, tensor in tensors.items()}


def single_channel(kind: str, shape, states=5, x0=True, modulus=None) -> dict[str, Tensor]:
    """A bank of H single-channel systems with u (B, L, H, 1), and x0 or none."""
    batch, length, heads = shape
    leaves = bank(kind, heads, states, 1, 1, modulus)
    leaves["u"] = torch.randn(batch, length, heads, 1, device=DEVICE)
    if x0:
        dtype = leaves["lam"].dtype
        leaves["x0"] = torch.randn(batch, heads, states, dtype=dtype, device=DEVICE)
    return leaves


def _double(value: Tensor) -> torch.dtype:
    return torch.promote_types(value.dtype, torch.float64)


def through_backend(name: str, kind: str, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """y, the final state, and the gradients of every input for random gradients of both."""
    leaves = {k: v.detach().clone().requires_grad_() for k, v in leaves.items()}
    fields = {k: leaves[k] for k in ("lam", "B", "C", "D")}
    system = DiscreteDiagonal(conjugate=kind == "conjugate", **fields)
    y, last = scans.get(name).build()(system, leaves["u"], leaves.get("x0"))
    torch.manual_seed(2)
    weights = [torch.randn(v.shape, dtype=_double(v)).to(v) for v in (y, last)]
    gradients = torch.autograd.grad((y, last), tuple(leaves.values()), weights)
    return {"y": y.detach(), "last": last.detach(), **dict(zip(leaves, gradients, strict=True))}


@pytest.mark.parametrize("given_x0", [True, False])
@pytest.mark.parametrize("kind", ["real", "conjugate", "complex"])
def test_backend_agrees_with_the_reference(kind, given_x0):
    leaves = bank(kind)
    leaves["u"] = torch.randn(2, 70, 2, 2, device=DEVICE)
    if given_x0:
        leaves["x0"] = torch.randn(2, 2, 3, dtype=leaves["lam"].dtype, device=DEVICE)
    got, wanted = (through_backend(name, kind, leaves) for name in ("triton", "reference"))
    assert_close(got, wanted, 1e-5)  # einsums in float32 stand around the scan
    assert {k: v.dtype for k, v in got.items()} == {k: v.dtype for k, v in wanted.items()}


@pytest.mark.skipif(not INTERPRETED, reason="the conformance checks scan on the CPU")
@pytest.mark.parametrize("case", range(5))
def test_time_varying_systems_agree_with_the_reference(case):
    torch.manual_seed(3)
    system = example_time_varying_systems(2, 70)[case]
    backend, reference = (scans.get(name).build() for name in ("triton", "reference"))
    assert backend.unsupported_reason(system, torch.device(DEVICE)) is None
    check_scan(backend, reference, system, 70)
    check_scan(backend, reference, system, 70, torch.bfloat16)


@pytest.mark.skipif(not INTERPRETED, reason="the conformance checks scan on the CPU")
@pytest.mark.parametrize("case", range(2))
def test_delta_rules_agree_with_the_reference(case):
    torch.manual_seed(3)
    system = example_delta_systems(2, (33, 3)[case])[case]
    backend, reference = (scans.get(name).build() for name in ("triton", "reference"))
    assert backend.refusal(system, torch.device(DEVICE)) is None
    check_scan(backend, reference, system, system.length)
    if case == 1:  # few steps: the interpreter is slow
        check_scan(backend, reference, system, system.length, torch.bfloat16)
        check_second_derivatives(backend, reference, system, system.length)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened_before_anything_is_computed(half):
    system = DiscreteDiagonal(**bank("real"))
    u = torch.randn(1, 5, 2, 2, device=DEVICE).to(half)
    backend = scans.get("triton").build()
    y, last = backend(system, u)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        cast_y, cast_last = backend(system, u)
    wide_y, wide_last = backend(system, u.float())
    assert y.dtype == cast_y.dtype == torch.float32
    assert bool((y == wide_y).all() and (last == wide_last).all())
    assert bool((cast_y == wide_y).all() and (cast_last == wide_last).all())


def test_backend_refuses_with_its_reason():
    backend = scans.get("triton").build()
    system = DiscreteDiagonal(**bank("real"))
    u = torch.randn(1, 5, 2, 2, device=DEVICE)
    assert backend.unsupported_reason(system, u.device) is None
    with pytest.raises(UsageError, match="u is float64"):
        backend(system, u.double())
    dense = DiscreteDiagonal(**bank("real", states=129)).to_dense()
    assert isinstance(dense, DiscreteDense)
    with pytest.raises(UsageError, match="dense systems of at most 128 states, and this has 129"):
        backend(dense, u)


# --- dense systems ------------------------------------------------------------------------------


def dense_leaves(batch: int, length: int, heads: int, states: int, channels: int):
    """A orthogonal but for a factor; an initial state."""
    torch.manual_seed(4)
    leaves = {
        "A": 0.98 * torch.linalg.qr(torch.randn(heads, states, states)).Q,
        "B": torch.randn(heads, states, channels),
        "C": torch.randn(heads, channels, states),
        "D": torch.randn(heads, channels, channels),
        "u": torch.randn(batch, length, heads, channels),
        "x0": torch.randn(batch, heads, states),
    }
    return {name: value.to(DEVICE) for name, value in leaves.items()}


def dense_through(name: str, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    leaves = {k: v.detach().clone().requires_grad_() for k, v in leaves.items()}
    system = DiscreteDense(**{k: leaves[k] for k in ("A", "B", "C", "D")})
    y, last = scans.get(name).build()(system, leaves["u"], leaves["x0"])
    torch.manual_seed(2)
    weights = [torch.randn(v.shape, dtype=torch.float64).to(v) for v in (y, last)]
    gradients = torch.autograd.grad((y, last), tuple(leaves.values()), weights)
    return {"y": y.detach(), "last": last.detach(), **dict(zip(leaves, gradients, strict=True))}


#: B, L, heads, states, channels: less than a chunk, one, several and a rest; every width of blocks.
DENSE_SIZES = [
    (1, 5, 1, 3, 3),
    (3, 32, 1, 17, 3),
    (2, 70, 2, 33, 3),
    (1, 97, 1, 65, 3),
    (2, 200, 2, 3, 1),
]


@pytest.mark.parametrize("size", DENSE_SIZES)
def test_dense_outputs_and_every_gradient_agree_with_double_precision(size):
    leaves = dense_leaves(*size)
    wanted = dense_through("reference", {k: v.double() for k, v in leaves.items()})
    assert_close(dense_through("triton", leaves), wanted, TOLERANCE)


def test_a_wrong_power_between_chunks_of_a_dense_system_is_noticed(monkeypatch):
    from ssmbench.scans.triton import dense

    leaves = dense_leaves(1, 70, 1, 3, 3)
    wanted = dense_through("reference", leaves)
    exact = dense.dense_states
    monkeypatch.setattr(dense, "dense_states", lambda A, *given: exact(0.99 * A, *given))
    with pytest.raises(AssertionError, match="relative error"):
        assert_close(dense_through("triton", leaves), wanted, TOLERANCE)


def test_an_unstable_dense_system_goes_step_by_step():
    """30^32 is no float32: an impulse late in the signal must not meet it."""
    leaves = dense_leaves(1, 70, 1, 3, 3)
    leaves["A"] = 30 * torch.eye(3, device=DEVICE)[None]
    leaves["x0"].zero_()
    leaves["u"][:, :60] = 0
    leaves["u"][:, 61:] = 0
    system = DiscreteDense(**{k: leaves[k] for k in ("A", "B", "C", "D")})
    got, wanted = (scans.get(n).build()(system, leaves["u"])[0] for n in ("triton", "reference"))
    assert_close({"y": got}, {"y": wanted}, TOLERANCE)


@pytest.mark.skipif(not INTERPRETED, reason="the conformance checks scan on the CPU")
def test_dense_second_derivatives():
    leaves = dense_leaves(1, 9, 1, 2, 3)
    system = DiscreteDense(**{k: leaves[k] for k in ("A", "B", "C", "D")})
    backend, reference = (scans.get(name).build() for name in ("triton", "reference"))
    check_second_derivatives(backend, reference, system, 9)


# --- fused ----------------------------------------------------------------------------------------


@pytest.fixture
def no_states(monkeypatch):
    """Fails where all states are written."""
    from ssmbench.scans.triton import linear_scan

    def refuse(*_, **__):
        raise AssertionError("the states were written")

    monkeypatch.setattr(linear_scan, "states_before", refuse)


FUSED = [
    ((1, 1, 1), "conjugate", True),
    ((1, 2, 2), "real", True),
    ((2, 37, 2), "conjugate", True),
    ((1, 64, 2), "real", False),
    ((2, 130, 2), "conjugate", False),
    ((1, 130, 2), "real", True),
    ((2, 70, 5), "conjugate", True),
    ((1, 70, 8), "conjugate", True),
]
if not INTERPRETED:
    FUSED += [((2, 10_001, 7), "conjugate", True), ((1, 100_000, 3), "conjugate", False)]


def assert_agrees(kind: str, leaves: dict[str, Tensor], tolerance: float = TOLERANCE) -> None:
    got, wanted = (through_backend(name, kind, leaves) for name in ("triton", "reference"))
    assert_close(got, wanted, tolerance)
    assert {k: v.dtype for k, v in got.items()} == {k: v.dtype for k, v in wanted.items()}


@pytest.mark.parametrize(("shape", "kind", "x0"), FUSED)
def test_fused_outputs_and_gradients_at_every_shape(shape, kind, x0, no_states):
    """Also with heads that fill no tile of four, and two such tiles."""
    assert_agrees(kind, single_channel(kind, shape, x0=x0))


def test_fused_outputs_and_every_gradient_agree_with_double_precision(no_states):
    leaves = single_channel("conjugate", (2, 70, 5))
    wide = {k: v.to(_double(v)) for k, v in leaves.items()}
    wanted = through_backend("reference", "conjugate", wide)
    assert_close(through_backend("triton", "conjugate", leaves), wanted, TOLERANCE)


class Launches:
    """In place of the module of the kernels: notes the tensors of every launch, and runs none."""

    def __init__(self):
        self.tensors = []
        self.bank_states_kernel = self.bank_outputs_kernel = self

    def __getitem__(self, grid):
        return lambda *given, **_: self.tensors.append([x for x in given if torch.is_tensor(x)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_fused_kernels_read_and_write_signals_in_place(dtype, monkeypatch):
    """Neither transposed nor widened before or after them."""
    from ssmbench.scans.triton import bank_launch, bank_operator

    launches = Launches()
    monkeypatch.setattr(bank_launch, "_kernels", lambda: launches)
    u = torch.randn(300, 130, 4, device=DEVICE).to(dtype)
    tables = [torch.rand(4, 16, device=DEVICE).to(torch.complex128)]
    shapes = (64, 2, 16), (64, 64), (2, 16, 64)
    tables += [torch.randn(4, *shape, device=DEVICE) for shape in shapes]
    y, end, states = bank_operator._run(u, None, *tables, 16)
    given = states, y, torch.zeros_like(end), 16, True, False
    du = bank_operator._run_backward(u, None, *tables, *given)[0]
    assert (y.dtype, du.dtype, du.shape) == (torch.float32, dtype, u.shape)
    ways = launches.tensors
    assert len(ways) == 4  # states and outputs, each way
    assert [way[0].data_ptr() for way in ways] == [u.data_ptr()] * 2 + [y.data_ptr()] * 2
    assert [way[-1].data_ptr() for way in ways[1::2]] == [y.data_ptr(), du.data_ptr()]


@pytest.mark.parametrize("modulus", [0.0, 1e-30, 1 - 1e-6, 1.02])
def test_fused_at_every_modulus(modulus, no_states):
    assert_agrees("conjugate", single_channel("conjugate", (1, 130, 2), modulus=modulus))


@pytest.mark.parametrize("states", [16, 17, 33, 70])
def test_fused_with_every_number_of_states(states, no_states):
    """Blocks of 16, 32 and 64, and two groups."""
    assert_agrees("conjugate", single_channel("conjugate", (1, 70, 1), states))


@pytest.mark.parametrize("segment", [None, 15, 16])
def test_fused_over_many_tiles_and_segments(segment, no_states, monkeypatch):
    """More chunks than a tile has rows, in one segment and in several, the last of them short."""
    if segment:
        from ssmbench.scans.triton import bank_launch as module

        monkeypatch.setattr(module, "bank_segment", lambda *_: segment)
    leaves = single_channel("conjugate", (2, 64 * 33 + 5, 1), 3, modulus=0.999)
    assert_agrees("conjugate", leaves)


@pytest.mark.parametrize("modulus", [1.05, 1.1])
def test_fused_where_whole_tiles_of_an_unstable_system_overflow(modulus, no_states):
    """1.1^1024, over a tile, is no float32 (1.05^1024 is): zeros stay zeros, and the response is
    right until it overflows."""
    leaves = single_channel("conjugate", (1, 64 * 40, 2), x0=False, modulus=modulus)
    leaves["u"][:, : 64 * 36, 0] = 0
    leaves["u"][:, :, 1] = 0
    system = DiscreteDiagonal(conjugate=True, **{k: leaves[k] for k in ("lam", "B", "C", "D")})
    got, wanted = (scans.get(n).build()(system, leaves["u"])[0] for n in ("triton", "reference"))
    assert bool((got[:, :, 1] == 0).all() and (got[:, : 64 * 36] == 0).all())
    assert_close({"y": got}, {"y": wanted}, 1e-5)


@pytest.mark.parametrize("used", [0, 1])
def test_fused_gradient_of_one_result_only(used, no_states):
    leaves = single_channel("conjugate", (1, 70, 2))
    gradients = []
    for name in ("triton", "reference"):
        inputs = {k: v.detach().clone().requires_grad_() for k, v in leaves.items() if k != "D"}
        fields = {k: inputs[k] for k in ("lam", "B", "C")}
        system = DiscreteDiagonal(conjugate=True, D=leaves["D"], **fields)
        result = scans.get(name).build()(system, inputs["u"], inputs["x0"])[used]
        names = [k for k in inputs if used == 0 or k != "C"]
        weights = torch.ones_like(result)
        found = torch.autograd.grad(result, [inputs[k] for k in names], weights)
        gradients.append(dict(zip(names, found, strict=True)))
    assert_close(*gradients, TOLERANCE)


def test_fused_with_frozen_dynamics(no_states):
    """Only u needs a gradient: nothing is summed for the tables."""
    leaves = single_channel("conjugate", (1, 70, 2), x0=False)
    system = DiscreteDiagonal(conjugate=True, **{k: leaves[k] for k in ("lam", "B", "C", "D")})
    u = leaves["u"].requires_grad_()
    got, wanted = (
        torch.autograd.grad(scans.get(name).build()(system, u)[0].square().sum(), u)[0]
        for name in ("triton", "reference")
    )
    assert_close({"u": got}, {"u": wanted}, 1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fused_in_half_precision_and_under_autocast(dtype, no_states):
    leaves = single_channel("conjugate", (1, 70, 2))
    half = {**leaves, "u": leaves["u"].to(dtype)}
    got = through_backend("triton", "conjugate", half)
    wanted = through_backend("triton", "conjugate", {**leaves, "u": half["u"].float()})
    assert got["y"].dtype == torch.float32
    assert got["u"].dtype == dtype
    assert bool((got.pop("u") == wanted.pop("u").to(dtype)).all())
    assert all(bool((got[name] == wanted[name]).all()) for name in got)
    system = DiscreteDiagonal(conjugate=True, **{k: leaves[k] for k in ("lam", "B", "C", "D")})
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        y, _ = scans.get("triton").build()(system, half["u"], leaves["x0"])
    assert bool((y == wanted["y"]).all())


@pytest.mark.parametrize("inputs", [1, 2])
@pytest.mark.parametrize("shape", [(0, 7), (2, 0)])
def test_nothing_to_run(shape, inputs):
    leaves = bank("conjugate", inputs=inputs, outputs=1)
    u = torch.randn(*shape, 2, inputs, device=DEVICE)
    system = DiscreteDiagonal(conjugate=True, **leaves)
    y, final = scans.get("triton").build()(system, u)
    assert y.shape == (*shape, 2, 1)
    assert final.shape == (shape[0], 2, 3)
    assert bool((final == 0).all())
