"""How far two systems are apart: measured, and proved."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.analysis.cauchy import cauchy_factor
from ssmbench.analysis.gramians import controllability_factor
from ssmbench.analysis.hinf import hinf_norm, usable_heads
from ssmbench.analysis.proofs import prove
from ssmbench.linalg.precision import double_dtype
from ssmbench.systems import DiscreteDense, DiscreteDiagonal, DiscreteLTI


def difference(first: DiscreteLTI, second: DiscreteLTI) -> DiscreteLTI:
    """The system with the output of ``first`` less that of ``second``, in double precision.

    Diagonal if both are, and both store conjugate pairs or neither does.
    """
    first, second = first.detach().double(), second.detach().double()
    match first, second:
        case DiscreteDiagonal(), DiscreteDiagonal() if first.conjugate == second.conjugate:
            return _of_modes(first, second)
    return _of_dense(first.to_dense(), second.to_dense())


def _of_modes(first: DiscreteDiagonal, second: DiscreteDiagonal) -> DiscreteDiagonal:
    """The modes of both, all complex."""
    one, other = (s.map(lambda t: t.to(torch.complex128)) for s in (first, second))
    return DiscreteDiagonal(
        lam=torch.cat([one.lam, other.lam], 1),
        B=torch.cat([one.B, other.B], 1),
        C=torch.cat([one.C, -other.C], 2),
        D=first.D - second.D,
        conjugate=first.conjugate,
    )


def _of_dense(first: DiscreteDense, second: DiscreteDense) -> DiscreteDense:
    common = double_dtype(*first.tensors().values(), *second.tensors().values())
    one, other = (s.map(lambda t: t.to(common)) for s in (first, second))
    return DiscreteDense(
        A=_block_diagonal(one.A, other.A),
        B=torch.cat([one.B, other.B], 1),
        C=torch.cat([one.C, -other.C], 2),
        D=one.D - other.D,
    )


def _block_diagonal(A: Tensor, B: Tensor) -> Tensor:
    above = torch.nn.functional.pad(A, (0, B.shape[-1]))
    return torch.cat([above, torch.nn.functional.pad(B, (A.shape[-1], 0))], 1)


def measured_errors(
    system: DiscreteLTI, reduced: DiscreteLTI
) -> tuple[Float[Tensor, " H"], Float[Tensor, " H"]]:
    """H-infinity and H2 norm of the difference of each head, float64; infinite where unstable."""
    apart = difference(system, reduced)
    return hinf_norm(apart).norm, _h2(apart)


def _h2(system: DiscreteLTI) -> Float[Tensor, " H"]:
    """The H2 norm from a factor of the Gramian, as ||C L||_F: that of a difference of nearly equal
    systems keeps digits that a sum over the entries of the Gramian would lose."""
    stable = usable_heads(system)
    if not system.states:
        return torch.linalg.matrix_norm(system.D)
    safe = system.with_dynamics(
        torch.where(stable.view(-1, *[1] * (system.dynamics.ndim - 1)), system.dynamics, 0.0)
    )
    through = _outputs_of_factor(safe)
    energy = through.abs().square().sum((-2, -1)) + system.D.abs().square().sum((-2, -1))
    return torch.where(stable, energy.sqrt(), torch.inf)


def _outputs_of_factor(system: DiscreteLTI) -> Tensor:
    if isinstance(system, DiscreteDense):
        return system.C @ controllability_factor(system)
    lam, B, C = (t.to(torch.complex128) for t in (system.lam, system.B, system.C))
    if system.conjugate:
        lam, B = torch.cat([lam, lam.conj()], 1), torch.cat([B, B.conj()], 1)
        C = torch.cat([C, C.conj()], 2)
    return C @ cauchy_factor(lam, B, discrete=True)


def proved_error(system: DiscreteLTI, reduced: DiscreteLTI) -> Float[Tensor, " H"]:
    """An upper bound, with all rounding accounted for, on the H-infinity norm of the difference of
    each head; infinite where none is proved. Takes up to half a minute for large systems.

    The gain of the reduced system is then at most that of the given one plus this number.
    """
    if _is_same(system, reduced):
        return torch.zeros(system.heads, dtype=torch.float64)
    proved = prove(difference(system, reduced))
    return torch.tensor([one.hinf.upper for one in proved], dtype=torch.float64)


def _is_same(first: DiscreteLTI, second: DiscreteLTI) -> bool:
    if type(first) is not type(second) or first.is_real() != second.is_real():
        return False
    ours, theirs = first.tensors(), second.tensors()
    return all(torch.equal(ours[key], theirs[key]) for key in ours)
