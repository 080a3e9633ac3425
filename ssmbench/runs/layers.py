"""The linear systems of a trained run's layers, for analysis and figures."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ssmbench.analysis.gain import frozen_steps
from ssmbench.build.network import build_network
from ssmbench.build.task import build_task
from ssmbench.errors import UsageError
from ssmbench.nn.bounds import is_finite
from ssmbench.nn.initial_state import has_complex_states
from ssmbench.nn.layer import SSMLayer
from ssmbench.runs.load import TrainedRun
from ssmbench.runs.run import Run
from ssmbench.systems import DiscreteSystem, TimeVaryingSystem
from ssmbench.training.layer_analysis import (
    FROZEN_SEQUENCES,
    LayerInput,
    declared_gain,
    layer_inputs,
)


@dataclass(frozen=True)
class LayerSystem:
    """The discrete system of one layer, on the CPU in double precision, and the gain it declares.

    ``system`` is None where a parameter is not finite. That of a time-varying layer is a bank of
    the systems that it is at some steps of some sequences. ``note`` says so, without the name.
    """

    name: str
    system: DiscreteSystem | None
    declared: float | None
    note: str = ""


def layer_systems(run: TrainedRun) -> list[LayerSystem]:
    """The systems of all layers of a trained network, first to last.

    Raises:
        UsageError: a layer is time-varying, and the task's data are missing.
    """
    inputs: list[LayerInput | None] = [None] * len(run.model.layers)
    if any(layer.time_varying for layer in run.model.layers):
        batch = run.task.sample("val", FROZEN_SEQUENCES)
        inputs = list(layer_inputs(run.model, batch.u, batch.lengths))
    pairs = zip(run.model.layers, inputs, strict=True)
    return [_layer_system(f"layer {i}", layer, u) for i, (layer, u) in enumerate(pairs)]


def _layer_system(name: str, layer: SSMLayer, u: LayerInput | None) -> LayerSystem:
    declared = declared_gain(layer)
    if not is_finite(layer) or (layer.time_varying and u is None):
        return LayerSystem(name, None, None, "a parameter is not finite")
    with torch.no_grad():
        if u is None:
            return LayerSystem(name, layer.system().detach().to("cpu").double(), declared)
        system = u.first(FROZEN_SEQUENCES).system_of(layer)
    assert isinstance(system, TimeVaryingSystem), "only time-varying layers have an input here"
    steps = frozen_steps(system.length)
    bank = system.detach().to("cpu").during(steps).double().bank()
    assert isinstance(bank, DiscreteSystem)
    shown = ", ".join(str(step) for step in steps)
    known = "no bound on its gain" if declared is None else f"a {layer.gain_claim.value} bound"
    where = f"frozen at steps {shown} of {system.batch} validation sequences"
    return LayerSystem(name, bank, declared, f"time-varying, {where}, {known}")


def count_states(run: Run) -> int | None:
    """The real numbers that the SSM layers of a run's network carry from one step to the next, for
    one sequence; None if the network cannot be built here, for example without the task's data."""
    try:
        config = run.typed
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            model = build_network(config, build_task(config).sizes)
            return sum(states_of(layer) for layer in model.layers)
    except UsageError:
        return None


def states_of(layer: SSMLayer) -> int:
    system = layer.idle_system(torch.zeros(()))
    return system.heads * system.states * (2 if has_complex_states(system) else 1)
