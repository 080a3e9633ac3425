"""Dynamical low-rank approximation of a time-dependent matrix, and training at fixed rank r.

A matrix A(t) is approximated by Y = U S V', U (m, r) and V (n, r) with orthonormal columns, whose
derivative is that of A projected onto the tangent space of the matrices of rank r (Koch and Lubich
2007). Where a singular value that is kept crosses one that is cut off, the best approximation of A
jumps but Y does not; no integrator changes that, only a larger rank.

The differential equations for the factors contain S^-1, so that a standard integrator fails when a
singular value of Y comes near zero. The projector-splitting integrator (Lubich and Oseledets 2014)
and the basis-update & Galerkin integrator (BUG; Ceruti and Lubich 2022) never invert S.

The second half uses BUG for training: an SSM whose state matrix is diagonal plus low rank, and an
optimizer that moves such factors along the gradient flow of their product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssmbench.errors import require
from ssmbench.optimizers.base import Closure, ClosureOptimizer, OptimizerConfig
from ssmbench.parametrizations.base import Parametrization, check_step_sizes
from ssmbench.registry import optimizers, parametrizations
from ssmbench.systems import ContinuousDense

# --- approximating a time-dependent matrix --------------------------------------------------------


@dataclass(frozen=True)
class Factors:
    """U (m, r), S (r, r), V (n, r): the matrix U S V' (m, n)."""

    U: Tensor
    S: Tensor
    V: Tensor

    @property
    def matrix(self) -> Tensor:
        return self.U @ self.S @ self.V.T


def best(A: Tensor, rank: int) -> Factors:
    """The best rank-``rank`` approximation of A (m, n), Frobenius norm (Eckart and Young 1936)."""
    U, sigma, Vh = torch.linalg.svd(A, full_matrices=False)
    return Factors(U[:, :rank], torch.diag(sigma[:rank]), Vh[:rank].T)


def naive_step(Y: Factors, velocity: Callable[[float], Tensor], t: float, h: float) -> Factors:
    """RK4 on the equations of U, S and V, which contain S^-1; ``velocity(t)`` is dA/dt (m, n).

    S' = U' A' V,  U' = (I - U U') A' V S^-1,  V' = (I - V V') A'^T U S^-T.
    """

    def slope(t: float, Y: Factors) -> Factors:
        A, inverse = velocity(t), torch.linalg.inv_ex(Y.S).inverse
        AV, AU = A @ Y.V, A.T @ Y.U
        core = Y.U.T @ AV
        return Factors((AV - Y.U @ core) @ inverse, core, (AU - Y.V @ core.T) @ inverse.T)

    def moved(k: Factors, by: float) -> Factors:
        return Factors(Y.U + by * k.U, Y.S + by * k.S, Y.V + by * k.V)

    k1 = slope(t, Y)
    k2 = slope(t + h / 2, moved(k1, h / 2))
    k3 = slope(t + h / 2, moved(k2, h / 2))
    k4 = slope(t + h, moved(k3, h))
    for k, share in ((k1, 1), (k2, 2), (k3, 2), (k4, 1)):
        Y = moved(k, h * share / 6)
    return Y


def split_step(Y: Factors, change: Tensor) -> Factors:
    """Projector splitting: Y after the approximated matrix has changed by ``change`` (m, n).

    Exact if that matrix keeps rank r (Lubich and Oseledets 2014, theorem 4.1).
    """
    U, S = torch.linalg.qr(Y.U @ Y.S + change @ Y.V)
    S = S - U.T @ change @ Y.V
    V, St = torch.linalg.qr(Y.V @ S.T + change.T @ U)
    return Factors(U, St.T, V)


def bug_step(Y: Factors, change: Tensor) -> Factors:
    """Basis update & Galerkin: new bases U and V independently of each other, then S in them.

    Also exact if the matrix keeps rank r (Ceruti and Lubich 2022, theorem 3).
    """
    U = torch.linalg.qr(Y.U @ Y.S + change @ Y.V).Q
    V = torch.linalg.qr(Y.V @ Y.S.T + change.T @ Y.U).Q
    return Factors(U, U.T @ (Y.matrix + change) @ V, V)


# --- training with it ---------------------------------------------------------------------------


class LowRank(nn.Module):
    """U S V' with U, S and V as parameters; :class:`LowRankDescent` keeps U and V orthonormal.

    Other optimizers train U, S and V as three unrelated matrices.
    """

    def __init__(self, rows: int, columns: int, rank: int, scale: float):
        super().__init__()
        require(
            1 <= rank <= min(rows, columns),
            f"low rank: the rank must be from 1 to {min(rows, columns)}, got {rank}",
        )
        self.U = nn.Parameter(torch.linalg.qr(torch.randn(rows, rank)).Q)
        self.S = nn.Parameter(scale * torch.eye(rank))
        self.V = nn.Parameter(torch.linalg.qr(torch.randn(columns, rank)).Q)
        for factor in (self.U, self.S, self.V):  # an optimizer sees parameters, not modules
            factor.low_rank = self

    def forward(self) -> Tensor:
        """The product (rows, columns)."""
        return self.U @ self.S @ self.V.T

    def factors(self) -> Factors:
        return Factors(*(factor.detach().clone() for factor in (self.U, self.S, self.V)))

    @torch.no_grad()
    def set(self, factors: Factors) -> None:
        self.U.copy_(factors.U)
        self.S.copy_(factors.S)
        self.V.copy_(factors.V)


@dataclass
class DiagonalPlusLowRankConfig:
    """A = -diag(rates) + U S V', with rates from ``decay_min`` to ``decay_max`` and S = ``scale`` I
    initially."""

    d_state: int = 16
    rank: int = 2
    scale: float = 0.1
    decay_min: float = 0.5
    decay_max: float = 20.0
    dt_min: float = 0.001
    dt_max: float = 0.1


@parametrizations.register(
    "diagonal_plus_low_rank",
    config=DiagonalPlusLowRankConfig,
    citation="example plugin of ssmbench",
    summary="one multi-channel system, A a decaying diagonal plus a trained matrix of low rank",
)
class DiagonalPlusLowRank(Parametrization):
    """Stable or nearly stable initially; training of the low-rank part can make it unstable.

    Raises:
        UsageError: rates or step sizes out of order, or a rank that does not fit d_state.
    """

    system_type = ContinuousDense
    stable_by_construction = False

    def __init__(self, config: DiagonalPlusLowRankConfig, *, d_model: int):
        super().__init__()
        n, low, high = config.d_state, config.decay_min, config.decay_max
        check_step_sizes(config.dt_min, config.dt_max)
        require(
            0 < low <= high,
            f"needs 0 < decay_min <= decay_max, got {low:g} and {high:g}",
        )
        self.log_rate = nn.Parameter(torch.linspace(math.log(low), math.log(high), n))
        self.coupling = LowRank(n, n, config.rank, config.scale)
        self.B = nn.Parameter(torch.randn(n, d_model))
        self.C = nn.Parameter(torch.randn(d_model, n) / math.sqrt(n))
        self.D = nn.Parameter(torch.randn(d_model, d_model) / math.sqrt(d_model))
        middle = math.sqrt(config.dt_min * config.dt_max)
        self.log_dt = nn.Parameter(torch.tensor([math.log(middle)]))

    def forward(self) -> ContinuousDense:
        """A (1, N, N), B (1, N, d_model), C (1, d_model, N), D (1, d_model, d_model), dt (1,)."""
        A = self.coupling() - torch.diag(torch.exp(self.log_rate))
        return ContinuousDense(
            A=A[None], B=self.B[None], C=self.C[None], D=self.D[None], dt=torch.exp(self.log_dt)
        )


@dataclass
class LowRankDescentConfig(OptimizerConfig):
    """Weight decay adds the gradient of ``weight_decay / 2 ||Y||^2``, Y = U S V'."""

    lr: float = 0.05
    ssm_lr: float = 0.05


@optimizers.register(
    "low_rank_descent",
    config=LowRankDescentConfig,
    citation="Ceruti and Lubich 2022; Schotthoefer et al. 2022",
    summary="gradient flow of U S V' by BUG steps, which never invert S; descent for the rest",
)
class LowRankDescent(ClosureOptimizer):
    """BUG steps along -(G + weight_decay Y), where G is the gradient with respect to Y = U S V'.

    G is never formed. Autograd gives the products that are needed: at the factors (U S, I, V) the
    gradient with respect to the first is G V, and at (U, I, V S') with respect to the last, G' U.
    Three evaluations per step. All other parameters take a gradient step.
    """

    def __init__(self, config: LowRankDescentConfig, *, groups: list[dict[str, Any]]):
        super().__init__(groups, {"lr": config.lr, "weight_decay": config.weight_decay})

    def advance(self, closure: Closure) -> float:
        flows = [_Flow(module, group) for module, group in self._products()]
        for flow in flows:
            flow.set_for_left_basis()
        loss = self.evaluate(closure)
        rest = [(p, _slope(p, group), group["lr"]) for p, group in self._rest()]
        for flow in flows:
            flow.update_left_basis()
            flow.set_for_right_basis()
        self.evaluate(closure)
        for flow in flows:
            flow.update_right_basis()
            flow.set_for_core()
        self.evaluate(closure)
        for flow in flows:
            flow.update_core()
        for parameter, slope, lr in rest:
            parameter.sub_(lr * slope)
        return loss

    def _products(self) -> Iterator[tuple[LowRank, dict[str, Any]]]:
        for group in self.param_groups:
            for p in group["params"]:
                if hasattr(p, "low_rank") and p is p.low_rank.S:
                    yield p.low_rank, group

    def _rest(self) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        for group in self.param_groups:
            yield from ((p, group) for p in group["params"] if not hasattr(p, "low_rank"))


def _slope(parameter: Tensor, group: dict[str, Any]) -> Tensor:
    gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    return gradient + group["weight_decay"] * parameter


class _Flow:
    """One BUG step of one product Y = U S V', in three parts with an evaluation before each."""

    def __init__(self, module: LowRank, group: dict[str, Any]):
        self.module, self.group = module, group
        self.old = module.factors()
        self.identity = torch.eye(len(self.old.S)).to(self.old.S)

    def _moved(self, factor: nn.Parameter) -> Tensor:
        return factor.detach() - self.group["lr"] * _slope(factor, self.group)

    def set_for_left_basis(self) -> None:
        self.module.set(Factors(self.old.U @ self.old.S, self.identity, self.old.V))

    def update_left_basis(self) -> None:
        self.U = torch.linalg.qr(self._moved(self.module.U)).Q

    def set_for_right_basis(self) -> None:
        self.module.set(Factors(self.old.U, self.identity, self.old.V @ self.old.S.T))

    def update_right_basis(self) -> None:
        self.V = torch.linalg.qr(self._moved(self.module.V)).Q

    def set_for_core(self) -> None:
        """Set the factors to Y projected onto the new bases, where S is then updated."""
        self.module.set(Factors(self.U, self.U.T @ self.old.matrix @ self.V, self.V))

    def update_core(self) -> None:
        self.module.S.copy_(self._moved(self.module.S))
