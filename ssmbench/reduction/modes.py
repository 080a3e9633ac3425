"""The form in which a reduced system is given back: modes where that is sound, and the precision
of the layer."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from ssmbench.linalg.precision import EPS
from ssmbench.systems import DiscreteDense, DiscreteDiagonal, DiscreteLTI

#: The condition number of eigenvectors, times the unit roundoff of the layer's precision, up to
#: which a system is given back by its modes.
LARGEST_LOSS = 1e-3
#: That condition number in any precision: the eigenvectors are computed in float64.
LARGEST_CONDITION = 1e-4 / EPS**0.5


def as_layer(system: DiscreteLTI, like: DiscreteLTI) -> DiscreteLTI:
    """The system in the precision of ``like``: diagonal where every head's eigenvectors are well
    enough conditioned, so that a rounded mode changes little; otherwise dense."""
    real = like.signal_dtype
    largest = min(LARGEST_LOSS / (torch.finfo(real).eps / 2), LARGEST_CONDITION)
    if isinstance(system, DiscreteDense):
        system = by_modes(system, largest) or system
    return rounded(system, real)


def rounded(system: DiscreteLTI, real: torch.dtype) -> DiscreteLTI:
    """The system in a real precision and its complex one; modes are rounded towards zero where they
    would become unstable."""
    dtypes = {False: real, True: torch.promote_types(real, torch.complex32)}
    narrow = system.map(lambda t: t.to(dtypes[t.is_complex()]))
    if not (isinstance(narrow, DiscreteDiagonal) and isinstance(system, DiscreteDiagonal)):
        return narrow
    unstable = (narrow.lam.abs() >= 1) & (system.lam.abs() < 1)
    shrunk = narrow.lam * (1 - 2 * torch.finfo(real).eps)
    return narrow.with_dynamics(torch.where(unstable, shrunk, narrow.lam))


def by_modes(system: DiscreteDense, largest_condition: float) -> DiscreteDiagonal | None:
    """The system by its modes, one of each conjugate pair where it is real; None if the
    eigenvectors of a head are worse conditioned than this. In double precision.

    A real mode of a real system is stored like a pair, with half of C.
    """
    if not system.states:
        return None
    lam, V = torch.linalg.eig(system.A)
    condition = torch.linalg.cond(V)
    if not bool((condition <= largest_condition).all()):  # NaN too
        return None
    B = torch.linalg.solve(V, system.B.to(V.dtype))
    C = system.C.to(V.dtype) @ V
    if system.A.is_complex():
        return DiscreteDiagonal(lam=lam, B=B, C=C, D=system.D)
    C = torch.where((lam.imag == 0)[:, None], C / 2, C)
    moved = (lam.imag >= 0) & (B != 0).any(-1) & (C != 0).any(-2)
    return DiscreteDiagonal(**_only(lam, B, C, moved), D=system.D, conjugate=True)


def _only(
    lam: Complex[Tensor, "H n"],
    B: Complex[Tensor, "H n m"],
    C: Complex[Tensor, "H p n"],
    chosen: Bool[Tensor, "H n"],
) -> dict[str, Tensor]:
    """The chosen modes of each head, padded with zeros to the largest number of any, at least 1."""
    count = max(int(chosen.sum(-1).max()), 1)
    places = chosen.double().argsort(dim=-1, descending=True, stable=True)[:, :count]
    present: Float[Tensor, "H count"] = chosen.gather(1, places).double()
    return {
        "lam": lam.gather(1, places) * present,
        "B": B.gather(1, places[..., None].expand(-1, -1, B.shape[-1])) * present[..., None],
        "C": C.gather(2, places[:, None].expand(-1, C.shape[1], -1)) * present[:, None],
    }
