"""LinOSS with its two integrators, against the recurrences of the paper."""

import math

import pytest
import torch

from ssmbench import registry
from ssmbench.analysis.gain import analyse
from ssmbench.errors import UsageError
from ssmbench.nn.layer import SSMLayer
from ssmbench.parametrizations.linoss import LinOSS, LinOSSConfig, Stiffness
from ssmbench.systems import DiscreteDense, DiscreteDiagonal


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
    layer = SSMLayer(
        module,
        registry.discretizers.get(name).build(),
        registry.scans.get("auto").build(),
    )
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


@pytest.mark.parametrize("d_state", [0, 5])
def test_impossible_options_are_refused(d_state):
    with pytest.raises(UsageError, match="even"):
        LinOSS(LinOSSConfig(d_state=d_state), d_model=2)
