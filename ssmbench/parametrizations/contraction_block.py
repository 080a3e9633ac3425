"""A cheaper way to a prescribed gain than the completion in ``contraction``, and a looser one.

Free matrices are scaled by one number until ``K = [A, B; C, D]`` is a contraction; the price is
that one number serves all entries. ``l2ru_conservative`` shares the free matrices.
"""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from ssmbench.linalg.singular_values import spectral_norm
from ssmbench.parametrizations.base import GAIN_IS_DISCRETE, Parametrization
from ssmbench.parametrizations.contraction import (
    ContractionConfig,
    Rotations,
    check_config,
    of_gain,
    rounded,
)
from ssmbench.registry import parametrizations
from ssmbench.systems import DiscreteDiagonal

#: Left between ||K|| and 1 for rounding to float32.
MARGIN = 1e-5


class FreeBlocks(Parametrization):
    """Poles, and free complex B0 (P, m), C0 (p, P) and real D0 (p, m)."""

    system_type = DiscreteDiagonal
    stable_by_construction = True
    no_discretizer_reason = GAIN_IS_DISCRETE

    def __init__(self, config: ContractionConfig, *, d_model: int, outputs: int | None = None):
        super().__init__()
        check_config(config)
        self.gamma = config.gamma
        pairs, outputs = config.d_state // 2, outputs or d_model
        size = config.spread / (2 * (pairs + d_model)) ** 0.5
        self.poles = Rotations(pairs, config.radius_min, config.radius, config.max_phase)
        self.B0 = nn.Parameter(size * torch.randn(pairs, d_model, 2))
        self.C0 = nn.Parameter(size * torch.randn(outputs, pairs, 2))
        self.D0 = nn.Parameter(torch.eye(outputs, d_model))

    def declared_gain(self) -> float:
        """gamma."""
        return self.gamma

    def forward(self) -> DiscreteDiagonal:
        """lam (1, P), B (1, P, m), C (1, p, P), D (1, p, m); in float64, then rounded."""
        B, C = (torch.view_as_complex(free.double()) for free in (self.B0, self.C0))
        parts = self._contraction(self.poles(), B, C, self.D0.double())
        return rounded(of_gain(self.gamma, *parts), self.D0.dtype)

    def _contraction(
        self,
        lam: Complex[Tensor, " P"],
        B: Complex[Tensor, "P m"],
        C: Complex[Tensor, "p P"],
        D: Float[Tensor, "p m"],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        raise NotImplementedError


@parametrizations.register(
    "contraction_block",
    config=ContractionConfig,
    citation="this work; normalised block: neural-ssm 0.44, Block2x2DenseL2SSM",
)
class ContractionBlock(FreeBlocks):
    """K / max(1, ||K||_2): any shape; the common scale also shrinks every pole."""

    def _contraction(
        self, lam: Tensor, B: Tensor, C: Tensor, D: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        pairs = DiscreteDiagonal(lam=lam[None], B=B[None], C=C[None], D=D[None], conjugate=True)
        dense = pairs.to_dense()
        # In orthonormal coordinates of each pair, 2 Re(C x) is split evenly between B and C.
        B_real, C_real = dense.B[0] * 2**0.5, dense.C[0] / 2**0.5
        K = torch.cat([torch.cat([dense.A[0], B_real], 1), torch.cat([C_real, D], 1)], 0)
        scale = (1 - MARGIN) / spectral_norm(K).clamp_min(1.0)
        return lam * scale, B * scale, C * scale, D * scale
