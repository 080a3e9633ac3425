"""The structured conservative form of L2RU (Massai, Zakwan, Ferrari-Trecate 2025), diagonal."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssmbench.linalg.factorizations import cholesky
from ssmbench.linalg.largest_eigenvalue import largest_eigenvalue
from ssmbench.linalg.singular_values import spectral_norm
from ssmbench.parametrizations.contraction import ContractionConfig
from ssmbench.parametrizations.contraction_block import MARGIN, FreeBlocks
from ssmbench.registry import parametrizations


@parametrizations.register(
    "l2ru_conservative",
    config=ContractionConfig,
    citation="Massai, Zakwan, Ferrari-Trecate 2025, L2RU, arXiv 2503.23818: the structured "
    "conservative form (cell `zak` of neural-ssm); here with a free P that commutes with A",
)
class Conservative(FreeBlocks):
    """Diagonal A; B and C share one scale, D stays below gamma on its own.

    K is a contraction exactly when [W, Y; Y*, Z] >= 0 with W = [I, A; A*, I], Z = [I, D'; D, I] and
    Y = diag(B, C*), that is, when ||W^(-1/2) Y Z^(-1/2)|| <= 1 (Schur complement). For diagonal A
    the inverse of W is known, and with B = d X, C = Y d, d = (1 - |lam|^2)^(1/2), nothing cancels.
    """

    no_published_groups = "has other parameters than the published cell: its P is free"

    def __init__(self, config: ContractionConfig, *, d_model: int, outputs: int | None = None):
        super().__init__(config, d_model=d_model, outputs=outputs)
        self.share = nn.Parameter(torch.zeros(()))  # ||D|| = gamma sigmoid(share)

    def _contraction(
        self, lam: Tensor, B: Tensor, C: Tensor, D: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        D = D * (1 - MARGIN) * torch.sigmoid(self.share.double()) / spectral_norm(D)
        top = torch.cat([(B.mH @ B).real, -(B.mH @ (lam[:, None] * C.mH)).real], 1)
        low = torch.cat([-(C @ (lam.conj()[:, None] * B)).real, (C @ C.mH).real], 1)
        inner = 2 * torch.cat([top, low], 0)
        size = largest_eigenvalue(_balanced(inner, D)).clamp_min(1e-24).sqrt()
        scale = (1 - MARGIN) * torch.sqrt(1 - lam.abs().square()) / size
        return lam, scale[:, None] * B, C * scale, D


def _balanced(inner: Tensor, D: Tensor) -> Tensor:
    """Lz^-1 inner Lz^-T for Z = Lz Lz' = [I, D'; D, I]."""
    eye = [torch.eye(size, dtype=D.dtype, device=D.device) for size in (D.shape[1], D.shape[0])]
    Z = torch.cat([torch.cat([eye[0], D.T], 1), torch.cat([D, eye[1]], 1)], 0)
    root = cholesky(Z)
    half = torch.linalg.solve_triangular(root, inner, upper=False)
    return torch.linalg.solve_triangular(root, half.T, upper=False)
