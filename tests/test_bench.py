"""The scan benchmark at small sizes: every backend runs, agrees, and can be written down."""

import json

import pytest
import torch

from ssmbench.bench import scans
from ssmbench.bench.timing import _peak_on_cpu, copy_bandwidth
from ssmbench.cli import app

CPU = torch.device("cpu")
#: Float32 against complex128 over 512 steps, gradients of a sum of all outputs included.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def results():
    return list(scans.run(CPU, rounds=1, quick=True))


def test_every_operation_has_our_backends(results):
    operations = {r.operation for r in results}
    assert len(operations) == 5
    for operation in operations:
        assert {"cpu", "chunked"} <= {r.backend for r in results if r.operation == operation}


def test_outputs_and_every_gradient_agree_with_double_precision(results):
    compared = [r for r in results if r.errors is not None]
    assert len(compared) >= 10
    for result in compared:
        assert len(result.errors) >= 3
        assert max(result.errors.values()) < TOLERANCE, (result.operation, result.backend)


def test_the_fft_baseline_computes_the_same_layer(results):
    (fft,) = [r for r in results if r.backend == "fft convolution"]
    assert fft.errors["y"] < 1e-5


def test_results_are_json_and_rows_have_no_empty_cell(results):
    assert json.loads(json.dumps(scans.table(results), allow_nan=False))
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
        assert _peak_on_cpu(four_megabytes_twice_at_once) == pytest.approx(2 * 2**22, rel=0.01)


def test_every_contestant_allocates_something(results):
    ours = [result for result in results if result.errors is not None]
    assert ours
    assert all(result.peak_mb is None or result.peak_mb > 0 for result in ours)
    assert any(result.peak_mb for result in ours)


def test_a_copy_moves_bytes():
    assert copy_bandwidth(2**20, rounds=1, device=CPU) > 0


def test_only_scans_can_be_timed():
    from ssmbench.errors import UsageError

    with pytest.raises(UsageError, match="can only time scans"):
        app(["bench", "kernels"], standalone_mode=False)
