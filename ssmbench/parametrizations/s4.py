"""S4: normal plus low-rank systems, and their convolution kernel by Cauchy sums.

Gu, Goel, Re 2022, Efficiently Modeling Long Sequences with Structured State Spaces, arXiv
2111.00396. A bank of H = d_model single-channel heads with ``A = diag(lam) - P P*``; Q = P and
Re lam < 0 make A + A* negative definite, so every parameter value is stable (Goel, Gu, Donahue, Re
2022, SaShiMi, arXiv 2202.09729, section 4). Departures from the published code:

* lam, P, B belong to each head unless ``n_ssm: 1``, the published default, lets all share them;
* B is HiPPO's; the code cuts imaginary parts of its entries off at -2 and 2, as ``clip_B: true``
  does: for ``legs`` with d_state = 64 in 11 of 32 modes, and the norm of B falls from 64 to 12.2;
* ``legt`` and ``fout`` have a window of one time unit, in the code of two: ours run at twice the
  published speed at equal dt, which half the step sizes undo;
* C itself is a parameter. The paper learns ``C (I - A_bar^L)``, which ties it to one length L;
* the output is ``y[k] = C x[k] + D u[k]`` with the state *before* input k, control's convention:
  the kernel starts D, C B_bar, C A_bar B_bar, where the paper's starts C B_bar + D, as it does
  with ``model.readout: after``;
* Re lam stays a rounding error's worth below zero, so that float32 matrices keep the guarantee;
  ``legt`` and ``fout``, whose normal parts are undamped, start at Re lam = -0.001;
* ``fout`` has d_state - 1 Fourier functions: the constant takes a conjugate pair, of frequency 0.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from ssmbench.errors import require
from ssmbench.linalg.factorizations import solve
from ssmbench.options import PAIRED_SIZE, SIZE, one_of, option
from ssmbench.parametrizations.base import (
    AS_WEIGHT,
    DT_TRANSFORMS,
    Parametrization,
    check_step_sizes,
    copies_of,
    for_each_head,
    free_steps,
    log_uniform_steps,
    positive,
    step_sizes,
)
from ssmbench.parametrizations.hippo import Measure, normal_plus_low_rank, rank
from ssmbench.registry import parametrizations
from ssmbench.systems import ContinuousDense

_MIN_INITIAL_DECAY = 1e-3


@dataclass(frozen=True)
class PairedBank:
    """Heads of ``x' = (diag(lam) - P P*) x + B u``, ``y = 2 Re(C x) + D u``, one of each pair.

    lam, B, C (H, M), P (H, M, r), D and dt (H,): M of the N = 2 M modes, whose conjugates follow.
    P* sums over all N.
    """

    lam: Complex[Tensor, "H M"]
    P: Complex[Tensor, "H M r"]
    B: Complex[Tensor, "H M"]
    C: Complex[Tensor, "H M"]
    D: Float[Tensor, " H"]
    dt: Float[Tensor, " H"]

    def to(self, dtype: torch.dtype) -> PairedBank:
        """The bank in a complex dtype, its real parts in the real one of the same precision."""
        tensors = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        real = dtype.to_real()
        return PairedBank(
            **{k: v.to(dtype if v.is_complex() else real) for k, v in tensors.items()}
        )

    def to_dense(self) -> ContinuousDense:
        """The real system of N = 2 M states sqrt(2) (Re x, Im x): an orthonormal change of basis.

        Pairs are rotations by Im lam, and the low-rank part is real.
        """
        P, B = _real_column(self.P), _real_column(self.B[..., None])
        re, im = torch.diag_embed(self.lam.real), torch.diag_embed(self.lam.imag)
        normal = torch.cat([torch.cat([re, -im], -1), torch.cat([im, re], -1)], -2)
        # Not a matrix product, which reduced precision (TF32) would leave without its sign.
        low_rank = (P[:, :, None] * P[:, None]).sum(-1)
        C = _real_column(self.C.conj_physical()[..., None]).mT
        return ContinuousDense(A=normal - low_rank, B=B, C=C, D=self.D[:, None, None], dt=self.dt)


def _real_column(v: Complex[Tensor, "H M r"]) -> Float[Tensor, "H N r"]:
    return math.sqrt(2) * torch.cat([v.real, v.imag], 1)


@dataclass
class S4Config:
    """``d_state`` counts conjugates, so ``d_state / 2`` modes are stored.

    ``rank`` is that of P: 1 for ``legs``, ``lagt`` and ``fout``, 2 for ``legt``. ``clip_B``: the
    imaginary parts of the initial B are cut off at -2 and 2 (:func:`clipped`), as published.
    ``n_ssm``: trained copies of lam, P and B, of which head h has number h mod n_ssm; null for one
    each. ``dt_transform``: step sizes are e^p or log(1 + e^p) of the parameters ``log_dt``.
    ``published_groups``: C and D are trained as in the published code, at the main learning rate
    and with weight decay, not as SSM parameters.
    """

    init: Measure = Measure.legs
    rank: int = 1
    d_state: int = option(64, PAIRED_SIZE)
    dt_min: float = 0.001
    dt_max: float = 0.1
    clip_B: bool = option(False, added=2)
    n_ssm: int | None = option(None, SIZE, added=2)
    dt_transform: str = option("exp", one_of(*DT_TRANSFORMS), added=2)
    published_groups: bool = option(False, added=2)


@parametrizations.register(
    "s4",
    config=S4Config,
    citation="Gu, Goel, Re 2022, Efficiently Modeling Long Sequences with Structured State Spaces, "
    "arXiv 2111.00396, Theorem 1, equations 2 and 3, Algorithm 1; Q = P: Goel, Gu, Donahue, Re "
    "2022, SaShiMi, arXiv 2202.09729, section 4",
)
class S4(Parametrization):
    """Normal plus low-rank bank, A = diag(lam) - P P*: stable for all parameter values."""

    system_type = ContinuousDense
    stable_by_construction = True
    output_parameters = ("C",)
    direct_parameters = ("D",)
    published: ClassVar = {"C": AS_WEIGHT, "D": AS_WEIGHT}

    def __init__(self, config: S4Config, *, d_model: int):
        super().__init__()
        _check(config)
        lam, P, B = initial_pairs(config.init, config.d_state)
        self.published_groups = config.published_groups
        B = clipped(B) if config.clip_B else B
        decay = (-lam.real).clamp_min(_MIN_INITIAL_DECAY)
        copies = copies_of(config.n_ssm, d_model)
        self.dt_transform, self.published_groups = config.dt_transform, config.published_groups
        self.log_decay = _copies(decay.log(), copies)
        self.frequency = _copies(lam.imag, copies)
        self.P = _copies(torch.view_as_real(P), copies)
        self.B = _copies(torch.view_as_real(B), copies)
        self.C = nn.Parameter(torch.randn(d_model, len(lam), 2) * math.sqrt(0.5))
        self.D = nn.Parameter(torch.randn(d_model))
        log_dt = log_uniform_steps(d_model, config.dt_min, config.dt_max)
        self.log_dt = nn.Parameter(free_steps(log_dt, config.dt_transform))

    def forward(self) -> ContinuousDense:
        """Real A (H, N, N), B (H, N, 1), C (H, 1, N), D (H, 1, 1), dt (H,), with N = d_state."""
        return self.bank().to_dense()

    def bank(self) -> PairedBank:
        """The structured form of the same system: what :func:`kernel` takes."""
        P = torch.view_as_complex(self.P)
        decay = _above_rounding(positive(self.log_decay), self.frequency, P)
        lam, heads = torch.complex(-decay, self.frequency), len(self.log_dt)
        return PairedBank(
            lam=for_each_head(lam, heads),
            P=for_each_head(P, heads),
            B=for_each_head(torch.view_as_complex(self.B), heads),
            C=torch.view_as_complex(self.C),
            D=self.D,
            dt=step_sizes(self.log_dt, self.dt_transform),
        )


def _check(config: S4Config) -> None:
    check_step_sizes(config.dt_min, config.dt_max)
    fitting = [measure.name for measure in Measure if rank(measure) == config.rank]
    require(
        config.init.name in fitting,
        f"init={config.init.name} is normal plus rank {rank(config.init)}, so it needs "
        f"rank={rank(config.init)}, got rank={config.rank}"
        + (f", which fits init={' or '.join(fitting)}" if fitting else ": no init fits that"),
    )


def _copies(value: Tensor, number: int) -> nn.Parameter:
    return nn.Parameter(value.float().expand(number, *value.shape).clone())


def _above_rounding(decay: Tensor, frequency: Tensor, P: Tensor) -> Tensor:
    """``decay`` (H, M), kept clear of what rounding of A, or of its eigenvalues, takes away.

    Rounding moves A by less than a few units of |P|^2 and of the largest frequency; eigenvalues
    are computed in float64, to a unit of the largest decay. A smooth maximum, so that decays of any
    ordinary size stay as they are.
    """
    size = 2 * P.abs().square().sum((1, 2)) + frequency.abs().amax(1)
    least = (P.shape[-1] + 3) * torch.finfo(decay.dtype).eps * size + 1e-12 * decay.amax(1)
    return torch.hypot(decay, least.detach()[:, None])


def initial_pairs(
    measure: Measure, d_state: int
) -> tuple[Complex[Tensor, " M"], Complex[Tensor, "M r"], Complex[Tensor, " M"]]:
    """lam (M,), P (M, r) and B (M,) of a HiPPO matrix, M = d_state / 2 modes with Im lam >= 0."""
    real_mode = measure is Measure.fout
    whole = normal_plus_low_rank(measure, d_state - 1 if real_mode else d_state)
    half = slice(-(d_state // 2), None)
    turn = np.ones(d_state // 2, dtype=complex)
    if real_mode:  # a real mode x is the pair x / sqrt 2, in the phase in which it is real
        mode = whole.V[:, len(whole.lam) // 2]
        turn[0] = np.exp(1j * np.angle(mode[np.argmax(np.abs(mode))])) / math.sqrt(2)
    lam, P, B = whole.lam[half], turn[:, None] * whole.P[half], turn * whole.B[half]
    return torch.from_numpy(lam.copy()), torch.from_numpy(P), torch.from_numpy(B)


def clipped(B: Complex[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
    """B with imaginary parts cut off at -2 and 2 (state-spaces/s4 at e757cef,
    src/models/hippo/hippo.py, nplr with B_clip=2); they depend on the phases of eigenvectors, which
    are LAPACK's there and here."""
    return torch.complex(B.real, B.imag.clamp(-2.0, 2.0))


# --- convolution kernel -------------------------------------------------------------------------


def kernel(
    bank: PairedBank, length: int, dtype: torch.dtype = torch.complex128
) -> Float[Tensor, "H L"]:
    """The first L Markov parameters D, C B_bar, C A_bar B_bar, .. of the ``bilinear`` discretizer.

    That discretizer is the implicit midpoint rule with held input: it keeps C and D. Algorithm 1
    of the paper: the truncated generating function at the L-th roots of unity, each value by
    Woodbury's identity from Cauchy sums over the modes, and an inverse FFT. O(H N L) work and
    memory, and no state of any step. ``dtype`` is that of the sums: complex64 takes half of the
    memory, and loses up to 4 digits to lightly damped modes. The result has the bank's precision.

    Raises:
        UsageError: L is not positive.
    """
    require(length > 0, f"the kernel needs a positive length, got {length}")
    points = torch.arange(length // 2 + 1, dtype=torch.float64, device=bank.lam.device)
    z = torch.exp(-2j * math.pi / length * points)
    wide = bank.to(dtype)
    tail = torch.fft.irfft(_generating_function(wide, z, length), n=length)
    return torch.cat([bank.D[:, None], tail[:, : length - 1].to(bank.D.dtype)], 1)


def _generating_function(
    bank: PairedBank, z: Complex[Tensor, " W"], length: int
) -> Complex[Tensor, "H W"]:
    """sum over k < L of ``C A_bar^k B_bar z^k`` (H, W), for z^L = 1.

    It is ``C (I - A_bar^L) [(1 - z) / dt - (1 + z) / 2 A]^-1 B``, where the resolvent of A is that
    of diag(lam) corrected by rank r: with ``S = 1 / ((1 - z) / dt - (1 + z) / 2 lam)``, it is
    ``C S B - (1 + z) / 2 C S P (I + (1 + z) / 2 P* S P)^-1 P* S B``. No term is singular at z = -1.
    """
    dtype = bank.lam.dtype
    lam, B, P = _whole(bank.lam), _whole(bank.B), _whole(bank.P)
    left = torch.cat([_whole(_truncated_readout(bank, length))[:, None], P.mH], 1)
    right = torch.cat([B[..., None], P], 2)
    # 1 - z in double precision: it cancels next to z = 1.
    difference = ((1 - z) / bank.dt.double()[:, None]).to(dtype)
    mean = ((1 + z) / 2).to(dtype)
    cauchy = 1 / (difference[:, None] - lam[..., None] * mean)  # (H, N, W)
    weights = left[:, :, None] * right.mT[:, None]  # (H, 1 + r, 1 + r, N)
    sums = torch.einsum("hijn,hnw->hwij", weights, cauchy)
    eye = torch.eye(P.shape[-1], dtype=dtype, device=z.device)
    inner = eye + mean[:, None, None] * sums[..., 1:, 1:]
    solved = solve(inner, sums[..., 1:, :1])
    return sums[..., 0, 0] - mean * (sums[..., :1, 1:] @ solved)[..., 0, 0]


def _whole(pairs: Complex[Tensor, "H M *r"]) -> Complex[Tensor, "H N *r"]:
    return torch.cat([pairs, pairs.conj()], 1)


def _truncated_readout(bank: PairedBank, length: int) -> Complex[Tensor, "H M"]:
    """C (I - A_bar^L) (H, M): by squarings of the real matrix, in double precision."""
    dense = bank.to_dense().double()
    half_step = dense.dt[:, None, None] / 2 * dense.A
    eye = torch.eye(dense.states, dtype=half_step.dtype, device=half_step.device)
    A_bar = solve(eye - half_step, eye + half_step)
    C = (dense.C - dense.C @ torch.linalg.matrix_power(A_bar, length))[:, 0]
    re, im = C.chunk(2, -1)
    return (torch.complex(re, -im) / math.sqrt(2)).to(bank.C.dtype)
