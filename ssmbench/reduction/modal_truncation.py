"""Modal truncation: the modes that contribute most are kept as they are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ssmbench.analysis.gramians import one_minus_square
from ssmbench.errors import UsageError
from ssmbench.reduction.balanced_form import BalancedForm
from ssmbench.reduction.base import Prepared, Reducer
from ssmbench.reduction.modes import LARGEST_CONDITION, by_modes
from ssmbench.registry import NoOptions, reducers
from ssmbench.systems import DiscreteDense, DiscreteDiagonal, DiscreteLTI


@dataclass(frozen=True)
class SortedModes(Prepared):
    """A system by its modes, those of largest gain first.

    ``counts`` (H, N): the order that is reached with each of the stored modes and all before it.
    """

    system: DiscreteDiagonal
    counts: Int[Tensor, "H N"]
    bounds: Float[Tensor, "H n_plus_1"]

    def at(self, orders: Int[Tensor, " H"]) -> DiscreteDiagonal:
        kept = self.counts <= orders[:, None]
        largest = max(int(kept.sum(-1).max()), 1)
        kept = kept[:, :largest]
        return replace(
            self.system,
            lam=self.system.lam[:, :largest] * kept,
            B=self.system.B[:, :largest] * kept[..., None],
            C=self.system.C[..., :largest] * kept[:, None],
        )


@reducers.register("modal_truncation", citation="Davison 1966, IEEE Trans. Autom. Control 11:93")
class ModalTruncation(Reducer):
    """Keeps the modes of largest gain ||c|| ||b|| / (1 - |lam|) as they are; the error is at most
    the sum of the gains removed."""

    def __init__(self, config: NoOptions):
        super().__init__(config)

    def prepare(self, system: DiscreteLTI, balanced: BalancedForm) -> Prepared:
        modes = _modes(system)
        gains = _gains(modes)
        order = gains.argsort(dim=-1, descending=True, stable=True)
        gains = gains.gather(1, order)
        widths = _widths(system, modes).gather(1, order)
        counts = torch.where(gains > 0, widths, 0).cumsum(-1)
        tails = torch.nn.functional.pad(gains.flip(-1).cumsum(-1).flip(-1), (0, 1))
        bounds = tails.new_full((system.heads, system.order + 1), torch.inf)
        bounds[:, -1] = 0.0
        bounds = bounds.scatter(1, torch.nn.functional.pad(counts, (1, 0)), tails)
        return SortedModes(_in_order(modes, order), counts, bounds)


def _modes(system: DiscreteLTI) -> DiscreteDiagonal:
    if isinstance(system, DiscreteDiagonal):
        return system
    if not system.states:
        return _without_modes(system)
    found = by_modes(system, LARGEST_CONDITION)
    if found is None:
        raise UsageError(
            "the eigenvectors of a head are too badly conditioned for its modes to be taken "
            f"apart (allowed: a condition number up to {LARGEST_CONDITION:.0e})"
        )
    return found


def _without_modes(system: DiscreteDense) -> DiscreteDiagonal:
    A, B, C = (t.to(torch.complex128) for t in (system.A, system.B, system.C))
    return DiscreteDiagonal(
        lam=A.diagonal(dim1=-2, dim2=-1), B=B, C=C, D=system.D, conjugate=system.is_real()
    )


def _gains(modes: DiscreteDiagonal) -> Float[Tensor, "H N"]:
    """Bounds on the H-infinity norm of each stored mode, with its conjugate."""
    lam = modes.lam.to(torch.complex128)
    gap = one_minus_square(lam) / (1 + lam.abs())
    sizes = torch.linalg.vector_norm(modes.B, dim=-1) * torch.linalg.vector_norm(modes.C, dim=-2)
    return sizes / gap * (2 if modes.conjugate else 1)


def _widths(system: DiscreteLTI, modes: DiscreteDiagonal) -> Int[Tensor, "H N"]:
    """How much of the order each stored mode takes: a real one of a dense system takes 1."""
    pairs = torch.full(modes.lam.shape, 2 if modes.conjugate else 1, device=modes.lam.device)
    if isinstance(system, DiscreteDense) and modes.conjugate:
        return torch.where(modes.lam.imag == 0, 1, pairs)
    return pairs


def _in_order(modes: DiscreteDiagonal, order: Int[Tensor, "H N"]) -> DiscreteDiagonal:
    rows = order[..., None].expand(-1, -1, modes.inputs)
    columns = order[:, None].expand(-1, modes.outputs, -1)
    return replace(
        modes,
        lam=modes.lam.gather(1, order),
        B=modes.B.gather(1, rows),
        C=modes.C.gather(2, columns),
    )
