"""What the flax networks of S5 and of minimal-LRU share: encoder, blocks with a GLU, decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssmbench.errors import require
from ssmbench.importers.parts import (
    NormPart,
    State,
    flax_dense,
    flax_norm,
    identity,
    one_component,
    prefixed,
    stacked,
)
from ssmbench.importers.weights import Weights
from ssmbench.spec import Channels

_NO_ENDS = "a checkpoint without encoder or decoder: the identity takes its place"


@dataclass(frozen=True)
class FlaxNetwork:
    """Everything of a network but its SSM layers; fields as in
    :class:`~ssmbench.importers.base.Imported`."""

    model: dict[str, Any]
    input: Channels
    outputs: int
    state: State
    per_step: bool
    notes: tuple[str, ...]


def flax_network(
    weights: Weights,
    *,
    norm_name: str,
    norm: str,
    prenorm: bool,
    pooling: str,
    activation: str,
    take_layer: Callable[[Weights], None],
) -> FlaxNetwork:
    """The network around the SSM layers, each of which ``take_layer`` takes from its block.

    Keys: ``encoder.encoder``, ``encoder.layers_0`` ... and ``decoder``, as ClassificationModel of
    both codes has them; statistics of batch norms are below ``batch_stats``. ``norm_name``: the key
    of a block's norm; ``norm``: batch or layer. The prediction is that before the log-softmax. GELU
    is flax's, by tanh.
    """
    layers, statistics = "encoder.layers_", weights.under("batch_stats.")
    count = weights.numbered(layers)
    partial = weights.partial
    state: State = {}
    missing = partial and not weights.under("encoder.encoder.").has_any()
    if not missing:
        state |= prefixed("encoder.", flax_dense(weights, "encoder.encoder", "inputs", "H"))
    blocks = [weights.under(f"{layers}{i}.") for i in range(count)]
    norms, forms = [], []
    for index, block in enumerate(blocks):
        take_layer(block)
        part = flax_norm(block, statistics.under(f"{layers}{index}."), norm_name, "H", norm)
        shaped = _activation(block, activation)
        state |= block_state(index, part, shaped)
        norms.append(part.component)
        forms.append(shaped.component)
    width = weights.size("H")
    ends = _ends(weights, missing, width)
    state |= ends.state
    per_step = pooling == "none" or not ends.decoded
    model = {
        "d_model": width,
        "n_layers": count,
        "norm": one_component(weights, norms, "norms"),
        "norm_position": "pre" if prenorm else "post",
        "nonlinearity": one_component(weights, forms, "activations"),
        "mix": False,
        "residual": "add",
        "readout": "after",
        "pooling": "mean" if pooling == "none" else pooling,
    }
    inputs = Channels(width if missing else weights.size("inputs"))
    return FlaxNetwork(model, inputs, ends.outputs, state, per_step, ends.notes)


@dataclass(frozen=True)
class _Ends:
    state: State
    outputs: int
    decoded: bool
    notes: tuple[str, ...]


def _ends(weights: Weights, no_encoder: bool, width: int) -> _Ends:
    state = prefixed("encoder.", identity(width)) if no_encoder else {}
    decoded = not weights.partial or weights.under("decoder.").has_any()
    notes = (_NO_ENDS,) if no_encoder or not decoded else ()
    if not decoded:
        return _Ends(state | prefixed("decoder.", identity(width)), width, False, notes)
    state |= prefixed("decoder.", flax_dense(weights, "decoder", "H", "outputs"))
    return _Ends(state, weights.size("outputs"), True, notes)


def _activation(block: Weights, activation: str) -> NormPart:
    """The nonlinearity of a block with its arrays; ``auto`` goes by the keys."""
    full, half = block.under("out1.").has_any(), block.under("out2.").has_any()
    has = "full_glu" if full else "half_glu1" if half else "gelu"
    chosen = has if activation == "auto" else activation
    fits = chosen.startswith(has[:4])
    require(fits, f"{block.source}: activation={activation}, but the keys are those of {has}")
    if chosen == "gelu":
        return NormPart({"name": "gelu_tanh"}, {})
    gate = flax_dense(block, "out2", "H", "H")
    if chosen != "full_glu":
        form = {"half_glu1": "half1", "half_glu2": "half2"}[chosen]
        return NormPart({"name": "glu", "form": form, "gelu": "tanh"}, prefixed("linear.", gate))
    both = stacked(flax_dense(block, "out1", "H", "H"), gate)
    return NormPart({"name": "glu", "form": "full", "gelu": "tanh"}, prefixed("linear.", both))


def block_state(index: int, norm: NormPart, nonlinearity: NormPart) -> State:
    """The arrays of a block but those of its SSM layer."""
    return prefixed(f"blocks.{index}.norm.", norm.state) | prefixed(
        f"blocks.{index}.nonlinearity.", nonlinearity.state
    )


def network_example(
    layer: Mapping[str, np.ndarray], *, norm_name: str, glu: tuple[str, ...], width: int
) -> dict[str, np.ndarray]:
    """A checkpoint of one block around a layer's arrays: 2 input channels and 3 outputs."""
    random = np.random.default_rng(1)

    def dense(name: str, inputs: int, outputs: int) -> dict[str, np.ndarray]:
        kernel = random.standard_normal((inputs, outputs)) / np.sqrt(inputs)
        return {f"{name}.kernel": kernel, f"{name}.bias": random.standard_normal(outputs)}

    block = {f"seq.{name}": array for name, array in layer.items()}
    for name in glu:
        block |= dense(name, width, width)
    block |= {f"{norm_name}.scale": np.ones(width), f"{norm_name}.bias": np.zeros(width)}
    statistics = f"batch_stats.encoder.layers_0.{norm_name}"
    return {
        f"{statistics}.mean": random.standard_normal(width),
        f"{statistics}.var": random.uniform(0.5, 2.0, width),
        **dense("encoder.encoder", 2, width),
        **{f"encoder.layers_0.{name}": array for name, array in block.items()},
        **dense("decoder", width, 3),
    }
