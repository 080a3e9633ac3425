"""Analysis of the layers of a network, one by one: poles, declared gain, gain report.

Computed on the CPU wherever the network is, so that the figures do not depend on its device.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Complex, Float, Shaped
from torch import Tensor

from ssmbench.analysis.gain import FrozenReport, GainReport, analyse, analyse_frozen
from ssmbench.nn.bounds import is_finite
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.scans.base import Scannable
from ssmbench.systems import TimeVaryingSystem

#: Number of sequences on which time-varying layers are analysed, since their systems depend on the
#: input.
FROZEN_SEQUENCES = 2


class LayerInput(NamedTuple):
    """What a time-varying layer is given: its input u (B, L, d), and the signal that selects its
    matrices where that is not u."""

    u: Float[Tensor, "n L d"]
    selection: Float[Tensor, "n L s"] | None = None

    def first(self, sequences: int) -> LayerInput:
        """That of the first sequences."""
        selection = None if self.selection is None else self.selection[:sequences]
        return LayerInput(self.u[:sequences], selection)

    def system_of(self, layer: SSMLayer) -> Scannable:
        """The system that the layer scans it with."""
        return layer.system_for(self.u, None, self.selection)


def declared_gain(layer: SSMLayer) -> float | None:
    """The gain that a layer declares; infinite if one of its parameters is not finite."""
    return layer.declared_gain() if is_finite(layer) else math.inf


def poles(
    model: SequenceModel,
    inputs: Shaped[Tensor, "n ..."] | None = None,
    lengths: Shaped[Tensor, ...] | None = None,
) -> list[Complex[Tensor, " _"]]:
    """The poles of each layer, complex128; one at infinity if a parameter of it is not finite.

    Those of a time-varying layer are of its systems at some steps of ``inputs``.
    """
    pairs = zip(model.layers, layer_inputs(model, inputs, lengths), strict=True)
    with torch.no_grad():
        return [_poles(layer, u) for layer, u in pairs]


def _poles(layer: SSMLayer, u: LayerInput | None) -> Complex[Tensor, " modes"]:
    if not is_finite(layer):
        return torch.full((1,), complex(math.inf, 0), dtype=torch.complex128)
    if not layer.time_varying:
        return layer.system().to("cpu").poles().flatten()
    return torch.empty(0, dtype=torch.complex128) if u is None else frozen_report(layer, u).poles


def layer_inputs(
    model: SequenceModel,
    inputs: Shaped[Tensor, "n ..."] | None,
    lengths: Shaped[Tensor, ...] | None = None,
) -> list[LayerInput | None]:
    """The input of each time-varying layer when the network runs on ``inputs`` in evaluation mode;
    None for the other layers, and for all of them if a parameter is not finite."""
    varying = [layer for layer in model.layers if layer.time_varying]
    if inputs is None or not varying or not is_finite(model):
        return [None] * len(model.layers)
    caught: dict[SSMLayer, LayerInput] = {}

    def catch(layer: SSMLayer, given: tuple[Any, ...]) -> None:
        u, *rest = given  # the time steps, then the selection
        caught[layer] = LayerInput(u, rest[1] if len(rest) > 1 else None)

    hooks = [layer.register_forward_pre_hook(catch) for layer in varying]
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(model.as_input(inputs), lengths)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return [caught.get(layer) for layer in model.layers]


def frozen_report(layer: SSMLayer, u: LayerInput) -> FrozenReport:
    """Gain and poles of a time-varying layer, frozen at some steps of the first inputs of ``u``."""
    with torch.no_grad():
        system = u.first(FROZEN_SEQUENCES).system_of(layer)
        assert isinstance(system, TimeVaryingSystem), "only time-varying layers are frozen"
        return analyse_frozen(system.to("cpu"))


def analyse_layer(layer: SSMLayer) -> GainReport:
    """Gain and poles of a layer that is not time-varying; all figures are infinite where a
    parameter is not finite."""
    if not is_finite(layer):  # some factorizations raise an error for such matrices
        return GainReport(
            time="discrete",
            stable=False,
            hinf=math.inf,
            hinf_lower_bound=math.inf,
            hinf_upper_bound=math.inf,
            peak_frequency=0.0,
            h2=math.inf,
            margin=-math.inf,
            spectral_radius=math.inf,
        )
    with torch.no_grad():
        return analyse(layer.system().to("cpu"))
