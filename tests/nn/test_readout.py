"""Outputs that read the state after the input of their step, as those of published models do."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ssmbench.analysis.hinf import hinf_norm
from ssmbench.build.network import build_layer as layer_of_config
from ssmbench.config import AnalysisConfig, RunConfig, resolve_model
from ssmbench.errors import UsageError
from ssmbench.nn.freeze import freeze
from ssmbench.nn.initial_state import InitialState
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.pooling import Pooling
from ssmbench.scans.base import scan_by_parts
from ssmbench.systems import (
    NO_GAIN_AFTER,
    ContinuousOscillator,
    DiscreteDense,
    DiscreteDiagonal,
    Readout,
    TimeVaryingDiagonal,
    after_input,
)
from ssmbench.training.gains import measure_gains
from tests.builders import (
    build_block,
    build_layer,
    build_model,
    build_parametrization,
    build_scan,
)
from tests.nn.networks import CONTINUOUS, DISCRETE, NAMES, SMALL, TIME_INVARIANT

WIDTH, LENGTH = 4, 9
METHODS = ("zoh", "bilinear", "tustin", "foh")
#: A delta rule reads its state between writing and erasing: test_delta_network.py has its refusal.
READOUTS = [name for name in NAMES if name != "contraction_delta"]
DISCRETE_READOUTS = [name for name in DISCRETE if name in READOUTS]
PAIRS = [(n, m) for n in CONTINUOUS for m in METHODS] + [(n, None) for n in DISCRETE_READOUTS]
DECLARING = ("l2ru", "contraction", "contraction_block", "contraction_continuous")


def layers(name: str, method: str | None, **options) -> tuple[SSMLayer, SSMLayer]:
    """The same layer with both readouts, in float64."""
    torch.manual_seed(0)
    module = build_parametrization(name, WIDTH, **SMALL)
    both = [build_layer(module, method, readout=r, **options).double() for r in Readout]
    return both[0], both[1]


def pair_of(name: str, **options) -> tuple[SSMLayer, SSMLayer]:
    return layers(name, "zoh" if name in CONTINUOUS else None, **options)


def signal(length: int = LENGTH) -> torch.Tensor:
    return torch.randn(2, length, WIDTH, dtype=torch.float64)


def one_by_one(layer: SSMLayer, u: torch.Tensor) -> torch.Tensor:
    """``x[k+1] = A x[k] + B u[k]``, ``y[k] = C x[k+1] + D u[k]``, by the dense matrices."""
    system = layer.system_for(u)
    rows = []
    for b, row in enumerate(u):
        x, outputs = None, []
        for k, step in enumerate(row.unflatten(-1, (system.heads, system.inputs))):
            now = system.at(b, k) if isinstance(system, TimeVaryingDiagonal) else system
            dense = now.to_dense()
            x = torch.zeros_like(dense.B[..., 0]) if x is None else x
            x = torch.einsum("hij,hj->hi", dense.A, x) + torch.einsum("hnm,hm->hn", dense.B, step)
            y = torch.einsum("hpn,hn->hp", dense.C, x) + torch.einsum("hpm,hm->hp", dense.D, step)
            outputs.append(y.flatten())
        rows.append(torch.stack(outputs))
    return torch.stack(rows)


@pytest.mark.parametrize(("name", "method"), PAIRS)
def test_outputs_are_those_of_a_plain_loop(name, method):
    before, after = layers(name, method)
    u = signal()
    torch.testing.assert_close(after(u), one_by_one(before, u), rtol=1e-12, atol=1e-12)


def test_a_method_for_oscillators_too():
    before, after = layers("linoss", "stormer_verlet")
    assert before.parametrization.gives(ContinuousOscillator)
    u = signal()
    torch.testing.assert_close(after(u), one_by_one(before, u), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scan", ["auto", "chunked", "reference"])
def test_pairs_among_dense_states_are_still_scanned_as_modes(scan):
    rotation, rest = torch.tensor([[0.5, -0.4], [0.4, 0.5]]), torch.tensor([[0.3, 1], [0, 0.2]])
    A = torch.block_diag(rotation, rest)
    shapes = {"B": (1, 4, 2), "C": (1, 2, 4), "D": (1, 2, 2)}
    parts = {key: torch.randn(shape, dtype=torch.float64) for key, shape in shapes.items()}
    system = DiscreteDense(A=A.double()[None], pairs=(0,), **parts)
    read = after_input(system)
    assert read.pairs == (0,)
    u = torch.randn(2, LENGTH, 1, 2, dtype=torch.float64)
    y, _ = scan_by_parts(build_scan(scan), read, u, None)
    strict = dataclasses.replace(system, D=0 * system.D)
    shifted, _ = scan_by_parts(build_scan(scan), strict, u, None)
    direct = u @ system.D[0].mT
    torch.testing.assert_close(y[:, :-1], shifted[:, 1:] + direct[:, :-1], rtol=1e-12, atol=1e-12)


def test_complex_modes_without_conjugates_have_complex_direct_terms():
    lam, B, C = (torch.randn(1, 3, dtype=torch.cdouble) / 3 for _ in range(3))
    D = torch.randn(1, 1, 1, dtype=torch.float64)
    system = DiscreteDiagonal(lam=lam, B=B[..., None], C=C[:, None], D=D)
    z = torch.tensor([[1j, -1.0, 0.6 + 0.8j]], dtype=torch.cdouble)
    torch.testing.assert_close(
        after_input(system).response(z), D + z[..., None, None] * (system.response(z) - D)
    )


# --- everything around a layer --------------------------------------------------------------------


@pytest.mark.parametrize("name", READOUTS)
def test_states_and_chunks_are_the_same(name):
    before, after = pair_of(name, initial_state=InitialState.learned)
    with torch.no_grad():
        for layer in (before, after):
            assert layer.x0 is not None
            torch.nn.init.constant_(layer.x0, 0.3)
    u = signal()
    whole, state = after.run(u)
    torch.testing.assert_close(state, before.run(u)[1], rtol=0, atol=0)
    first, middle = after.run(u[:, :4])
    second, final = after.run(u[:, 4:], middle)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(final, state, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["s4d", "s5", "selective"])
def test_time_steps_of_one_change_nothing_and_others_read_the_state_after(name):
    before, after = pair_of(name)
    u, ones = signal(), torch.ones(2, LENGTH, dtype=torch.float64)
    torch.testing.assert_close(after(u, ones), after(u), rtol=1e-12, atol=1e-12)
    dt = 0.5 + torch.rand(2, LENGTH, dtype=torch.float64)
    direct = u * before.parametrization.D.detach().reshape(-1, WIDTH)[0]
    if name == "selective":  # its C belongs to the step, so the next output has another one
        assert not torch.allclose(after(u, dt), after(u))
        return
    held = before(torch.cat([u, 0 * u[:, :1]], 1), torch.cat([dt, ones[:, :1]], 1))[:, 1:]
    through_states = held - torch.cat([direct[:, 1:], 0 * direct[:, :1]], 1)
    torch.testing.assert_close(after(u, dt), through_states + direct, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", READOUTS)
def test_gradients_reach_every_parameter(name):
    _, after = pair_of(name)
    after(signal()).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in after.parameters())


@pytest.mark.parametrize("name", ["s4d", "l2ru", "selective", "linoss"])
def test_a_frozen_network_and_a_stream_give_the_same(name):
    _, layer = pair_of(name)
    model = build_model([build_block(layer.float())], inputs=2, outputs=3).double().eval()
    u = torch.randn(1, LENGTH, 2, dtype=torch.float64)
    y = model(u)
    torch.testing.assert_close(freeze(model)(u), y, rtol=1e-12, atol=1e-12)
    first, state = model.stream(u[:, :4])
    second, _ = model.stream(u[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), y, rtol=1e-12, atol=1e-12)


# --- gains ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TIME_INVARIANT)
def test_the_transfer_function_is_shifted_but_for_its_direct_term(name):
    before, after = pair_of(name)
    G, read = before.system(), after.system()
    omega = torch.linspace(-3, 3, 13, dtype=torch.float64)
    D, z = G.D[:, None], torch.exp(1j * omega)[None, :, None, None]
    expected = D + z * (G.frequency_response(omega) - D)
    torch.testing.assert_close(read.frequency_response(omega), expected, rtol=1e-10, atol=1e-10)
    strict = dataclasses.replace(G, D=0 * G.D)
    shifted = after_input(strict)
    torch.testing.assert_close(hinf_norm(shifted).norm, hinf_norm(strict).norm, rtol=1e-8, atol=0)


def all_pass(a: float) -> DiscreteDiagonal:
    """(1 - a z) / (z - a), of gain 1."""
    values = {"lam": [[a]], "B": [[[1.0]]], "C": [[[1 - a * a]]], "D": [[[-a]]]}
    return DiscreteDiagonal(**{k: torch.tensor(v, dtype=torch.float64) for k, v in values.items()})


@pytest.mark.parametrize("a", [-0.999, -0.5, 0.0, 0.5])
def test_the_gain_may_grow_by_twice_the_norm_of_D(a):
    system = all_pass(a)
    assert hinf_norm(system).norm.item() == pytest.approx(1)
    assert hinf_norm(after_input(system)).norm.item() == pytest.approx(max(1, 1 - 2 * a))


@pytest.mark.parametrize("name", DECLARING)
def test_a_gain_that_is_declared_by_construction_is_not_declared_after(name):
    before, after = layers(name, "tustin" if name in CONTINUOUS else None)
    assert before.declared_gain() is not None
    assert before.undeclared_reason() == ""
    assert after.declared_gain() is None
    assert after.undeclared_reason() == NO_GAIN_AFTER


@pytest.mark.parametrize("name", ["s4d", "l2ru", "contraction"])
def test_a_normaliser_after_the_readout_keeps_the_prescribed_gain(name):
    _, after = pair_of(name, normaliser="hinf")
    assert after.declared_gain() == 1.0
    assert after.undeclared_reason() == ""
    assert hinf_norm(after.system()).norm.max().item() == pytest.approx(1, abs=0.02)
    assert hinf_norm(after.system()).norm.max().item() <= 1


def test_the_gain_of_a_network_of_such_layers_cannot_be_prescribed_without_a_normaliser():
    _, after = pair_of("l2ru")
    block = build_block(after.float(), bounded=True, nonlinearity="relu")
    with pytest.raises(UsageError, match=r"declares no gain: its outputs read the state after"):
        build_model([block], inputs=2, outputs=2, gamma=2.0)


def test_verified_and_attacked_gains_are_measured_and_the_reason_is_noted():
    _, after = pair_of("l2ru")
    model = build_model([build_block(after.float())], inputs=2, outputs=2, pooling=Pooling.mean)
    config = AnalysisConfig(attack_steps=5, attack_restarts=2)
    gain = measure_gains(model, torch.randn(2, 20, 2), config).gain
    layer = gain.layers[0]
    assert layer.declared is None
    assert layer.note == NO_GAIN_AFTER
    assert not gain.violations
    assert layer.verified is not None
    assert 0 < layer.attacked <= layer.verified * (1 + 1e-4)


# --- published models -----------------------------------------------------------------------------


def impulse_response(layer: SSMLayer, length: int = LENGTH) -> torch.Tensor:
    """The outputs (L, out, in) for a unit impulse in each channel."""
    u = torch.zeros(WIDTH, length, WIDTH, dtype=torch.float64)
    u[:, 0] = torch.eye(WIDTH)
    return layer(u).movedim(0, -1).detach()


def test_s4d_has_the_published_kernel():
    """state-spaces/s4 at e757cef, models/s4/s4d.py: ``K = 2 Re(sum C (e^(dt A) - 1) / A e^(k dt
    A))``."""
    _, layer = layers("s4d", "zoh")
    p = layer.parametrization
    A = torch.complex(-torch.exp(p.log_decay), p.frequency)
    dtA = A * torch.exp(p.log_dt)[:, None]
    C = torch.view_as_complex(p.C)[:, 0] * (torch.exp(dtA) - 1) / A
    powers = torch.exp(dtA[..., None] * torch.arange(LENGTH))
    kernel = 2 * torch.einsum("hn,hnl->hl", C, powers).real
    kernel[:, 0] += p.D
    expected = torch.diag_embed(kernel.mT)
    torch.testing.assert_close(impulse_response(layer), expected.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", ["zoh", "bilinear"])
def test_s5_has_the_published_recurrence(method):
    """lindermanlab/S5 at 3c18fdb, s5/ssm.py: discretize_zoh, discretize_bilinear, apply_ssm."""
    _, layer = layers("s5", method)
    p = layer.parametrization
    step = torch.exp(p.log_dt)
    Lambda = torch.complex(-torch.exp(p.log_decay), p.frequency)
    B, C = torch.view_as_complex(p.B), torch.view_as_complex(p.C)
    if method == "zoh":
        Lambda_bar = torch.exp(Lambda * step)
        B_bar = (1 / Lambda * (Lambda_bar - 1))[:, None] * B
    else:
        BL = 1 / (1 - step / 2 * Lambda)
        Lambda_bar, B_bar = BL * (1 + step / 2 * Lambda), (BL * step)[:, None] * B
    u = signal()
    x, outputs = 0, []
    for now in u.unbind(1):
        x = Lambda_bar * x + now.to(B_bar.dtype) @ B_bar.mT
        outputs.append(2 * (x @ C.mT).real + p.D * now)
    torch.testing.assert_close(layer(u), torch.stack(outputs, 1), rtol=1e-12, atol=1e-12)


def test_lru_has_the_published_recurrence():
    """NicolasZucchet/minimal-LRU at bbd71b1, lru/model.py: ``x = lambda x + gamma B u``,
    ``y = Re(C x) + D u``. Its C is twice the one that is stored here, and the modulus here is
    exp(-exp(nu) - 2^-22)."""
    _, layer = layers("lru", None)
    p = layer.parametrization
    lam = torch.polar(torch.exp(-torch.exp(p.nu) - 2.0**-22), torch.exp(p.theta))
    B = torch.exp(p.log_gamma)[:, None] * torch.view_as_complex(p.B)
    C = 2 * torch.view_as_complex(p.C)
    u = signal()
    x, outputs = 0, []
    for now in u.unbind(1):
        x = lam * x + now.to(B.dtype) @ B.mT
        outputs.append((x @ C.mT).real + p.D * now)
    torch.testing.assert_close(layer(u), torch.stack(outputs, 1), rtol=1e-12, atol=1e-12)


def test_s4_has_the_published_bilinear_kernel():
    """``K[k] = C A_bar^k B_bar`` of ``A = diag(lam) - P P*``, both halves of each pair written
    out (Gu, Goel, Re 2022, equations 3 and 5)."""
    _, layer = layers("s4", "bilinear")
    bank = layer.parametrization.bank()
    whole = {k: torch.cat([v, v.conj()], 1) for k, v in vars(bank).items() if v.is_complex()}
    A = torch.diag_embed(whole["lam"]) - whole["P"] @ whole["P"].mH
    half = bank.dt[:, None, None] / 2 * A
    eye = torch.eye(A.shape[-1], dtype=A.dtype)
    A_bar = torch.linalg.solve(eye - half, eye + half)
    x = torch.linalg.solve(eye - half, (bank.dt[:, None] * whole["B"])[..., None])
    kernel = []
    for _ in range(LENGTH):
        kernel.append((whole["C"][:, None] @ x)[:, 0, 0].real)
        x = A_bar @ x
    kernel[0] = kernel[0] + bank.D
    expected = torch.diag_embed(torch.stack(kernel)).detach()
    torch.testing.assert_close(impulse_response(layer), expected, rtol=1e-12, atol=1e-12)


# --- the option -----------------------------------------------------------------------------------


def test_the_option_of_the_model():
    def config(**more) -> RunConfig:
        given = {"parametrization": "s4d", "discretizer": "zoh", **more}
        return RunConfig(model=resolve_model(given, "test"))

    assert layer_of_config(config()).readout is Readout.before
    assert layer_of_config(config(readout="after")).readout is Readout.after
    with pytest.raises(UsageError, match=r"readout.*'later' is not a choice"):
        config(readout="later")
