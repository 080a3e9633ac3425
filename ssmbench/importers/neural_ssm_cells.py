"""The recurrent cells and static branches of neural-ssm, as matrices of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ssmbench.errors import UsageError, require
from ssmbench.importers.parts import State, discrete_pairs, discrete_pairs_component
from ssmbench.importers.weights import Weights

#: Constants of the published code that no array shows.
_JITTER, _MARGIN, _RADIUS_MARGIN, _LEAST_NORM = 1e-6, 0.002, 1e-3, 1e-6
_TANH_BOUND, _GATE_BOUND = 0.75, 1.0


@dataclass(frozen=True)
class Cell:
    """x[k+1] = A x[k] + B u[k], y[k] = C x[k] + D u[k]: A (N, N) real, or (M,) complex with
    y = 2 Re(C x) + D u. ``gain``: what the cell declares, None if nothing."""

    A: Tensor
    B: Tensor
    C: Tensor
    D: Float[Tensor, "H H"]
    gain: Tensor | None

    def with_skip(self, gate: Float[Tensor, " H"]) -> State:
        """The parameters of u + gate * cell(u)."""
        C = gate[:, None] * self.C
        D = torch.eye(len(self.D), dtype=self.D.dtype) + gate[:, None] * self.D
        if self.A.ndim == 1:
            return discrete_pairs(self.A, self.B, C, D)
        return {"A": self.A[None], "B": self.B[None], "C": C[None], "D": D[None]}

    @property
    def component(self) -> dict[str, Any]:
        """The parametrization in a config."""
        if self.A.ndim == 1:
            return discrete_pairs_component(len(self.A))
        return {"name": "discrete_matrices", "d_state": len(self.A)}


def take_cell(cell: Weights) -> Cell:
    """The cell of a block, recognised by its keys.

    Raises:
        UsageError: it is none of lru, l2n and l2ru.
    """
    known = {"Bp": _lru, "K12_raw": _l2n, "X11_params": _l2ru}
    for key, take in known.items():
        if cell.has(key):
            return take(cell)
    raise UsageError(
        f"{cell.source}: only the cells lru, l2n and l2ru are imported; the keys are of none of "
        "them; defect, zak, l2nt, and tv and tvc, whose matrices follow from the input, are not"
    )


def _lru(cell: Weights) -> Cell:
    nu, theta, gamma = (cell.take(n, "N") for n in ("nu_log", "theta_log", "gamma_log"))
    B, C = cell.take_complex("Bp", "N", "H"), cell.take_complex("C", "H", "N")
    lam = torch.polar(torch.exp(-nu.exp()), theta.exp())
    return Cell(lam, gamma.exp()[:, None] * B, C / 2, cell.take("D", "H", "H"), None)


def _l2n(cell: Weights) -> Cell:
    """Block2x2DenseL2SSM: [A B; C D], divided by its norm, in coordinates of its own."""
    rho, theta = cell.take("rho_raw", "M"), cell.take("theta", "M")
    cell.leave_out("S")  # a change of coordinates
    pairs = 2 * cell.size("M")
    raw = torch.cat(
        [
            torch.cat([_blocks(rho, theta), cell.take("K12_raw", pairs, "H")], 1),
            torch.cat([cell.take("K21_raw", "H", pairs), cell.take("K22_raw", "H", "H")], 1),
        ]
    )
    K = raw / (torch.linalg.matrix_norm(raw, 2).clamp_min(1e-5) + _MARGIN)
    gain = cell.take("log_gamma").exp()
    lam = torch.complex(K[0:pairs:2, 0:pairs:2].diagonal(), K[1:pairs:2, 0:pairs:2].diagonal())
    B = gain * torch.complex(K[0:pairs:2, pairs:], K[1:pairs:2, pairs:])
    C = torch.complex(K[pairs:, 0:pairs:2], -K[pairs:, 1:pairs:2]) / 2
    return Cell(lam, B, C, gain * K[pairs:, pairs:], gain)


def _blocks(rho: Float[Tensor, " M"], theta: Float[Tensor, " M"]) -> Float[Tensor, "N N"]:
    radius = torch.sigmoid(rho) * (1 - _RADIUS_MARGIN)
    re, im = radius * theta.cos(), radius * theta.sin()
    rows = torch.stack([torch.stack([re, -im], -1), torch.stack([im, re], -1)], -2)
    return torch.block_diag(*rows)


def _l2ru(cell: Weights) -> Cell:
    """The published formulas, with their added 1e-6, which is why the gain may exceed gamma."""
    cell.leave_out("ID|triu_indices|tril_indices")
    X21, C, Dt = (cell.take(name, "H", "H") for name in ("X21", "C", "Dt"))
    n = cell.size("H")
    X11, X22 = (_lower(cell, name, n) for name in ("X11_params", "X22_params"))
    eye = torch.eye(n, dtype=C.dtype)
    Q = _cayley(cell, n, eye) if cell.has("Skew_params") else eye
    gamma, alpha, loss = (cell.take(name) for name in ("gamma", "alpha", "epsilon"))
    Z = X21 @ X21.T + X22 @ X22.T + Dt.T @ Dt + loss.exp() * eye
    beta = gamma**2 * torch.sigmoid(alpha) / torch.linalg.matrix_norm(Z, 2)
    H11 = X11 @ X11.T + C.T @ C + beta * loss.exp() * eye
    H12 = beta.sqrt() * (X11 @ X21.T + C.T @ Dt)
    V = beta * Z - gamma**2 * eye
    R = H12 @ torch.linalg.solve(V.T, H12.T)
    raised = -(R + R.T) / 2 + _JITTER * eye
    try:
        root, both = torch.linalg.cholesky(raised), torch.linalg.cholesky(raised + H11)
        A = torch.linalg.inv(both).T @ Q @ root.T
        B = A @ torch.linalg.solve(H12.T, V.T)
    except RuntimeError:  # also torch.linalg.LinAlgError
        raise UsageError(f"{cell.source}: an l2ru cell has no matrices A and B") from None
    return Cell(A, B, C, beta.sqrt() * Dt, gamma.abs())


def _lower(cell: Weights, name: str, n: int) -> Float[Tensor, "H H"]:
    found = torch.zeros(n, n, dtype=torch.float64)
    rows, columns = torch.tril_indices(n, n)
    found[rows, columns] = cell.take(name, n * (n + 1) // 2)
    return found


def _cayley(cell: Weights, n: int, eye: Tensor) -> Float[Tensor, "H H"]:
    skew = torch.zeros(n, n, dtype=torch.float64)
    rows, columns = torch.triu_indices(n, n, 1)
    skew[rows, columns] = cell.take("Skew_params", n * (n - 1) // 2)
    skew = skew - skew.T
    return (eye - skew) @ torch.linalg.inv(eye + skew)


# --- static branches ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Branch:
    """A static branch: its component, its arrays, and its Lipschitz constant if it declares one."""

    component: dict[str, Any]
    state: State
    lipschitz: Tensor | None


def take_branch(branch: Weights, gate: Float[Tensor, " H"]) -> Branch:
    """x + gate * f(x), f recognised by its keys.

    Raises:
        UsageError: f is none of MLP, GLU and LGLU2.
    """
    if branch.has("raw_lip") and branch.has("A.W_raw"):
        return _tanh_glu(branch, gate)
    if branch.has("output_linear.0.weight"):
        return _glu(branch, gate)
    if branch.has("net.0.weight"):
        return _mlp(branch, gate)
    raise UsageError(
        f"{branch.source}: only the static branches (ff) MLP, GLU and LGLU2 are imported, and the "
        "keys are of none of them"
    )


def _mlp(branch: Weights, gate: Tensor) -> Branch:
    """Its linear maps before the GELU follow each other without anything in between: one map."""
    indices = sorted(i for i in range(100) if branch.has(f"net.{i}.weight"))
    W = branch.take("net.0.weight", "hidden", "H")
    require(len(indices) >= 2, f"{branch.source}: an MLP of one linear map")
    for index in indices[1:-1]:
        W = branch.take(f"net.{index}.weight", "hidden", "hidden") @ W
    V = gate[:, None] * branch.take(f"net.{indices[-1]}.weight", "H", "hidden")
    component = {"name": "residual_branch", "form": "mlp", "hidden": len(W)}
    return Branch(component, {"W": W, "V": V}, None)


def _glu(branch: Weights, gate: Tensor) -> Branch:
    width = branch.size("H")
    weight = branch.take("output_linear.0.weight", 2 * width, "H")
    bias = branch.take("output_linear.0.bias", 2 * width)
    scale = torch.cat([gate, torch.ones_like(gate)])
    state = {"linear.weight": scale[:, None] * weight, "linear.bias": scale * bias}
    return Branch({"name": "residual_branch", "form": "glu"}, state, None)


def _tanh_glu(branch: Weights, gate: Tensor) -> Branch:
    """LGLU2: each weight divided by its norm where that exceeds a bound."""
    scale = F.softplus(branch.take("raw_lip", "H")) + 1e-6
    state = {
        "V": capped(branch.take("A.W_raw", "H", "H"), _TANH_BOUND),
        "W": capped(branch.take("B.W_raw", "H", "H"), _GATE_BOUND),
        "scale": gate * scale,
    }
    return Branch({"name": "residual_branch", "form": "tanh_glu"}, state, scale.max())


def capped(weight: Tensor, bound: float = 1.0) -> Tensor:
    """The weight, divided where its spectral norm exceeds the bound."""
    norm = torch.linalg.matrix_norm(weight, 2).clamp_min(_LEAST_NORM)
    return weight / (norm / bound).clamp_min(1.0)
