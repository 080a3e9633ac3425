"""Triton's kernels of sampling beside the discretizers' own operations.

As in ``test_triton_kernels.py``, machines without a GPU run this in Triton's interpreter.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ssmbench import registry
from ssmbench.scans import sampling
from ssmbench.systems import ContinuousDiagonal, DiscreteDiagonal, ElementwiseRule, Rule
from tests.scans.interpreter import DEVICE, skip_module_without_kernels
from tests.scans.test_sampling import METHODS, assert_close, gradients, leaves, system_of

skip_module_without_kernels()

pytestmark = [
    pytest.mark.filterwarnings("ignore:(overflow|invalid|divide):RuntimeWarning"),
    pytest.mark.usefixtures("fresh_memory_is_nan"),
]


@pytest.fixture(autouse=True)
def _kernels(monkeypatch):
    """Those of Triton, also for tensors on a CPU."""
    monkeypatch.setattr(sampling, "_kernels", lambda tensor: sampling.in_triton)


def both(method: str, tensors: dict[str, Tensor]) -> tuple[DiscreteDiagonal, DiscreteDiagonal]:
    """The system sampled by the kernels and by separate operations."""
    discretizer, system = registry.discretizers.get(method).build(), system_of(tensors)
    return sampling.sampled(system, discretizer.sampling()), discretizer(system)


def moved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.detach().to(DEVICE).requires_grad_() for name, t in tensors.items()}


@pytest.mark.parametrize("inputs", [1, 11])
@pytest.mark.parametrize("method", METHODS)
def test_systems_and_every_gradient_are_those_of_separate_operations(method, inputs):
    """To a rounding of float32: both compute in double precision. Of 70 modes, in two tiles where
    there is one input, in five where there are several."""
    tensors = leaves(torch.complex64, inputs=inputs)
    wide = {"lam": (1, 7), "B": (1, 7, 1), "C": (1, 1, 7)}
    tensors = moved({k: t.repeat(wide[k]) if k in wide else t for k, t in tensors.items()})
    found, wanted = both(method, tensors)
    assert_close(found.tensors().values(), wanted.tensors().values(), 2**-23)
    assert_close(gradients(found, tensors), gradients(wanted, tensors), 2**-22)


#: With places of a stage that are no numbers of float32.
RULES = [
    *(registry.discretizers.get(method).build().sampling() for method in METHODS),
    ElementwiseRule(Rule.one_stage, 0.3, 0.7),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_outputs_of_both_kinds_of_kernels_agree_in_double_precision(rule):
    """k, f and the factor of B, which are not rounded."""
    form = rule.rule.value, float(rule.alpha), float(rule.c)
    tensors = {name: t.detach() for name, t in leaves(torch.complex64).items()}
    given = [tensors[name] for name in ("lam", "B", "dt")]
    here = [x.to(DEVICE) for x in given]
    found, wanted = sampling._results(*here, *form), sampling._results(*given, *form)
    sampling.in_triton.sample_modes(tuple(here), form, found)
    sampling.in_c.sample_modes(tuple(given), form, wanted)
    for one, other in zip(found[2:], wanted[2:], strict=True):
        assert torch.allclose(one.cpu(), other, rtol=1e-13, atol=1e-300)


def test_real_systems():
    tensors = moved(leaves(torch.float32))
    found, wanted = both("zoh", tensors)
    assert_close(found.tensors().values(), wanted.tensors().values(), 2**-23)
    assert_close(gradients(found, tensors), gradients(wanted, tensors), 2**-22)


@pytest.mark.parametrize("method", ["zoh", "tustin", "bilinear"])
def test_poles_stay_on_their_side_of_the_unit_circle(method):
    """1 - |lam| below what float32 resolves, on both sides."""
    decay = torch.logspace(-12, -5, 40)
    lam = torch.complex(torch.cat([-decay, decay]), torch.linspace(-3, 3, 80))[None].to(DEVICE)
    ones = torch.ones(1, 80, 1, dtype=lam.dtype, device=DEVICE)
    rest = {"D": torch.zeros(1, 1, 1, device=DEVICE), "dt": torch.ones(1, device=DEVICE)}
    system = ContinuousDiagonal(lam=lam, B=ones, C=ones.mT, conjugate=True, **rest)
    rule = registry.discretizers.get(method).build().sampling()
    modulus = sampling.sampled(system, rule).lam.to(torch.complex128).abs()
    assert bool((modulus[:, :40] < 1).all() and (modulus[:, 40:] >= 1).all())


def test_second_derivatives():
    tensors, seconds = moved(leaves(torch.complex64)), []
    for system in both("tustin", tensors):
        first = gradients(system, tensors, create_graph=True)
        total = torch.stack([g.abs().square().sum() for g in first]).sum()
        seconds.append(torch.autograd.grad(total, list(tensors.values()), allow_unused=True))
    kept = [k for k, g in enumerate(seconds[1]) if g is not None]
    found, wanted = ([gs[k] for k in kept] for gs in seconds)
    assert_close(found, wanted, 1e-5)
