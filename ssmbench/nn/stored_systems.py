"""The systems of a network's layers in the form in which ``discrete_matrices`` stores them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ssmbench.errors import require
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.parametrizations.matrices import decay_and_angle
from ssmbench.systems import DiscreteDense, DiscreteDiagonal, DiscreteLTI


@dataclass(frozen=True)
class StoredForm:
    """How many numbers ``discrete_matrices`` stores: the form (:class:`StoredSystems`), the heads
    of every layer, and the option ``d_state`` of each block."""

    form: str
    heads: int
    states: tuple[int, ...]


@dataclass(frozen=True)
class StoredSystems:
    """The systems of all layers in one form: ``pairs``, diagonal and one mode of each conjugate
    pair; ``polar``, the same with poles by decay and angle; or ``dense``. Those of one block have
    as many states."""

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

    def stable(self) -> StoredSystems:
        """The same in the form that is stable for all values, where the systems have it."""
        fits = self.form == "pairs" and all(x.is_stable() for x in self.systems.values())
        return StoredSystems("polar", self.systems) if fits else self

    def states(self, layer: SSMLayer) -> int:
        """The option ``d_state`` of the layer's parametrization."""
        return self.systems[layer].states * (1 if self.form == "dense" else 2)

    def shape(self, model: SequenceModel) -> StoredForm:
        """What a network needs to hold these systems in its layers.

        Raises:
            UsageError: the layers have different numbers of heads.
        """
        blocks = dict.fromkeys(model.blocks)
        heads = {system.heads for system in self.systems.values()}
        require(len(heads) == 1, f"layers of {sorted(heads)} heads cannot be stored together")
        states = tuple(self.states(block.layers[0]) for block in blocks)
        return StoredForm(self.form, heads.pop(), states)

    def parameters(self, layer: SSMLayer) -> dict[str, Tensor]:
        """Those of ``discrete_matrices``."""
        system = self.systems[layer]
        found = {"B": system.B, "C": system.C}
        if isinstance(system, DiscreteDiagonal):
            found = {name: torch.view_as_real(x.resolve_conj()) for name, x in found.items()}
            if self.form == "polar":
                found |= decay_and_angle(system.lam)
            else:
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
