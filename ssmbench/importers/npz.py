"""The neutral layout: our own names, and for each SSM layer its matrices, so that anyone can write
it. docs/importing.md describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ssmbench.errors import UsageError, require
from ssmbench.importers.base import Imported, Importer
from ssmbench.importers.parts import State, as_pairs, identity, one_component, prefixed
from ssmbench.importers.weights import Weights
from ssmbench.options import one_of, option
from ssmbench.registry import importers
from ssmbench.spec import Channels
from ssmbench.systems import ContinuousDiagonal

_MATRICES = ("A", "lam", "B", "C", "D", "dt")


@dataclass
class NpzImportConfig:
    """``pooling``: the prediction is at each step (none), or from the mean or the last of all
    steps."""

    pooling: str = option("none", one_of("none", "mean", "last"))


@dataclass(frozen=True)
class _Layer:
    """Component of the parametrization, whether it is continuous, parameters, and channels."""

    component: dict[str, Any]
    continuous: bool
    state: State
    width: int


@importers.register("npz", config=NpzImportConfig, citation="this work (docs/importing.md)")
class NpzImporter(Importer):
    """Our own parameter names; the SSM layers as matrices A, B, C, D in discrete time, or with dt.

    Without further keys the network is its layers, one after another, with outputs at each step.
    What no key shows is set by overrides: ``model.residual=add``, ``model.nonlinearity=gelu``.
    """

    mark = r"blocks\.0\.layer\..*"

    def read(self, weights: Weights) -> Imported:
        count = weights.numbered("blocks.")
        blocks = [weights.under(f"blocks.{index}.") for index in range(count)]
        layers = [_layer(block.under("layer.")) for block in blocks]
        width = _width(weights, layers)
        state = _passed_on(weights)
        for index, layer in enumerate(layers):
            own = {} if layer is None else layer.state
            state |= prefixed(f"blocks.{index}.layer.parametrization.", own)
        for end in ("encoder", "decoder"):
            state = _with_bias(weights, state, end, width)
        model = {
            "d_model": width,
            "n_layers": count,
            **_parametrization(weights, layers),
            **_norms(weights, blocks),
            **_nonlinearity(weights, blocks),
            "mix": blocks[0].has("mix.weight"),
            "residual": "none",
            "pooling": "mean" if self.config.pooling == "none" else self.config.pooling,
        }
        inputs, outputs = state["encoder.weight"].shape[1], state["decoder.weight"].shape[0]
        per_step = self.config.pooling == "none"
        return Imported(model, Channels(inputs), outputs, state, per_step)

    @classmethod
    def example(cls) -> Mapping[str, np.ndarray]:
        random, N, H = np.random.default_rng(0), 3, 4
        return {
            "encoder.weight": random.standard_normal((H, 2)),
            "encoder.bias": random.standard_normal(H),
            "blocks.0.norm.weight": np.ones(H),
            "blocks.0.norm.bias": np.zeros(H),
            "blocks.0.layer.A": np.diag([0.9, 0.5, -0.5]),
            "blocks.0.layer.B": random.standard_normal((N, H)),
            "blocks.0.layer.C": random.standard_normal((H, N)),
            "blocks.0.layer.D": np.eye(H),
            "decoder.weight": random.standard_normal((3, H)),
            "decoder.bias": random.standard_normal(3),
        }


def _passed_on(weights: Weights) -> State:
    """All arrays but matrices of layers: the network itself refuses what it does not have."""
    found: State = {}
    for name in weights.keys:
        block, _, last = name.rpartition(".layer.")
        if not (block and last in _MATRICES):
            found[name] = weights.take(name, *weights.shape(name))
    return found


def _width(weights: Weights, layers: list[_Layer | None]) -> int:
    widths = {layer.width for layer in layers if layer is not None}
    require(
        len(widths) <= 1,
        f"{weights.source}: layers of {sorted(widths)} channels; all need the same",
    )
    for name, axis in (("encoder.weight", 0), ("decoder.weight", 1)):
        shape = weights.shape(name)
        widths |= {shape[axis]} if len(shape) == 2 else set()
    require(
        bool(widths),
        f"{weights.source}: encoder.weight or decoder.weight must be there, from which d_model "
        "follows where a layer has no matrices A, B, C, D",
    )
    require(
        len(widths) == 1,
        f"{weights.source}: encoder, layers and decoder have {sorted(widths)} channels; all need "
        "the same",
    )
    return widths.pop()


def _with_bias(weights: Weights, state: State, end: str, width: int) -> State:
    """The encoder or decoder with a bias of zero where it has none; the identity if it is not
    there."""
    if not weights.under(f"{end}.").has_any():
        return state | prefixed(f"{end}.", identity(width))
    shape = weights.shape(f"{end}.weight")
    require(
        len(shape) == 2,
        f"{weights.source}: {end}.weight must be a matrix (out, in), its shape is {shape}",
    )
    return {f"{end}.bias": torch.zeros(shape[0]).double(), **state}


# --- layers -------------------------------------------------------------------------------------


def _layer(weights: Weights) -> _Layer | None:
    """A layer given by its matrices; None if it is given by the parameters of a parametrization."""
    if not any(weights.has(name) for name in _MATRICES):
        return None
    diagonal = weights.has("lam")
    banked = len(weights.shape("lam" if diagonal else "A")) == (2 if diagonal else 3)
    bank = ("heads",) if banked else ()
    take = weights.take_complex if diagonal else weights.take
    own = {"lam": take("lam", *bank, "N")} if diagonal else {"A": take("A", *bank, "N", "N")}
    own |= {"B": take("B", *bank, "N", "m"), "C": take("C", *bank, "m", "N")}
    own["D"] = weights.take("D", *bank, "m", "m")
    whole = {name: array if banked else array[None] for name, array in own.items()}
    heads, width = len(whole["D"]), len(whole["D"]) * whole["D"].shape[-1]
    if weights.has("dt"):
        state = _continuous(weights, whole)
        size = {"d_state": state["A"].shape[-1], "heads": heads}
        return _Layer({"name": "continuous_matrices", **size}, True, state, width)
    states = whole["B"].shape[-2] * (2 if diagonal else 1)
    form = "pairs" if diagonal else "dense"
    component = {"name": "discrete_matrices", "d_state": states, "heads": heads, "form": form}
    state = {n: as_pairs(x) if n != "D" else x for n, x in whole.items()} if diagonal else whole
    return _Layer(component, False, _real(weights, state), width)


def _continuous(weights: Weights, whole: State) -> State:
    """The parameters of ``continuous_matrices``; conjugate pairs become real blocks."""
    heads = len(whole["D"])
    shape = weights.shape("dt")
    dt = weights.take("dt", *shape).flatten()
    require(
        len(dt) in (1, heads) and not dt.is_complex() and bool((dt > 0).all()),
        f"{weights.source}: dt must be a positive number, or one for each of {heads} heads; its "
        f"shape is {shape}",
    )
    dt = dt.expand(heads)
    if "lam" in whole:
        dense = ContinuousDiagonal(conjugate=True, dt=dt, **whole).to_dense()
        whole = {name: getattr(dense, name) for name in ("A", "B", "C", "D")}
    return _real(weights, {**whole, "log_dt": torch.log(dt)})


def _real(weights: Weights, state: State) -> State:
    for name, array in state.items():
        require(
            not array.is_complex(),
            f"{weights.source}: {name} of a layer is complex; give complex poles as lam, one of "
            "each conjugate pair",
        )
    return state


def _parametrization(weights: Weights, layers: list[_Layer | None]) -> dict[str, Any]:
    """The component of all layers; dense matrices of fewer states cannot stand beside others."""
    given = [layer for layer in layers if layer is not None]
    if not given:
        return {}
    require(
        len(given) == len(layers),
        f"{weights.source}: some layers have matrices A, B, C, D and some have not",
    )
    component = one_component(weights, [layer.component for layer in given], "systems")
    return {"parametrization": component, "discretizer": "zoh" if given[0].continuous else None}


# --- around the layers --------------------------------------------------------------------------


def _norms(weights: Weights, blocks: list[Weights]) -> dict[str, Any]:
    """Norms by their arrays: batch has a running mean, layer a bias, rms a weight alone."""
    norm = one_component(weights, [{"name": _norm(b.under("norm."))} for b in blocks], "norms")
    final = _norm(weights.under("final_norm."))
    return {"norm": norm, "final_norm": None if final == "none" else final}


def _norm(norm: Weights) -> str:
    kinds = {"mean": "batch", "bias": "layer", "weight": "rms"}
    return next((kind for key, kind in kinds.items() if norm.has(key)), "none")


def _nonlinearity(weights: Weights, blocks: list[Weights]) -> dict[str, Any]:
    """A GLU by the shape of its linear map, else none."""
    return {"nonlinearity": one_component(weights, [_form(b) for b in blocks], "nonlinearities")}


def _form(block: Weights) -> dict[str, Any]:
    shape = block.shape("nonlinearity.linear.weight")
    if not shape:
        return {"name": "identity"}
    forms = {2: "full", 1: "half1"}
    factor, rest = divmod(shape[0], shape[-1])
    if rest or factor not in forms:
        raise UsageError(
            f"{block.source}: nonlinearity.linear.weight has the shape {shape}, but a gated linear "
            "unit needs (2 d_model, d_model) or (d_model, d_model)"
        )
    return {"name": "glu", "form": forms[factor]}
