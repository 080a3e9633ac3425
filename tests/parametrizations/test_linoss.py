"""LinOSS with its two integrators, against the recurrences of the paper."""

import math

import pytest
import torch

from ssmbench import registry
from ssmbench.analysis.gain import analyse
from ssmbench.errors import UsageError
from ssmbench.nn.initial_state import InitialState
from ssmbench.parametrizations.linoss import LinOSS, LinOSSConfig, Stiffness
from ssmbench.systems import ContinuousDiagonal, DiscreteDense, DiscreteDiagonal
from tests.builders import build_layer


def backward_euler(system):
    return registry.discretizers.get("backward_euler").build()(system)


def symplectic_euler(system):
    return registry.discretizers.get("symplectic_euler").build()(system)


def of_the_paper(module, u, implicit):
    """z = z + Delta (-a y + B u), y = y + Delta z, with a y new (IM) or old (IMEX)."""
    exponential = module.constraint is Stiffness.exp
    a = module.stiffness.exp() if exponential else module.stiffness.relu()
    step = module.step.sigmoid()
    y = z = torch.zeros_like(a)
    outputs = []
    for now in u:
        outputs.append(module.C @ y + module.D * now)
        force = module.B @ now
        if implicit:
            z = (z + step * (force - a * y)) / (1 + step**2 * a)
        else:
            z = z + step * (force - a * y)
        y = y + step * z
    return torch.stack(outputs)


def module_of(d_model=3, **options):
    torch.manual_seed(0)
    return LinOSS(LinOSSConfig(**options), d_model=d_model).double()


def outputs(discrete, u):
    y, _ = registry.scans.get("reference").build()(discrete, u[None, :, None], None)
    return y[0, :, 0]


@pytest.mark.parametrize("constraint", list(Stiffness))
@pytest.mark.parametrize("implicit", [True, False], ids=["IM", "IMEX"])
def test_output_is_that_of_the_papers_recurrence(constraint, implicit):
    module = module_of(d_state=8, constraint=constraint)
    u = torch.randn(60, 3, dtype=torch.float64)
    discrete = (backward_euler if implicit else symplectic_euler)(module())
    expected = of_the_paper(module, u, implicit)
    torch.testing.assert_close(outputs(discrete, u), expected, rtol=1e-9, atol=1e-10)


def test_moduli_of_the_two_models():
    module = module_of(d_state=16)
    scaled = module.step.sigmoid() ** 2 * module.stiffness.exp()
    torch.testing.assert_close(backward_euler(module()).lam[0].abs(), (1 + scaled) ** -0.5)
    imex = symplectic_euler(module())
    assert isinstance(imex, DiscreteDiagonal)
    torch.testing.assert_close(imex.lam[0].abs(), torch.ones_like(scaled), rtol=0, atol=1e-14)


def test_gains_of_the_two_models():
    system = module_of(d_state=16)()
    im, imex = (analyse(f(system)) for f in (backward_euler, symplectic_euler))
    assert im.stable
    assert math.isfinite(im.hinf)
    assert not imex.stable
    assert imex.hinf == imex.hinf_upper_bound == math.inf


@pytest.mark.parametrize("name", ["zoh", "symplectic_euler", "stormer_verlet"])
@pytest.mark.parametrize("stiffness", [-1.0, 0.0, 20.0])
def test_relu_and_large_stiffness_train_on(name, stiffness):
    """a = 0 has no eigenvectors, and 20 is beyond every limit of the step size."""
    module = LinOSS(LinOSSConfig(d_state=8, constraint=Stiffness.relu), d_model=3)
    with torch.no_grad():
        module.stiffness[0] = stiffness
    layer = build_layer(module, name)
    pairs = name == "zoh" and stiffness > 0
    assert isinstance(layer.system(), DiscreteDiagonal if pairs else DiscreteDense)
    y = layer(torch.randn(2, 12, 3))
    y.square().mean().backward()
    assert torch.isfinite(y).all()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())


def test_stiffness_and_steps_start_as_published():
    for constraint in Stiffness:
        module = module_of(d_state=2000, constraint=constraint)
        system = module()
        a = (system.a / module.step.sigmoid() ** 2)[0]
        assert 0 <= a.min() < 0.01
        assert 0.99 < a.max() <= 1 + 1e-9
        assert a.mean().item() == pytest.approx(0.5, abs=0.03)
        assert module.step.sigmoid().min() >= 0.5
        assert module.step.sigmoid().max() <= torch.tensor(1.0).sigmoid()


@pytest.mark.parametrize(("d_state", "says"), [(0, "positive"), (5, "even")])
def test_impossible_options_are_refused(d_state, says):
    with pytest.raises(UsageError, match=says):
        registry.parametrizations.get("linoss").build(LinOSSConfig(d_state=d_state), d_model=2)


def with_stiffness(values, discretizer, d_model=3, **options):
    """A layer of double precision with these a, by the published constraint."""
    config = LinOSSConfig(d_state=2 * len(values), constraint=Stiffness.relu)
    torch.manual_seed(0)
    module = LinOSS(config, d_model=d_model)
    with torch.no_grad():
        module.stiffness.copy_(torch.tensor(values))
    return build_layer(module, discretizer, **options).double()


DISCRETIZERS = [e.name for e in registry.discretizers]


@pytest.mark.parametrize("name", DISCRETIZERS)
def test_an_oscillator_at_zero_leaves_the_others_modes(name):
    """The layer's output is that of the dense system, scanned step by step."""
    layer = with_stiffness([0.5, 0.0, 1.0, -1.0, 0.2], name)
    system = layer.system()
    assert isinstance(system, DiscreteDense)
    assert system.pairs == (0, 2, 4)
    u = torch.randn(2, 40, 3, dtype=torch.float64)
    x0 = torch.randn(2, 1, 10, dtype=torch.float64)
    found = layer.run(u, x0)
    expected = registry.scans.get("reference").build()(system, u[:, :, None], x0)
    torch.testing.assert_close(found[0], expected[0][:, :, 0], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", DISCRETIZERS)
def test_the_mixed_system_has_the_response_of_the_whole_in_dense_form(name):
    method = registry.discretizers.get(name).build()
    if not method.samples(ContinuousDiagonal):
        pytest.skip("has no dense form of its own; its recurrence is the oracle above")
    layer = with_stiffness([0.5, 0.0, 1.0, 0.2], name)
    dense = method(layer.parametrization().to_dense())
    omega = torch.linspace(0.3, 3.0, 9, dtype=torch.float64)
    found = layer.system().frequency_response(omega)
    torch.testing.assert_close(found, dense.frequency_response(omega), rtol=1e-9, atol=1e-10)


def test_gradients_of_the_mixed_system_are_those_of_the_recurrence():
    layer = with_stiffness([0.5, 0.0, 1.0], "symplectic_euler")
    module, u = layer.parametrization, torch.randn(20, 3, dtype=torch.float64)
    results = layer(u[None])[0], of_the_paper(module, u, implicit=False)
    gradients = [torch.autograd.grad(y.square().sum(), list(module.parameters())) for y in results]
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("before", [0.5, 0.0])
def test_the_state_fits_when_an_oscillator_becomes_critical_or_ceases_to_be(before):
    """A learned initial state and the state of a stream have two numbers for each oscillator."""
    layer = with_stiffness([before, 1.0], "zoh", initial_state=InitialState.learned)
    torch.nn.init.normal_(layer.x0)
    u = torch.randn(2, 8, 3, dtype=torch.float64)
    y, state = layer.run(u)
    with torch.no_grad():
        layer.parametrization.stiffness[0] = 0.5 - before
    again, _ = layer.run(u, state)
    assert again.shape == y.shape
    layer(u).sum().backward()
    assert layer.x0.grad.isfinite().all()


@pytest.mark.parametrize("name", ["zoh", "symplectic_euler"])
def test_banks_of_parameters_have_systems_of_one_form(name):
    """Under vmap no oscillator's kind can be asked for; the Markov parameter C A B is the same."""
    layer = with_stiffness([0.5, 0.0, 1.0], name)
    module, method = layer.parametrization, layer.discretizer
    stacked = {key: torch.stack([p, p]) for key, p in module.named_parameters()}

    def markov(parameters):
        system = method(torch.func.functional_call(module, parameters, ()))
        return system.C @ system.A @ system.B

    system = method(module())
    expected = (system.C @ system.A @ system.B).expand(2, -1, -1, -1)
    torch.testing.assert_close(torch.func.vmap(markov)(stacked), expected, rtol=1e-9, atol=1e-10)
