"""Training with a penalty of Hankel singular values, and what is logged of them."""

from __future__ import annotations

import pytest
import torch

from ssmbench.analysis.hankel_sum import hankel_sum
from ssmbench.errors import UsageError
from ssmbench.training.hankel import hankel_figures, hankel_penalty, states_used
from tests.nn.networks import TIME_INVARIANT, layer_of, network
from tests.training.runs import rows, train

PENALISED = {"hankel_penalty": 3.0, "trainer": {"max_epochs": 4}}


def test_states_are_used_up_to_a_hundredth_of_the_largest_value():
    values = torch.tensor([[1.0, 0.5, 4e-3, 2e-4], [1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.006]])
    assert states_used(values).tolist() == [2, 1, 4]


def test_the_penalty_is_that_of_all_layers():
    model = network("s4d", bidirectional=True)
    figures = [hankel_figures(layer)["hankel_sum"] for layer in model.layers]
    assert hankel_penalty(model).item() == pytest.approx(sum(figures), rel=1e-9)
    assert hankel_figures(layer_of("contraction_selective")) == {}


@pytest.mark.parametrize("name", TIME_INVARIANT)
def test_the_gradient_is_that_of_differences(name):
    torch.manual_seed(1)
    layer = layer_of(name, "backward_euler" if name == "linoss" else "zoh").double()
    parameters = list(layer.parameters())
    _move(parameters, [torch.randn_like(p) for p in parameters], 0.03)
    assert hankel_sum(layer.system()).min() > 0
    assert _gradient_error(layer) <= 1e-4


def test_at_its_start_l2ru_has_a_kink_of_its_own():
    """The norm of Z is the larger of two eigenvalues that are equal there."""
    torch.manual_seed(1)
    layer = layer_of("l2ru").double()
    P = layer.parametrization
    Z = P.X21 @ P.X21.T + P.X22 @ P.X22.T + P.Dt.T @ P.Dt
    largest = torch.linalg.eigvalsh(Z)[-2:]
    assert largest[1] - largest[0] < 1e-6
    assert _gradient_error(layer) > 1e-2


def _gradient_error(layer) -> float:
    """Of the slope in one direction, relative to the size of its terms."""
    parameters = list(layer.parameters())
    value = hankel_sum(layer.system()).mean()
    gradients = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
    directions = [torch.randn_like(p) for p in parameters]
    terms = torch.cat([(g * d).flatten() for g, d in zip(gradients, directions, strict=True)])
    step, ends = 1e-6, []
    for side in (1, -1):
        _move(parameters, directions, side * step)
        ends.append(hankel_sum(layer.system()).mean().item())
        _move(parameters, directions, -side * step)
    slope = (ends[0] - ends[1]) / (2 * step)
    return abs(slope - terms.sum().item()) / terms.norm().item()


@torch.no_grad()
def _move(parameters, directions, step):
    for parameter, direction in zip(parameters, directions, strict=True):
        parameter.add_(step * direction)


def test_a_penalty_makes_the_values_smaller_and_leaves_other_runs_alone(tiny, tmp_path):
    runs = {}
    for name, more in (("without", {}), ("with", PENALISED)):
        (tmp_path / name).mkdir()
        trained = train(tiny(analysis={"every_n_epochs": 1}, **more), tmp_path / name)
        logged = [r for r in rows(tmp_path / name) if "layer0/hankel_sum" in r]
        assert logged
        assert all(0 <= r["layer0/states_used"] <= 64 for r in logged)
        runs[name] = hankel_penalty(trained.module.model).item()
    assert runs["with"] < 0.9 * runs["without"]


def test_layers_without_such_values_are_refused(tiny, tmp_path):
    model = {
        "parametrization": {"name": "contraction_selective", "d_state": 2},
        "discretizer": None,
    }
    with pytest.raises(UsageError, match=r"layer 0 \(ContractionSelective\) is time-varying"):
        train(tiny(model=model, hankel_penalty=0.1), tmp_path)
