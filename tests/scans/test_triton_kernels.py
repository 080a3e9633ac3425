"""The kernels against a loop in double precision, on the GPU or in Triton's interpreter.

Whether Triton interprets is settled when it is imported, so on machines without a GPU these cases
run in a process of their own, started by ``test_triton_interpreter.py``.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ssmbench.errors import ShapeError, UsageError
from tests.scans.by_definition import linear_scan as loop
from tests.scans.by_definition import with_start as loop_before
from tests.scans.interpreter import DEVICE, INTERPRETED, skip_module_without_kernels

skip_module_without_kernels()

# The interpreter computes with numpy, which remarks on the overflow that some cases are about.
pytestmark = [
    pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning"),
    pytest.mark.usefixtures("interpreted_by_rows", "fresh_memory_is_nan"),
]

#: 64 roundings to nearest in float32, one for each row of a tile: relative to the largest value.
TOLERANCE = 64 * 2**-24
DTYPES = [torch.float32, torch.complex64]
SHAPES = [(1, 1, 1), (3, 2, 16), (2, 37, 5), (1, 64, 3), (1, 130, 9)]
if not INTERPRETED:  # more programs than ENOUGH_PROGRAMS, many chunks, rows that allow wide loads
    SHAPES += [(2, 4097, 48), (80, 300, 64), (8, 2048, 256), (300, 70, 3), (1, 100_003, 17)]


def scan(a: Tensor, b: Tensor, x0: Tensor | None, reverse: bool = False) -> Tensor:
    from ssmbench.scans.triton.linear_scan import linear_scan

    return linear_scan(a, b, x0, reverse=reverse)


def before(a: Tensor, b: Tensor, x0: Tensor | None, reverse: bool = False) -> Tensor:
    """``states_before``, with the end as one row more."""
    from ssmbench.scans.triton.linear_scan import states_before

    states, end = states_before(a, b, x0, reverse=reverse)
    rows = [end[:, None], states] if reverse else [states, end[:, None]]
    return torch.cat(rows, 1)


def problem(shape, dtype, modulus=0.97, varying=False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """a, b, x0 and a gradient for s; a has the modulus, and differs by sign or angle."""
    batch, length, channels = shape
    torch.manual_seed(0)
    size = shape if varying else (channels,)
    if dtype.is_complex:
        a = torch.polar(torch.full(size, modulus), 3 * torch.randn(size))
    else:
        a = modulus * torch.randn(size).sign()
    b = torch.randn(batch, length, channels, dtype=dtype)
    x0 = torch.randn(batch, channels, dtype=dtype)
    return tuple(t.to(DEVICE) for t in (a, b, x0, torch.randn_like(b)))


def run(function, inputs, ds, reverse=False) -> dict[str, Tensor]:
    leaves = [t.detach().clone().requires_grad_() for t in inputs]
    s = function(*leaves, reverse)
    gradients = torch.autograd.grad(s, leaves, ds.to(s.dtype))
    return dict(zip(("s", "da", "db", "dx0"), (s.detach(), *gradients), strict=True))


def in_chunks_of(length: int, monkeypatch) -> None:
    """Three phases even where there are programs enough or the signal is short."""
    from ssmbench.scans.triton import blocks, launch

    def chunks(is_complex, batch, steps, channels):
        narrow = blocks.SCAN["complex" if is_complex else "real"][-1]
        return blocks.in_chunks(narrow, steps, length)

    monkeypatch.setattr(launch, "choose", chunks)


def assert_close(got: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> None:
    for name, reference in wanted.items():
        assert got[name].shape == reference.shape, name
        error = (got[name] - reference).abs().max() / reference.abs().max().clamp(min=1e-30)
        assert error <= tolerance, f"{name}: relative error {error:.2e}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("varying", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_states_and_gradients_at_every_shape(shape, varying, dtype):
    *inputs, ds = problem(shape, dtype, varying=varying)
    assert_close(run(scan, inputs, ds), run(loop, inputs, ds), TOLERANCE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("varying", [False, True])
@pytest.mark.parametrize("length", [1, 66])
def test_reverse(length, varying, dtype):
    *inputs, ds = problem((1, length, 3), dtype, varying=varying)
    assert_close(run(scan, inputs, ds, True), run(loop, inputs, ds, True), TOLERANCE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("varying", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 66])
def test_states_before_and_end(length, reverse, varying, dtype):
    *inputs, _ = problem((1, length, 3), dtype, varying=varying)
    ds = torch.randn(1, length + 1, 3, dtype=dtype, device=DEVICE)
    got, wanted = run(before, inputs, ds, reverse), run(loop_before, inputs, ds, reverse)
    assert_close(got, wanted, TOLERANCE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("varying", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_three_phases(reverse, varying, dtype, monkeypatch):
    """Three chunks, the last of them short, and the chunks themselves scanned in one tile."""
    in_chunks_of(64, monkeypatch)
    *inputs, ds = problem((1, 130, 3), dtype, varying=varying)
    got, wanted = run(scan, inputs, ds, reverse), run(loop, inputs, ds, reverse)
    assert_close(got, wanted, TOLERANCE)


@pytest.mark.parametrize("dtype", DTYPES)
def test_chunks_of_many_tiles_and_tiles_of_many_chunks(dtype, monkeypatch):
    """Chunks longer than a tile; on a GPU also more chunks than a tile has rows."""
    in_chunks_of(100, monkeypatch)
    steps = 300 if INTERPRETED else 20_000
    *inputs, _ = problem((1, steps, 2), dtype, varying=True)
    ds = torch.randn(1, steps + 1, 2, dtype=dtype, device=DEVICE)
    assert_close(run(before, inputs, ds), run(loop_before, inputs, ds), TOLERANCE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("modulus", [0.0, 1e-30, 0.5, 1 - 1e-6, 1.02])
def test_states_and_gradients_at_every_modulus(modulus, dtype, monkeypatch):
    *inputs, ds = problem((1, 70, 5), dtype, modulus)
    wanted = run(loop, inputs, ds)
    if modulus != 0.5:
        in_chunks_of(64, monkeypatch)
    assert_close(run(scan, inputs, ds), wanted, TOLERANCE)


@pytest.mark.parametrize("case", ["real", "complex"])
@pytest.mark.parametrize("choice", [0, 1])
def test_every_block_configuration(case, choice, monkeypatch):
    from ssmbench.scans.triton import launch
    from ssmbench.scans.triton.blocks import SCAN, Plan

    blocks = SCAN[case][choice]
    monkeypatch.setattr(launch, "choose", lambda *sizes: Plan(blocks, sizes[2], 1))
    dtype = torch.complex64 if case == "complex" else torch.float32
    channels = blocks.block_c + (16 if choice == 0 else 3)  # aligned, and not
    *inputs, ds = problem((1, blocks.block_t + 3, channels), dtype)
    assert_close(run(scan, inputs, ds), run(loop, inputs, ds), TOLERANCE)


@pytest.mark.parametrize("varying", [False, True])
def test_bfloat16_is_widened_on_loading(varying):
    """The states are those of the widened inputs, in float32; gradients come back in bfloat16."""
    *inputs, ds = problem((1, 70, 3), torch.float32, varying=varying)
    half = [t.bfloat16() for t in inputs]
    got = run(scan, half, ds)
    wanted = run(loop, [t.float() for t in half], ds)
    assert {t.dtype for t in list(got.values())[1:]} == {torch.bfloat16}
    assert got["s"].dtype == torch.float32
    assert_close({"s": got["s"]}, {"s": wanted.pop("s")}, TOLERANCE)
    assert_close(got, wanted, 2**-8)
    mixed = scan(inputs[0], half[1], None)
    assert_close({"s": mixed}, {"s": loop(inputs[0], half[1], 0 * inputs[2])}, TOLERANCE)


@pytest.mark.skipif(not INTERPRETED, reason="only the interpreter's scans take a row at a time")
@pytest.mark.parametrize("dtype", DTYPES)
def test_scanning_by_rows_changes_no_bit(dtype, interpreted_by_rows, monkeypatch):
    from triton.runtime.interpreter import ScanOps

    *inputs, ds = problem((1, 9, 3), dtype, varying=True)
    got = run(scan, inputs, ds)
    monkeypatch.setattr(ScanOps, "generic_scan", interpreted_by_rows)
    wanted = run(scan, inputs, ds)
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_are_rounded_once(dtype):
    """Products in float32 would be off by up to 64 roundings, and over a long signal by more."""
    from ssmbench.scans.triton.launch import powers

    a, *_ = problem((1, 1, 50), dtype, modulus=0.99999)
    wide = a.to(torch.promote_types(a.dtype, torch.float64))
    for step in (1, 1024):
        wanted = torch.stack([wide ** (step * k) for k in range(1, 65)])
        error = ((powers(a, 64, step) - wanted).abs() / wanted.abs()).max()
        assert error <= 1.01 * 2**-24


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0, 7, 3), (2, 7, 0), (2, 0, 3)])
def test_nothing_to_scan(shape, dtype):
    *inputs, ds = problem(shape, dtype)
    got = run(scan, inputs, ds)
    assert got["s"].shape == shape
    for name, like in zip(("da", "db", "dx0"), inputs, strict=True):
        assert got[name].shape == like.shape
        assert bool((got[name] == 0).all())


@pytest.mark.parametrize("dtype", DTYPES)
def test_strongly_unstable_but_finite(dtype):
    """Ten to the 37 is a float32, and ten to the 64 (the last power of the table) is not."""
    *inputs, ds = problem((1, 37, 3), dtype, modulus=10.0)
    inputs[1] *= 1e-3
    inputs[2] *= 1e-3
    ds *= 1e-37
    assert_close(run(scan, inputs, ds), run(loop, inputs, ds), TOLERANCE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chunk", [None, 128])
def test_zeros_stay_zeros_where_the_powers_are_huge(chunk, dtype, monkeypatch):
    """No zero times infinity: 3.5^64 is 7e34 and 3.5^128 infinite, and silence stays silence."""
    if chunk:
        in_chunks_of(chunk, monkeypatch)
    a, b, x0, ds = problem((1, 280, 3), dtype, modulus=3.5)
    b[:, :270], ds[:, 20:] = 0, 0
    inputs = a, b, torch.zeros_like(x0)
    assert_close(run(scan, inputs, ds), run(loop, inputs, ds), TOLERANCE)
    assert bool((scan(*inputs)[:, :270] == 0).all())


@pytest.mark.parametrize("dtype", DTYPES)
def test_divergence_spreads_to_no_other_channel_or_sequence(dtype):
    a, b, x0, _ = problem((2, 130, 3), dtype)
    a[1], b[1, :, 1], x0[1, 1] = 8.0, 0, 0
    s = scan(a, b, x0)
    wanted = loop(a, b, x0)
    assert not bool(torch.isfinite(s[0, -1, 1].abs()))
    for channel in (0, 2):
        pair = {"s": s[..., channel]}, {"s": wanted[..., channel]}
        assert_close(*pair, TOLERANCE)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_without_that_of_a(dtype):
    """Frozen dynamics take another kernel, that does not read the states."""
    a, b, x0, ds = problem((2, 70, 3), dtype)
    b.requires_grad_()
    x0.requires_grad_()
    db, dx0 = torch.autograd.grad(scan(a, b, x0), (b, x0), ds)
    wanted = run(loop, (a, b, x0), ds)
    del wanted["s"], wanted["da"]
    assert_close({"db": db, "dx0": dx0}, wanted, TOLERANCE)


def test_strided_conjugated_and_negated_inputs():
    """Views that torch only notes down must be carried out before a kernel reads the memory."""
    a, b, x0, ds = problem((2, 37, 3), torch.complex64)
    b = b.transpose(0, 1).contiguous().transpose(0, 1).conj()
    inputs = a.conj(), b, x0.conj()
    assert_close({"s": scan(*inputs)}, {"s": loop(*inputs)}, TOLERANCE)
    # One number is contiguous even as a view of a complex one: copying does not carry it out.
    inputs = a.conj()[:1].imag, b[:1, :1, :1].imag, x0.conj()[:1, :1].imag
    assert any(t.is_neg() and t.is_contiguous() for t in inputs)
    assert_close({"s": scan(*inputs)}, {"s": loop(*inputs)}, TOLERANCE)
    inputs = tuple(t.detach().clone().requires_grad_() for t in (a, b, x0))
    got = torch.autograd.grad(scan(*inputs), inputs, ds.conj().transpose(0, 1).transpose(0, 1))
    wanted = torch.autograd.grad(loop(*inputs), inputs, ds.conj().to(torch.complex128))
    names = ("da", "db", "dx0")
    assert_close(
        dict(zip(names, got, strict=True)), dict(zip(names, wanted, strict=True)), TOLERANCE
    )


def test_expanded_gradient():
    """The gradient of a sum has stride zero."""
    a, b, x0, _ = problem((2, 37, 3), torch.float32)
    b.requires_grad_()
    (got,) = torch.autograd.grad(scan(a, b, x0).sum(), b)
    (wanted,) = torch.autograd.grad(loop(a, b, x0).sum(), b)
    assert_close({"db": got}, {"db": wanted}, TOLERANCE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("varying", [False, True])
@pytest.mark.parametrize("pair", [(scan, loop), (before, loop_before)], ids=["after", "before"])
def test_second_derivatives(pair, varying, dtype):
    """Of a result linear in the states: their own gradient is a constant."""
    *inputs, ds = problem((2, 9, 3), dtype, varying=varying)
    results = []
    for function in pair:
        leaves = [t.detach().clone().requires_grad_() for t in inputs]
        total = (function(*leaves).sum(1) * ds[:, 0]).real.sum()
        first = torch.autograd.grad(total, leaves, create_graph=True)
        second = sum(g.abs().square().sum() for g in first)
        found = torch.autograd.grad(second, leaves)
        results.append(dict(zip(("a", "b", "x0"), found, strict=True)))
    assert_close(*results, 1e-5)


def test_refuses_what_does_not_fit():
    a, b, x0, _ = problem((2, 5, 3), torch.float32)
    for wrong in [(a[:2], b, x0), (a, b[0], x0), (a, b, x0[:1]), (a, b, x0[:, :2])]:
        with pytest.raises(ShapeError, match="needs a"):
            scan(*wrong)
    for wrong in [(a.double(), b.double(), x0.double()), (a, b.to(torch.complex64), x0)]:
        with pytest.raises(ShapeError, match="all complex64, or each float32 or bfloat16"):
            scan(*wrong)
    with pytest.raises(UsageError, match="on one"):
        scan(a, b, x0.to("meta"))
