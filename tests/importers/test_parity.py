"""The imported network's outputs equal those of the published equations, to 1e-9 in float64."""

import numpy as np
import pytest
import torch

from ssmbench import registry
from ssmbench.build.network import build_network
from ssmbench.config import build, resolve, resolve_component, typed
from ssmbench.importers.base import convert
from ssmbench.importers.files import checkpoint_of
from ssmbench.importers.weights import Weights
from ssmbench.spec import TaskSizes
from tests.importers import published
from tests.importers.published_neural_ssm import deep_ssm

LENGTH = 11


def imported(layout, arrays, **options):
    """The network of these arrays, in double precision."""
    component = resolve_component(registry.importers, {"name": layout, **options}, "import")
    weights = Weights(checkpoint_of(arrays, "here"), "here")
    found = convert(build(registry.importers, component), weights, layout)
    run = typed(resolve({"model": dict(found.model)}))
    sizes = TaskSizes(found.input, found.outputs, LENGTH, found.per_step)
    network = build_network(run, sizes).double().eval()
    network.load_state_dict(dict(found.state))
    return network


def agree(network, u, expected):
    with torch.no_grad():
        y = network(torch.from_numpy(u)).numpy()
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-9 * max(1, np.abs(expected).max()))


def numbers(arrays):
    """How many numbers of a checkpoint are trained."""
    fixed = ("batch_stats", "running_", "num_batches", "l_kernel", "norm.mean", "norm.var")
    return sum(a.size for name, a in arrays.items() if not any(f in name for f in fixed))


def signals(seed=0):
    return np.random.default_rng(seed).standard_normal((2, LENGTH, published.INPUTS))


S5 = [
    {},
    {"bidirectional": "two"},
    {"bidirectional": "one"},
    {"discretization": "bilinear"},
    {"conj_sym": False, "norm": "layer", "pooling": "last"},
    {"clip_eigs": True, "unstable": True, "prenorm": False},
    {"unstable": True, "pooling": "none"},
    {"unstable": True, "discretization": "bilinear", "bidirectional": "two"},
    {"activation": "full_glu"},
    {"activation": "half_glu2"},
    {"activation": "gelu"},
]
#: What the published code has as arguments and what the keys show.
SHOWN = {"bidirectional", "unstable"}


@pytest.mark.parametrize("case", S5, ids=str)
def test_s5(case):
    u = signals()
    arrays, y = published.s5(1, u, **case)
    options = {key: value for key, value in case.items() if key not in SHOWN}
    network = imported("s5", arrays, **options)
    agree(network, u, y)
    sampled = bool(case.get("unstable")) and not case.get("clip_eigs")
    assert (network.layers[0].discretizer is None) is sampled
    assert sampled or network.parameter_count() == numbers(arrays)


@pytest.mark.parametrize(
    "case",
    [{}, {"norm": "layer", "prenorm": False}, {"pooling": "last"}, {"pooling": "none"}],
    ids=str,
)
def test_lru(case):
    u = signals()
    arrays, y = published.lru(2, u, **case)
    network = imported("lru", arrays, **case)
    agree(network, u, y)
    assert network.parameter_count() == numbers(arrays)


def test_lru_with_a_pole_next_to_the_unit_circle():
    u = signals()
    arrays, y = published.lru(2, u, edge=True)
    network = imported("lru", arrays)
    agree(network, u, y)
    with torch.no_grad():
        radius = network.layers[0].system().spectral_radius().max().item()
    assert radius == pytest.approx(1 - 1e-9, abs=1e-13)


@pytest.mark.parametrize("discretization", ["IM", "IMEX"])
@pytest.mark.parametrize("pooling", ["mean", "none"])
def test_linoss(discretization, pooling):
    u, case = signals(), {"discretization": discretization, "pooling": pooling}
    arrays, y = published.linoss(3, u, **case)
    agree(imported("linoss", arrays, **case), u, y)


EXAMPLE = [
    {},
    {"prenorm": True},
    {"form": "diag"},
    {"form": "real"},
    {"form": "diag", "bidirectional": True},
    {"form": "dplr", "stored": 16},
    {"form": "dplr", "stored": 0, "rank": 2, "bidirectional": True},
]


@pytest.mark.parametrize("case", EXAMPLE, ids=str)
def test_s4_example(case):
    u = signals()
    arrays, y = published.s4_example(4, u, **case)
    network = imported("s4", arrays, prenorm=case.get("prenorm", False))
    agree(network, u, y)
    assert network.parameter_count() == numbers(arrays)


FULL = [
    {},
    {"norm": "batch", "prenorm": False, "n_ssm": 2},
    {"norm": "scalar"},
    {"form": "dplr", "stored": 16, "bidirectional": True},
    {"form": "diag", "bidirectional": True, "disc": "bilinear"},
    {"transform": "exp", "disc": "bilinear"},
]


@pytest.mark.parametrize("case", FULL, ids=str)
def test_s4_full(case):
    u = signals()
    arrays, y = published.s4_full(5, u, **case)
    options = {"disc": case.get("disc", "zoh"), "dt_transform": case.get("transform", "auto")}
    network = imported("s4", arrays, **options)
    agree(network, u, y)
    scalar = case.get("norm") == "scalar"  # a weight and a bias for each feature of a norm
    assert network.parameter_count() == numbers(arrays) + scalar * 3 * 2 * (published.H - 1)


def test_s4_full_with_tokens():
    tokens = np.random.default_rng(0).integers(0, 6, (2, LENGTH))
    arrays, y = published.s4_full(6, tokens, vocabulary=6)
    agree(imported("s4", arrays), tokens, y)


NEURAL_SSM = [
    {"cell": "lru", "branch": "MLP"},
    {"cell": "lru", "branch": "GLU", "gates": "channel"},
    {"cell": "l2n", "branch": "LGLU2", "gates": "one"},
    {"cell": "l2n", "branch": "LGLU2", "gates": "channel", "gamma": 2.0},
    {"cell": "l2ru", "branch": "LGLU2", "gamma": 30.0},
]


@pytest.mark.parametrize("case", NEURAL_SSM, ids=str)
def test_neural_ssm(case):
    u = signals()
    arrays, y = deep_ssm(8, u, **case)
    agree(imported("neural-ssm", arrays), u, y)
