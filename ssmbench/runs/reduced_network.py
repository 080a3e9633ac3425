"""A trained network with other systems in its SSM layers, as a config and weights of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssmbench.config import resolve, resolve_model
from ssmbench.errors import require
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.linear import BoundedLinear, effective_weight
from ssmbench.nn.model import SequenceModel
from ssmbench.systems import DiscreteDense, DiscreteDiagonal, DiscreteLTI

#: What a network of stored systems has of its own, in place of the options of the trained one.
_OWN = ("discretizer", "normaliser", "readout", "reverse_readout", "tied", "gamma", "gamma_by")


@dataclass(frozen=True)
class StoredSystems:
    """The systems of all layers in one form: ``pairs``, diagonal and one mode of each conjugate
    pair; or ``dense``. Those of one block have as many states."""

    form: str
    systems: Mapping[SSMLayer, DiscreteDiagonal | DiscreteDense]

    @staticmethod
    def of(model: SequenceModel, systems: Mapping[SSMLayer, DiscreteLTI]) -> StoredSystems:
        """The given systems, which are real, padded with states that no input reaches."""
        paired = {layer: _as_pairs(system) for layer, system in systems.items()}
        chosen: dict[SSMLayer, DiscreteLTI] = {k: v for k, v in paired.items() if v is not None}
        pairs = len(chosen) == len(systems)
        if not pairs:
            chosen = {layer: system.to_dense() for layer, system in systems.items()}
        for block in model.blocks:
            largest = max(1, *(chosen[layer].states for layer in block.layers))
            chosen |= {layer: _padded(chosen[layer], largest) for layer in block.layers}
        return StoredSystems("pairs" if pairs else "dense", chosen)

    def states(self, layer: SSMLayer) -> int:
        """The option ``d_state`` of the layer's parametrization."""
        return self.systems[layer].states * (2 if self.form == "pairs" else 1)

    def parameters(self, layer: SSMLayer) -> dict[str, Tensor]:
        """Those of ``discrete_matrices``."""
        system = self.systems[layer]
        found = {"B": system.B, "C": system.C}
        if isinstance(system, DiscreteDiagonal):
            found = {name: torch.view_as_real(x.resolve_conj()) for name, x in found.items()}
            found["lam"] = torch.view_as_real(system.lam.resolve_conj())
        else:
            found["A"] = system.A
        return found | {"D": system.D.real}


def _as_pairs(system: DiscreteLTI) -> DiscreteDiagonal | None:
    """A real diagonal system by conjugate pairs; None of others."""
    if not isinstance(system, DiscreteDiagonal):
        return None
    complex_ = system.map(lambda t: t.to(torch.promote_types(t.dtype, torch.complex32)))
    lam, B, C = complex_.lam, complex_.B, complex_.C
    if not system.conjugate:
        C = C / 2  # a real mode counts like a pair
    return DiscreteDiagonal(lam=lam, B=B, C=C, D=system.D.real, conjugate=True)


def _padded(system: DiscreteLTI, states: int) -> DiscreteDiagonal | DiscreteDense:
    more = states - system.states
    pad = torch.nn.functional.pad
    B, C = pad(system.B, (0, 0, 0, more)), pad(system.C, (0, more))
    if isinstance(system, DiscreteDiagonal):
        lam = pad(system.lam, (0, more))
        return DiscreteDiagonal(lam=lam, B=B, C=C, D=system.D, conjugate=True)
    return DiscreteDense(A=pad(system.A, (0, more, 0, more)), B=B, C=C, D=system.D)


def stored_config(
    config: Mapping[str, Any], model: SequenceModel, stored: StoredSystems
) -> dict[str, Any]:
    """The config of a run whose layers hold these systems; all else is as in ``config``.

    A prescribed gain is no longer prescribed: matrices that are free keep none.

    Raises:
        UsageError: the layers have different numbers of heads.
    """
    blocks = list(dict.fromkeys(model.blocks))
    states = [stored.states(block.layers[0]) for block in blocks]
    heads = {system.heads for system in stored.systems.values()}
    require(len(heads) == 1, f"layers of {sorted(heads)} heads cannot be stored together")
    defaults = vars(resolve_model({}))
    own = {key: defaults[key] for key in _OWN if key in defaults}
    parametrization = {
        "name": "discrete_matrices",
        "d_state": max(states),
        "heads": heads.pop(),
        "form": stored.form,
    }
    changed = {
        **config["model"],
        **own,
        "discretizer": None,
        "normaliser": None,
        "parametrization": parametrization,
        "layer_states": states,
        "scan": {"name": "auto"},
    }
    if changed["encoder"] is None and any(isinstance(m, BoundedLinear) for m in [model.encoder]):
        changed["encoder"] = {"name": "linear"}
    given = {key: value for key, value in config.items() if key != "sources"}
    return resolve({**given, "model": changed}, "reduce")


def stored_weights(
    old: SequenceModel, new: SequenceModel, stored: StoredSystems
) -> dict[str, Tensor]:
    """All weights of the network ``new`` of :func:`stored_config`."""
    found = {name: value for name, value in old.state_dict().items() if name in new.state_dict()}
    for name, module in old.named_modules(remove_duplicate=False):
        if isinstance(module, BoundedLinear) and not isinstance(
            new.get_submodule(name), BoundedLinear
        ):
            found[f"{name}.weight"] = effective_weight(module)
    rows = old.decoder_matrix()
    if old.gamma is not None:
        require(rows is not None, "the decoder's gain is prescribed, and it is not affine")
        assert rows is not None
        found["decoder.weight"] = rows
    for name, layer in _layers(old):
        for key, value in stored.parameters(layer).items():
            found[f"{name}.parametrization.{key}"] = value
    return {name: value.detach().clone() for name, value in found.items()}


def _layers(model: SequenceModel) -> Iterator[tuple[str, SSMLayer]]:
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, SSMLayer):
            yield name, module
