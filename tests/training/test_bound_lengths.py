"""The tighter bound by numbers of samples: framed networks, and batches of several lengths."""

from __future__ import annotations

import pytest
import torch

from ssmbench.analysis.certificate import Bound
from ssmbench.analysis.pair_gains import PairGains
from ssmbench.build.network import build_network
from ssmbench.build.task import build_task
from ssmbench.config import resolve, typed
from ssmbench.nn.freeze import freeze
from ssmbench.results import LayerGains
from ssmbench.tasks.batch import Batch
from ssmbench.training.certificates import _pairs
from ssmbench.training.composed import known_pairs
from ssmbench.training.network_bound import tighter_bound

LENGTHS = (4, 9, 10, 16, 33)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = {"d_model": 4, "n_layers": 2, "frame": 8, "pooling": "mean", "gamma": 5.0}
    model |= {"parametrization": {"name": "contraction", "d_state": 4}}
    run = typed(resolve({"task": "digits", "model": model}))
    return build_network(run, build_task(run).sizes).eval().double()


@pytest.fixture(scope="module")
def tighter(network):
    return tighter_bound(freeze(network), Bound(5.0), [1.0, 1.0], 1, LENGTHS, 1.0)


def test_each_number_of_samples_has_the_ellipsoid_of_its_frames(tighter):
    assert tighter.lengths == LENGTHS
    assert len(tighter.ellipsoids) == len(LENGTHS)
    assert (tighter.ellipsoids[1] == tighter.ellipsoids[2]).all(), "9 and 10 samples fill 2 frames"
    sizes = [S.trace() for S in tighter.ellipsoids]
    assert sizes[0] > sizes[1] > sizes[4], "the mean over more frames has a smaller gain"


@pytest.mark.parametrize("length", LENGTHS)
def test_it_holds_for_sequences_of_this_length(network, tighter, length):
    """The largest change of every difference of outputs, at a random point and in its linear part;
    the ellipsoid of the longest sequences does not hold for the shortest."""
    S = tighter.ellipsoids[LENGTHS.index(length)]
    torch.manual_seed(1)
    u = torch.randn(1, length, 1, dtype=torch.float64)
    J = torch.autograd.functional.jacobian(lambda v: network(v).flatten(), u).flatten(1)
    pairs = PairGains.of_ellipsoid(torch.from_numpy(S)).matrix
    changes = torch.linalg.vector_norm(J[:, None] - J, dim=-1)
    assert bool((changes <= pairs * (1 + 1e-9)).all())
    if length == min(LENGTHS):
        lie = PairGains.of_ellipsoid(torch.from_numpy(tighter.ellipsoids[-1])).matrix
        assert not bool((changes <= lie).all())


def test_a_batch_of_known_lengths_has_the_largest_of_their_gains(network, tighter):
    known = known_pairs(tighter)
    assert known is not None
    signals = torch.zeros(2, 33, 1)
    of_one = LayerGains(1.0, 1.0, 0.0, 0.0, 0.9, 0.1, verified_bound=1.0)
    product = network.pair_gains([1.0, 1.0], 4).matrix

    def of(*lengths: int):
        batch = Batch(signals, torch.zeros(2), torch.tensor(lengths))
        return _pairs(network, [of_one] * 2, batch, signals, known).matrix

    each = [PairGains.of_ellipsoid(torch.from_numpy(S)).matrix for S in tighter.ellipsoids]
    assert torch.allclose(known.gains.matrix, torch.stack(each).amax(0))
    assert torch.equal(of(4, 33), torch.minimum(known.gains.matrix, product))
    assert torch.equal(of(4, 32), product), "nothing is known of sequences of 32 samples"
