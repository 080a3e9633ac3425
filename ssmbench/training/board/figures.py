"""Figures of a network's SSM layers as TensorBoard's images."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.analysis.attack import Attack
from ssmbench.analysis.markov import markov_parameters
from ssmbench.nn.bounds import is_finite
from ssmbench.nn.certified import GainsFrom
from ssmbench.nn.encoded import AfterEncoder
from ssmbench.nn.freeze import exact_map, freeze
from ssmbench.nn.model import SequenceModel
from ssmbench.systems import DiscreteSystem
from ssmbench.training.board.events import image
from ssmbench.training.board.messages import Summary
from ssmbench.training.layer_analysis import declared_gain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Layers that one figure shows; of a deeper network these are the first ones.
_SHOWN = 6
#: Steps of an impulse response.
_STEPS = 200
#: Dots per inch: a figure is 370 pixels wide for each panel beside another.
_DPI = 100

#: The poles of each layer by its name, complex.
Poles = Mapping[str, np.ndarray]


def shown_systems(model: SequenceModel) -> dict[str, DiscreteSystem]:
    """The systems of the layers that are drawn, in float64 on the CPU; without layers that are
    time-varying or have a parameter that is not finite."""
    with torch.no_grad():
        return {
            f"layer {index}": layer.system().detach().to("cpu").double()
            for index, layer in enumerate(model.layers[:_SHOWN])
            if is_finite(layer) and not layer.time_varying
        }


def poles_of(systems: Mapping[str, DiscreteSystem]) -> dict[str, np.ndarray]:
    """The poles of each system."""
    return {name: system.poles().flatten().numpy() for name, system in systems.items()}


def layer_images(
    model: SequenceModel, systems: Mapping[str, DiscreteSystem], earlier: Sequence[Poles] = ()
) -> Iterator[Summary]:
    """Poles (with those at ``earlier`` moments), gain against frequency, Hankel singular values and
    impulse responses; nothing if there is no system to draw."""
    if not systems:
        return
    from ssmbench.analysis.hankel import hankel_singular_values
    from ssmbench.figures.frequency import frequency_figure
    from ssmbench.figures.hankel import hankel_figure
    from ssmbench.figures.impulse import impulse_figure
    from ssmbench.figures.poles import poles_figure

    declared = {
        f"layer {index}": declared_gain(layer) for index, layer in enumerate(model.layers[:_SHOWN])
    }
    about = _about(model)
    yield _image("figures/poles", poles_figure(poles_of(systems), about, earlier))
    yield _image("figures/gain", frequency_figure(systems, declared, about))
    values = {name: hankel_singular_values(system).numpy() for name, system in systems.items()}
    yield _image("figures/hankel", hankel_figure(values, about))
    responses = {name: markov_parameters(s, _STEPS).numpy() for name, s in systems.items()}
    yield _image("figures/impulse", impulse_figure(responses, about))


def _about(model: SequenceModel) -> str:
    layers = len(model.layers)
    return f"the first {_SHOWN} of {layers} layers" if layers > _SHOWN else ""


def worst_input_image(model: SequenceModel, worst: Attack) -> Summary:
    """The disturbance that the network amplifies most, and the change of the output."""
    from ssmbench.figures.worst_input import worst_input_figure

    disturbance, change = worst.disturbance.cpu().numpy(), _change(model, worst)
    return _image("figures/worst_input", worst_input_figure(disturbance, change.cpu().numpy()))


def _change(model: SequenceModel, worst: Attack) -> Float[Tensor, "steps out"]:
    """f(base + disturbance) - f(base) in float64; one step if there is one output per sequence."""
    frozen = freeze(model)
    encoded = model.gains_from is GainsFrom.encoded
    network = AfterEncoder(frozen) if encoded else frozen
    base, disturbance = worst.base[None], worst.disturbance[None]
    network = exact_map(network, base) or network
    dtype = next(p.dtype for p in network.parameters() if p.is_floating_point())
    base, disturbance = base.to(dtype), disturbance.to(dtype)
    with torch.no_grad():
        change = (network(base + disturbance) - network(base))[0].double()
    return change if change.ndim == 2 else change[None]


def _image(tag: str, figure: Figure) -> Summary:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI)
    width, height = (round(inches * _DPI) for inches in figure.get_size_inches())
    return image(tag, stream.getvalue(), width, height)
