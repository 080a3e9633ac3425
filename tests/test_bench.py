"""The scan benchmark at small sizes: every backend runs, agrees, and can be written down."""

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from ssmbench import jsonio
from ssmbench.bench import cases, peers, scans
from ssmbench.bench.standing import standings, summary
from ssmbench.bench.timing import copy_bandwidth, kept_bytes, peak_on_cpu
from ssmbench.cli import app
from ssmbench.systems import ContinuousTimeVaryingDiagonal
from tests.builders import build_layer, build_scan

CPU = torch.device("cpu")
#: Float32 against complex128 over 512 steps, gradients of a sum of all outputs included.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def results():
    return list(scans.run(CPU, rounds=1, quick=True))


def test_every_operation_has_our_backends(results):
    operations = {r.operation for r in results}
    assert len(operations) == 6 + 6 + 2  # layers, linear scans, bfloat16 input
    for operation in operations - {"delta rule"}:  # which chunks of time do not make cheaper
        assert {"cpu", "chunked"} <= {r.backend for r in results if r.operation == operation}


def test_outputs_and_every_gradient_agree_with_double_precision(results):
    compared = [r for r in results if r.errors is not None]
    assert len(compared) >= 22
    for result in compared:
        assert len(result.errors) >= 3
        for name, error in result.errors.items():
            # gradients of inputs in bfloat16 are rounded to it, outputs are not
            half = "bfloat16" in result.dtype and name in ("da", "db", "du")
            assert error < (2**-8 if half else TOLERANCE), (result, name)


def test_bytes_that_must_move_are_the_floors():
    """Bytes an element, forward and both: inputs read once, outputs written once."""
    by_operation = {case.operation: case for case in cases.cases(quick=True)}
    expected = {
        "fused diagonal layer, single-channel bank": (8, 20),
        "fused diagonal layer, single-channel bank, bfloat16 input": (6, 20 - 6),
        "selective layer, sampled and scanned": (12 + 2, 32 + 6),
        "linear scan, states written, complex": (16, 40),
        "linear scan, states written, complex, reverse": (16, 40),
        "linear scan, states written, complex, a varies": (24, 64),
        "linear scan, states written, real, a varies": (12, 32),
        "linear scan, states written, real, bfloat16 input": (6, 16),
    }
    for operation, (forward, both) in expected.items():
        case = by_operation[operation]
        numbers = case.batch * case.length * case.channels
        assert (case.forward_bytes, case.both_bytes) == (forward * numbers, both * numbers)


def test_reverse_and_varying_scans_are_what_they_say():
    a, b = torch.rand(1, 3, 1), torch.ones(1, 3, 1)
    s = cases.Kind(varies=True, reverse=True).scan("cpu")(a, b)
    assert torch.allclose(s[0, 0], 1 + a[0, 0] * (1 + a[0, 1]))


def test_mambas_selective_scan_is_given_the_same_system(monkeypatch):
    """Against a stand-in that follows its documentation: real parts doubled, u[k] in state k."""

    def selective_scan_fn(u, delta, A, B, C, D):
        state, outputs = 0, []
        for k in range(u.shape[-1]):
            state = torch.exp(delta[:, :, k, None] * A) * state + B * u[:, :, k, None]
            outputs.append(2 * (C * state).sum(-1).real + D * u[:, :, k])
        return torch.stack(outputs, -1)

    module = SimpleNamespace(selective_scan_fn=selective_scan_fn)
    monkeypatch.setattr(peers, "importable", lambda name: module)
    system = build_layer("s4d", "zoh", d_model=3, seed=0).system().detach()
    u = torch.randn(2, 9, 3, 1)
    y = peers.selective_scan(system, u).run().transpose(1, 2)
    ours, _ = build_scan("reference")(system, u, None)
    direct = system.D[:, 0, 0] * u[..., 0]
    assert torch.allclose((y - direct)[:, :-1], (ours[..., 0] - direct)[:, 1:], atol=1e-5)


def test_the_fft_baseline_computes_the_same_layer(results):
    (fft,) = [r for r in results if r.backend == "fft convolution"]
    assert fft.errors["y"] < 1e-5


def test_results_are_json_and_rows_have_no_empty_cell(results):
    assert jsonio.loads(json.dumps(scans.as_dicts(results), allow_nan=False))
    for result in results:
        row = scans.row(result)
        assert len(row) == len(scans.COLUMNS)
        assert all(row)


def test_peak_memory_is_that_of_the_allocations_and_the_same_twice():
    def four_megabytes_twice_at_once():
        first = torch.ones(2**20)
        second = first * 2
        del first
        return second + 1

    for _ in range(2):
        assert peak_on_cpu(four_megabytes_twice_at_once) == pytest.approx(2 * 2**22, rel=0.01)


def test_the_profiler_writes_nothing_to_standard_error():
    """In a process of its own: the profiler's library reads its log level once."""
    program = (
        "import torch; from ssmbench.bench.timing import peak_on_cpu; "
        "print(peak_on_cpu(lambda: torch.ones(2**20)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == (f"{2**22}\n", "")


def test_every_candidate_allocates_something(results):
    ours = [result for result in results if result.errors is not None]
    assert ours
    assert all(result.peak_bytes is None or result.peak_bytes > 0 for result in ours)
    assert any(result.peak_bytes for result in ours)


def test_what_is_kept_for_the_backward_pass_is_counted_once():
    u = torch.ones(2**10, requires_grad=True)
    assert kept_bytes(lambda: u * u + u[:5].sum()) == 4 * 2**10  # u, twice
    assert kept_bytes(lambda: (u.exp() * u).sum()) == 2 * 4 * 2**10  # u and its exponential


def test_bytes_are_those_of_a_step_and_channel(results):
    """A bank keeps its input and little else: 4 bytes of float32."""
    (row,) = (
        r
        for r in results
        if r.backend == "cpu"
        and r.operation.endswith("single-channel bank")
        and r.operation.startswith("fused")
    )
    assert 4 <= row.kept_bytes < 40
    assert row.peak_bytes > row.kept_bytes


def _timed(operation, backend, both, length=64):
    return {
        "operation": operation, "backend": backend, "both_ms": both,
        "batch": 1, "length": length, "channels": 2, "states": 3,
    }  # fmt: skip


def test_the_best_of_ours_stands_beside_the_best_peer_of_the_same_size():
    rows = [
        _timed("bank", "chunked", 9.0),
        _timed("bank", "cpu", 6.0),
        _timed("bank", "somebody", 3.0),
        _timed("bank", "somebody else", 12.0),
        _timed("bank", "cpu", 1.0, length=128),
        _timed("dense", "cpu", 1.0),
        _timed("dense", "somebody", 2.0),
    ]
    first, alone, last = standings(rows)
    assert (first.ours["backend"], first.peer["backend"], first.ratio) == ("cpu", "somebody", 2.0)
    assert (alone.peer, alone.ratio, alone.behind) == (None, None, False)
    assert (last.ratio, last.behind) == (0.5, False)
    assert summary([first, alone, last])[-1] == "behind the best peer: bank (1, 64, 2, 3)"
    assert summary([last])[-1] == "behind the best peer: none"


def test_mambas_reference_is_given_the_same_layer(monkeypatch):
    """Against a stand-in that follows its documentation, with the state's shift and Euler's B."""

    def selective_scan_ref(u, delta, A, B, C, D):
        state, outputs = 0, []
        for k in range(u.shape[-1]):
            gate = torch.exp(delta[:, :, k, None] * A)
            state = gate * state + delta[:, :, k, None] * B[:, None, :, k] * u[:, :, k, None]
            outputs.append((C[:, None, :, k] * state).sum(-1) + D * u[:, :, k])
        return torch.stack(outputs, -1)

    module = SimpleNamespace(selective_scan_ref=selective_scan_ref)
    monkeypatch.setattr(peers, "importable", lambda name: module)
    system = ContinuousTimeVaryingDiagonal(
        lam=-torch.rand(1, 1, 3, 4),
        B=torch.randn(2, 9, 1, 4, 1),
        C=torch.randn(2, 9, 1, 1, 4),
        D=torch.randn(3, 1, 1),
        dt=torch.rand(2, 9, 3),
    )
    u = torch.randn(2, 9, 3, 1)
    y = peers.mamba_reference(system, u).run().mT[..., None]
    state, expected = 0, []
    for k in range(9):
        dt = system.dt[:, k, :, None]
        drive = dt * system.B[:, k, :, :, 0] * u[:, k]
        state = torch.exp(dt * system.lam[0, 0]) * state + drive
        expected.append((system.C[:, k, :, 0] * state).sum(-1) + system.D[:, 0, 0] * u[:, k, :, 0])
    assert torch.allclose(y[..., 0], torch.stack(expected, 1), atol=1e-6)


def test_the_verb_answers_where_a_peer_is_faster(results, monkeypatch, capsys):
    """On standard output; the FFT convolution is a peer that is always there."""
    monkeypatch.setattr(scans, "run", lambda *_, **__: iter(results))
    app(["bench", "scans"], standalone_mode=False)
    answer = capsys.readouterr().out
    assert "times as long as fft convolution" in answer
    assert "behind the best peer" in answer


def test_a_case_that_is_killed_is_named_and_the_others_are_measured(monkeypatch, capsys):
    """As where memory runs out, in a process of its own."""

    def measured(case, device, rounds):
        if case.operation == "delta rule":
            os.kill(os.getpid(), signal.SIGKILL)
        return [case.operation]

    monkeypatch.setattr(scans, "_measured", measured)
    found = list(scans.run(CPU, 1, True, apart=True))
    operations = [case.operation for case in cases.cases(quick=True)]
    assert found == [name for name in operations if name != "delta rule"]
    assert "delta rule (2, 512, 64, 16): its process was killed" in capsys.readouterr().err


def test_a_copy_moves_bytes():
    assert copy_bandwidth(2**20, rounds=1, device=CPU) > 0


def test_only_scans_can_be_timed():
    from ssmbench.errors import UsageError

    with pytest.raises(UsageError, match="only scans can be timed"):
        app(["bench", "kernels"], standalone_mode=False)
