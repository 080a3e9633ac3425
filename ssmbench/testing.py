"""The conformance kit: what every registered thing must keep, checked by measurement.

A plugin author runs ``conform(entry)`` in a test; ssmbench's own tests run it over the whole
registry. A check raises :class:`AssertionError` with what was promised and what was measured.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ssmbench import registry
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.config import OptimizerConfig
from ssmbench.discretizers.base import Discretizer
from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.normalisers.base import Normaliser
from ssmbench.parametrizations.base import Parametrization
from ssmbench.registry import Entry
from ssmbench.scans.base import ScanBackend, Scannable
from ssmbench.systems import (
    ContinuousDiagonal,
    ContinuousOscillator,
    ContinuousSystem,
    DiscreteDense,
    DiscreteDiagonal,
    DiscreteSystem,
    LinearSystem,
)
from ssmbench.testing_oscillators import (
    as_oscillator,
    check_free_motion,
    check_oscillators_agree,
)
from ssmbench.testing_time_varying import (
    conform_time_varying,
    example_time_varying_systems,
    gradient_of_views,
)
from ssmbench.training.measure import TOLERANCE

#: Float32 scans against complex128: rounding of some hundred steps.
_SCAN_TOLERANCE = 2e-5
#: Gradients of inputs in bfloat16 are rounded to it once, at the end: by one unit at the most.
_HALF_TOLERANCE = 2**-8


def conform(entry: Entry, seed: int = 0, config: Any = None) -> None:
    """Check an entry of any kind against its contract.

    ``config``, an instance of a task's config class, takes the place of the defaults: a task that
    comes without data needs one that names a folder of them.

    Raises:
        AssertionError: a promise is broken.
    """
    if config is not None:
        factory = entry.factory
        entry = dataclasses.replace(entry, factory=lambda _, **sizes: factory(config, **sizes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _CHECKS[entry.kind](entry)


# --- parametrizations ---------------------------------------------------------------------------


def conform_parametrization(entry: Entry[Parametrization]) -> None:
    """System type, channels, gradients, stability and declared gain over random parameters."""
    if entry.build(d_model=1).needs_input:
        conform_time_varying(entry)
        return
    for d_model in (1, 4):
        module = entry.build(d_model=d_model)
        _check_system(module, d_model)
        _check_gradients(module)
        _check_options(module)
        assert _same(module(), module()), f"{entry.name}: two calls give different systems"
    for scale in (0.1, 1.0, 10.0):
        randomise(module, scale)
        check_promises(module, f"{entry.name} with parameters of scale {scale}")
    if entry.build(d_model=4).declared_gain() is not None:
        _check_long_memory(entry.build(d_model=4), entry.name)


def randomise(module: torch.nn.Module, scale: float) -> None:
    """Draw every parameter from a normal distribution of the given scale."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, scale)


def check_promises(module: Parametrization, name: str) -> None:
    """Stability by construction and the declared gain, for the present parameters."""
    with torch.no_grad():
        system = module().detach().double()
    if module.stable_by_construction:
        assert system.is_stable(), f"{name}: declared stable by construction, but is not"
    declared = module.declared_gain()
    if declared is not None:
        verified = hinf_norm(system).norm.max().item()
        assert verified <= declared * (1 + TOLERANCE), (
            f"{name}: declares a gain of {declared:g}, but its H-infinity norm is {verified:g}"
        )


def _check_long_memory(module: Parametrization, name: str) -> None:
    """The declared gain of the discrete float32 matrices while poles are driven to the circle.

    Rounding a pole at a distance of 1e-6 from it moves its gain by percents. A continuous system is
    sampled by Tustin's transform, which keeps the gain.
    """
    sample = registry.discretizers.get("tustin").build()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.5)
    for _ in range(40):
        system = module()
        system = sample(system) if isinstance(system, ContinuousSystem) else system
        gap = 1 - system.poles().abs().max()
        verified, declared = hinf_norm(system.detach()).norm.max().item(), module.declared_gain()
        assert verified <= declared * (1 + TOLERANCE), (
            f"{name}: declares a gain of {declared:g}, but with a pole at 1 - {gap.item():.1e} the "
            f"H-infinity norm of its float32 matrices is {verified:g}"
        )
        optimizer.zero_grad()
        torch.log(gap.clamp_min(1e-12)).backward()
        optimizer.step()


def _check_system(module: Parametrization, d_model: int) -> None:
    system, name = module(), type(module).__name__
    domain = "continuous" if isinstance(system, ContinuousSystem) else "discrete"
    assert domain == module.time_domain, f"{name}: declares {module.time_domain}, gives {domain}"
    oscillates = isinstance(system, ContinuousOscillator)
    assert oscillates == module.gives_oscillator, f"{name}: gives_oscillator is not {oscillates}"
    assert system.copies * system.inputs == d_model, f"{name}: inputs are not d_model={d_model}"
    assert system.copies * system.outputs == d_model, f"{name}: outputs are not d_model={d_model}"
    assert system.is_finite(), f"{name}: a system that is not finite right after construction"
    assert domain == "continuous" or module.why_discrete, f"{name}: needs why_discrete"


def _check_gradients(module: Parametrization) -> None:
    energy = sum(tensor.abs().square().sum() for tensor in module().tensors().values())
    energy.backward()
    for name, parameter in module.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, f"{name}: the system does not depend on this parameter"
        assert torch.isfinite(gradient).all(), f"{name}: its gradient is not finite"


def _check_options(module: Parametrization) -> None:
    unknown = set(module.optimizer_options()) - {name for name, _ in module.named_parameters()}
    assert not unknown, f"{type(module).__name__}: optimizer options for what it has not: {unknown}"


def _same(a: LinearSystem, b: LinearSystem) -> bool:
    pairs = zip(a.tensors().values(), b.tensors().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


# --- normalisers --------------------------------------------------------------------------------


def conform_normaliser(entry: Entry[Normaliser]) -> None:
    """The gain it promises, on systems of every structure, and its gradient."""
    for system in example_systems():
        if system.D.is_complex():
            continue
        for gamma in (0.1, 7.0):
            normaliser = entry.build(_with_gamma(entry.config, gamma))
            found = normaliser(system)
            assert type(found) is type(system), f"{entry.name}: changes the type of a system"
            assert found.D.dtype == system.D.dtype, f"{entry.name}: changes the precision"
            _check_normalised(normaliser, found, entry.name)
        _check_normaliser_gradient(entry.build(), system, entry.name)


def _with_gamma(config: type, gamma: float) -> Any:
    options = config()
    options.gamma = gamma
    return options


def _check_normalised(normaliser: Normaliser, system: DiscreteSystem, name: str) -> None:
    if not normaliser.over_all_time:
        return
    for norm in hinf_norm(system.double()).norm.tolist():
        assert norm <= normaliser.gamma * (1 + TOLERANCE), (
            f"{name}: promises a gain of {normaliser.gamma:g}, but it is {norm:g}"
        )
        assert norm >= normaliser.gamma / 2, f"{name}: wastes half of the gain: {norm:g}"


def _check_normaliser_gradient(normaliser: Normaliser, system: DiscreteSystem, name: str) -> None:
    """Scaling C and D together must change nothing, so the gradient along them is zero."""
    system = system.double().map(lambda t: t.detach().requires_grad_())
    energy = sum(t.abs().square().sum() for t in (normaliser(system).C, normaliser(system).D))
    C, D = torch.autograd.grad(energy, (system.C, system.D))
    along = (C.conj() * system.C).real.sum() + (D.conj() * system.D).real.sum()
    size = energy.detach().item()
    assert abs(along.item()) <= 1e-2 * size, f"{name}: its gradient is wrong: {along.item():g}"


# --- discretizers -------------------------------------------------------------------------------


def conform_discretizer(entry: Entry[Discretizer]) -> None:
    """Its facts against measurement by other means; zero poles; dense against diagonal."""
    method = entry.build()
    facts = method.facts
    order = measured_order(method)
    assert order == facts.order, f"{entry.name}: declares order {facts.order}, measured {order}"
    measured = measured_a_stability(method)
    assert measured == facts.a_stable, f"{entry.name}: A-stability measured {measured}"
    damped = abs(_r(method, -1e9)) < 1e-6
    assert (damped and measured) == facts.l_stable, f"{entry.name}: L-stability measured {damped}"
    for axis, direction in (("real", -1), ("imaginary", 1j)):
        found, declared = measured_interval(method, direction), getattr(facts, f"{axis}_interval")
        assert declared is None or math.isclose(found, declared, rel_tol=1e-6), (
            f"{entry.name}: declares the {axis} interval {declared}, measured {found}"
        )
    kept = gain_distortion(method) < 1e-8
    assert kept == facts.preserves_gain, f"{entry.name}: gain preservation measured {kept}"
    if method.needs_oscillator:
        check_free_motion(method, entry.name)
        check_oscillators_agree(method, entry.name)
        return
    _check_zero_poles(method, entry.name)
    _check_dense_agrees(method, entry.name)


def measured_order(method: Discretizer) -> float:
    """p of ``R(z) = e^z + O(z^(p+1))`` from a fitted slope; infinite where R is e^z."""
    h = 2.0 ** -torch.arange(1, 9, dtype=torch.float64)
    z = h * torch.exp(torch.tensor(2.0j, dtype=torch.complex128))
    error = (method.stability_function(z) - torch.exp(z)).abs()
    clear = int((error > 1e-12).sum())  # below that, the slope is one of rounding
    if clear < 2:
        return math.inf
    return float(torch.round((error[clear - 2] / error[clear - 1]).log2()) - 1)


def measured_a_stability(method: Discretizer) -> bool:
    """Whether |R| <= 1 on the left half-plane and on the imaginary axis, by sampling."""
    size = torch.logspace(-4, 4, 400, dtype=torch.float64)
    angle = torch.linspace(math.pi / 2, math.pi, 41, dtype=torch.float64)
    z = (size[:, None] * torch.exp(1j * angle)).flatten()
    z = torch.complex(z.real.clamp_max(0), z.imag)
    return bool(method.stability_function(z).abs().max() <= 1 + 1e-11)


def measured_interval(method: Discretizer, direction: complex) -> float:
    """Largest r with |R| <= 1 from 0 to r times ``direction``; infinite beyond 1e5.

    In steps of 1% from 0.05 on: a method that is unstable from the start is so there already.
    """
    t = 0.05 * 1.01 ** torch.arange(1460, dtype=torch.float64)
    outside = (method.stability_function(t * direction).abs() > 1 + 1e-11).nonzero()
    if len(outside) == 0:
        return math.inf
    low, high = (0.0 if i < 0 else t[i].item() for i in (int(outside[0]) - 1, int(outside[0])))
    while low > 0 and high - low > 1e-9 * high:
        middle = (low + high) / 2
        inside = abs(_r(method, middle * direction)) <= 1 + 1e-12
        low, high = (middle, high) if inside else (low, middle)
    return low


def gain_distortion(method: Discretizer) -> float:
    """Largest relative change of the H-infinity norm over resonators that stay stable."""
    w = torch.tensor([0.1, 0.5, 1.0, 2.0], dtype=torch.float64)
    lam = torch.complex(-0.02 * torch.ones_like(w), w)[:, None]
    one = torch.ones(4, 1, 1, dtype=torch.complex128)
    system = ContinuousDiagonal(
        lam=lam,
        B=one,
        C=one * (1 - 0.5j),
        D=0.3 * one.real,
        dt=torch.ones(4, dtype=torch.float64),
        conjugate=True,
    )
    system = as_oscillator(system) if method.needs_oscillator else system
    discrete = hinf_norm(method(system)).norm
    change = (discrete / hinf_norm(system).norm - 1).abs()
    return change.max().item()


def _r(method: Discretizer, z: complex) -> complex:
    return complex(method.stability_function(torch.tensor([z], dtype=torch.complex128)).item())


def _check_zero_poles(method: Discretizer, name: str) -> None:
    lam = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    B, C = torch.ones(1, 2, 1, dtype=torch.float64), torch.ones(1, 1, 2, dtype=torch.float64)
    D, dt = torch.zeros(1, 1, 1, dtype=torch.float64), torch.full((1,), 0.1, dtype=torch.float64)
    system = method(ContinuousDiagonal(lam=lam, B=B, C=C, D=D, dt=dt))
    total = sum(tensor.sum() for tensor in system.tensors().values())
    (gradient,) = torch.autograd.grad(total, lam)
    assert system.is_finite(), f"{name}: an integrator (lam = 0) gives numbers that are not finite"
    assert torch.isfinite(gradient).all(), f"{name}: the gradient at lam = 0 is not finite"
    assert torch.allclose(system.lam, torch.ones_like(lam)), f"{name}: an integrator's pole is 1"


def _check_dense_agrees(method: Discretizer, name: str) -> None:
    lam = torch.complex(-torch.rand(2, 3), torch.randn(2, 3)).to(torch.complex128)
    system = ContinuousDiagonal(
        lam=lam,
        B=torch.randn(2, 3, 2, dtype=torch.complex128),
        C=torch.randn(2, 2, 3, dtype=torch.complex128),
        D=torch.randn(2, 2, 2, dtype=torch.float64),
        dt=torch.tensor([0.1, 0.3], dtype=torch.float64),
        conjugate=True,
    )
    omega = torch.linspace(0.1, 3, 7, dtype=torch.float64)
    diagonal = method(system).frequency_response(omega)
    dense = method(system.to_dense()).frequency_response(omega)
    assert torch.allclose(diagonal, dense, rtol=1e-9), f"{name}: diagonal and dense disagree"


# --- scans --------------------------------------------------------------------------------------


def conform_scan(entry: Entry[ScanBackend]) -> None:
    """Outputs, final state and every gradient against the reference, where the backend is able."""
    backend = entry.build()
    reference = registry.scans.get("reference").build()
    for system in example_systems():
        if backend.unable(system, torch.device("cpu")) is None:
            for length in (1, 7, 130):
                check_scan(backend, reference, system, length, entry.name)
            check_scan(backend, reference, system, 130, entry.name, torch.bfloat16)
    for dtype in (torch.float32, torch.complex64, torch.bfloat16):
        if backend.unable_linear_scan(torch.zeros(1, dtype=dtype)) is None:
            for varies, reverse in ((False, False), (False, True), (True, False), (True, True)):
                check_linear_scan(backend, reference, dtype, varies, reverse, entry.name)
    for length, dtype in ((1, torch.float32), (37, torch.float32), (37, torch.bfloat16)):
        for system in example_time_varying_systems(2, length):
            if backend.unable(system, torch.device("cpu")) is None:
                check_scan(backend, reference, system, length, entry.name, dtype)


def check_linear_scan(
    backend: ScanBackend,
    reference: ScanBackend,
    dtype: torch.dtype,
    varies: bool,
    reverse: bool,
    name: str,
) -> None:
    """Hold one backend's linear scan to another's: states, and gradients of a, b and x0."""
    for length in (1, 37, 130):
        a = torch.randn((2, length, 5) if varies else (5,), dtype=dtype)
        leaves = {
            "a": 0.95 * a / a.abs(),
            "b": torch.randn(2, length, 5, dtype=dtype),
            "x0": torch.randn(2, 5, dtype=dtype),
        }
        weight = torch.randn(2, length, 5, dtype=dtype)
        values = []
        for scan in (backend, reference):
            inputs = {k: v.clone().requires_grad_() for k, v in leaves.items()}
            s = scan.linear_scan(**inputs, reverse=reverse)
            gradients = torch.autograd.grad((s * weight.conj()).real.sum(), inputs.values())
            values.append({"s": s, **dict(zip(inputs, gradients, strict=True))})
        case = f"linear scan, {dtype}, varies={varies}, reverse={reverse}, L={length}"
        for key, expected in values[1].items():
            _agree(values[0][key], expected, f"{name}: {key} of {case}")


def example_systems() -> list[DiscreteSystem]:
    """Ten float32 systems of every structure: diagonal (pairs, real, complex) and dense."""
    shapes = [(3, 4, 1, 1), (1, 5, 3, 2)]
    banks = [(18, 3, 1, 1), *shapes]  # wider than a vector, and not a multiple of one
    pairs = [_random_diagonal(*shape, complex_=True, conjugate=True) for shape in banks]
    real = [_random_diagonal(*shape, complex_=False, conjugate=False) for shape in banks]
    full = [_random_diagonal(*shape, complex_=True, conjugate=False) for shape in shapes]
    return [*pairs, *real, *full, *(_random_dense(*shape) for shape in shapes)]


def check_scan(
    backend: ScanBackend,
    reference: ScanBackend,
    system: Scannable,
    length: int,
    name: str,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Hold one backend to another on one system: y, x_final, and gradients of all inputs.

    ``dtype`` is that of u; in half precision only what is read and u's own gradient are rounded.
    """
    u = torch.randn(2, length, system.copies, system.inputs).to(dtype)
    x0 = torch.randn(2, system.copies, system.states, dtype=system.dynamics.dtype)
    for start in (None, x0):
        found = _run(backend, system, u, start)
        expected = _run(reference, system, u, start)
        for key, value in expected.items():
            case = f"{type(system).__name__}, u in {dtype}, L={length}"
            _agree(found[key], value, f"{name}: {key} of {case}")


def _agree(found: Tensor, expected: Tensor, what: str) -> None:
    assert found.dtype == expected.dtype, f"{what}: {found.dtype} instead of {expected.dtype}"
    tolerance = _HALF_TOLERANCE if expected.dtype == torch.bfloat16 else _SCAN_TOLERANCE
    found, expected = found.to(torch.complex128), expected.to(torch.complex128)
    error = (found - expected).abs().max() / expected.abs().max().clamp_min(1e-3)
    assert error < tolerance, f"{what}: relative error {error:.1e}"


def _run(
    backend: ScanBackend, system: Scannable, u: Tensor, x0: Tensor | None
) -> dict[str, Tensor]:
    # no clones: views that are one for all steps or copies stay such
    system = system.map(lambda t: t.detach().requires_grad_())
    leaves = {**system.tensors(), "u": u.detach().clone().requires_grad_()}
    if x0 is not None:
        leaves["x0"] = x0.detach().clone().requires_grad_()
    y, final = backend(system, leaves["u"], leaves.get("x0"))
    weights = torch.linspace(0.5, 1.5, y.numel(), dtype=torch.float64).reshape(y.shape)
    total = (y * weights).abs().square().mean() + (final * (1 + 0.5j)).real.sum()
    gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    named = zip(leaves, gradients, strict=True)
    given = {f"gradient of {k}": gradient_of_views(g, leaves[k]) for k, g in named if g is not None}
    return {"y": y, "x_final": final, **given}


def _random_diagonal(
    H: int, N: int, m: int, p: int, *, complex_: bool, conjugate: bool
) -> DiscreteDiagonal:
    dtype = torch.complex64 if complex_ else torch.float32
    modulus = torch.cat([torch.zeros(H, 1), 0.5 + 0.499 * torch.rand(H, N - 1)], -1)
    direction = torch.randn(H, N, dtype=dtype)
    return DiscreteDiagonal(
        lam=modulus * direction / direction.abs(),
        B=torch.randn(H, N, m, dtype=dtype),
        C=torch.randn(H, p, N, dtype=dtype),
        D=torch.randn(H, p, m),
        conjugate=conjugate,
    )


def _random_dense(H: int, N: int, m: int, p: int) -> DiscreteDense:
    A = torch.linalg.qr(torch.randn(H, N, N)).Q * (1 - torch.rand(H, 1, 1) / 4)
    return DiscreteDense(
        A=A, B=torch.randn(H, N, m), C=torch.randn(H, p, N), D=torch.randn(H, p, m)
    )


# --- optimizers ---------------------------------------------------------------------------------


def conform_optimizer(entry: Entry[torch.optim.Optimizer]) -> None:
    """It lowers a quadratic function, obeys the schedule, and goes on exactly from its state."""
    assert issubclass(entry.config, OptimizerConfig), (
        f"{entry.name}: its config must derive from OptimizerConfig, whose options every run has"
    )
    trial = QuadraticTrial(entry)
    start = trial.loss().item()
    trial.run(30)
    assert trial.loss() < start, f"{entry.name}: does not lower a quadratic function in 30 steps"
    _check_schedule(entry)
    _check_resumed(entry)


class QuadraticTrial:
    """``||H^(1/2) x||^2 / 2`` with curvatures in [0.1, 1], over parameters of several shapes."""

    def __init__(self, entry: Entry[torch.optim.Optimizer]):
        config = entry.config()
        shapes = [(), (2,), (3, 2)]
        self.parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
        basis = torch.linalg.qr(torch.randn(9, 9)).Q
        self._root = basis * torch.linspace(0.1, 1, 9).sqrt()
        rates = zip(self.parameters, (config.ssm_lr, config.lr, config.lr), strict=True)
        decays = (0.0, 0.0, config.weight_decay)
        groups = [
            {"params": [p], "lr": lr, "weight_decay": decay}
            for (p, lr), decay in zip(rates, decays, strict=True)
        ]
        self.optimizer = entry.build(groups=groups)

    def loss(self) -> Tensor:
        x = torch.cat([p.flatten() for p in self.parameters])
        return (self._root.T @ x).square().sum() / 2

    def closure(self) -> Tensor:
        loss = self.loss()
        self.optimizer.zero_grad()
        loss.backward()
        return loss

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.optimizer.step(self.closure)


def _check_schedule(entry: Entry[torch.optim.Optimizer]) -> None:
    trial = QuadraticTrial(entry)
    trial.run(2)
    before = [p.detach().clone() for p in trial.parameters]
    for group in trial.optimizer.param_groups:
        group["lr"] = 0.0
    trial.run(1)
    kept = all(map(torch.equal, before, trial.parameters))
    assert kept, f"{entry.name}: moves at a learning rate of 0, so it ignores the schedule"


def _check_resumed(entry: Entry[torch.optim.Optimizer]) -> None:
    trial = QuadraticTrial(entry)
    trial.run(3)
    again = copy.copy(trial)
    again.parameters = [torch.nn.Parameter(p.detach().clone()) for p in trial.parameters]
    again.optimizer = entry.build(
        groups=[
            {**group, "params": [parameter]}
            for group, parameter in zip(trial.optimizer.param_groups, again.parameters, strict=True)
        ]
    )
    again.optimizer.load_state_dict(copy.deepcopy(trial.optimizer.state_dict()))
    for run in (trial, again):
        run.run(3)
    same = all(map(torch.equal, trial.parameters, again.parameters))
    assert same, f"{entry.name}: goes on differently from its state_dict"


# --- nonlinearities and tasks -------------------------------------------------------------------


def conform_nonlinearity(entry: Entry[Nonlinearity]) -> None:
    """Shape, and the declared Lipschitz constant: no slope found exceeds it."""
    module = entry.build(d_model=4).double()
    x = torch.randn(3, 5, 4, dtype=torch.float64)
    assert module(x).shape == x.shape, f"{entry.name}: changes the signal's shape"
    bound = module.bound()
    if not bound.finite:
        assert bound.reason, f"{entry.name}: no Lipschitz constant, and no reason why"
        return
    slope = _largest_slope(module)
    assert slope <= bound.value * (1 + 1e-9), (
        f"{entry.name}: declares {bound.value}, but a slope of {slope} was found"
    )


def _largest_slope(module: Callable[[Tensor], Tensor]) -> float:
    grid = torch.linspace(-6, 6, 24_001, dtype=torch.float64)[:, None]
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(1, 4, generator=generator, dtype=torch.float64)
    points = torch.cat([grid * torch.ones(1, 4), grid * direction]).requires_grad_()
    steps = torch.eye(4, dtype=torch.float64)[0] * 1e-6
    change = module((points + steps)[None]) - module((points - steps)[None])
    return (change.norm(dim=-1) / 2e-6).max().item()


def conform_task(entry: Entry) -> None:
    """Sizes as declared before loading, finite data, a finite loss and a score."""
    task = entry.build(batch_size=2, seed=0)
    sizes = task.sizes
    for split in ("train", "val", "test"):
        u, target = next(iter(getattr(task, f"{split}_dataloader")()))
        assert u.shape[-1] == sizes.inputs, f"{entry.name}: {split}: inputs differ from sizes"
        assert torch.isfinite(u).all(), f"{entry.name}: {split}: inputs are not finite"
        shape = (*u.shape[:2], sizes.outputs) if sizes.per_step else (len(u), sizes.outputs)
        prediction = torch.zeros(shape)
        loss = task.loss(prediction, target)
        assert torch.isfinite(loss), f"{entry.name}: {split}: the loss is not finite"
        metrics = task.metrics()
        metrics.update(*task.to_metric(prediction, target))
        assert task.score in metrics.compute(), f"{entry.name}: no metric called {task.score}"


_CHECKS: dict[str, Callable[[Entry], None]] = {
    "parametrization": conform_parametrization,
    "discretizer": conform_discretizer,
    "normaliser": conform_normaliser,
    "scan": conform_scan,
    "nonlinearity": conform_nonlinearity,
    "optimizer": conform_optimizer,
    "task": conform_task,
}
