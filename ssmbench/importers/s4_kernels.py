"""The kernels of state-spaces/s4, diagonal (S4D) and normal plus low rank (S4), as parameters of
our s4d and s4."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from ssmbench.errors import require
from ssmbench.importers.parts import State, as_pairs
from ssmbench.importers.weights import Weights
from ssmbench.parametrizations.base import for_each_head, step_sizes

#: The rank of P with which our s4 starts, by its initialisation; the weights replace both.
_INITS = {1: "legs", 2: "legt"}


@dataclass(frozen=True)
class Kernel:
    """H single-channel systems ``x' = A x + B u``, ``y = 2 Re(C x) + D u`` of M conjugate pairs.

    A = diag(lam) - P P*, where P is None if A is diagonal. There are S trained copies of lam, B and
    P, of which feature h has number h mod S; B is None where it is fixed at one. ``C``: of the
    kernel, and where the layer is bidirectional of the reverse one. ``real``: lam is real, and
    stands for itself twice. ``free_dt``: the parameters of the step sizes, by ``transform``. The
    output reads the state after the input; the reverse kernel's reads the one before it, as the
    published convolution does.
    """

    lam: Complex[Tensor, "S M"]
    B: Complex[Tensor, "S M"] | None
    C: list[Complex[Tensor, "H M"]]
    D: Float[Tensor, " H"]
    free_dt: Float[Tensor, " H"]
    transform: str = "exp"
    P: Complex[Tensor, "S M r"] | None = None
    real: bool = False
    method: str = "zoh"

    @property
    def component(self) -> dict[str, Any]:
        """The parametrization in a config."""
        modes, copies = self.lam.shape[1], len(self.lam)
        shared = {"n_ssm": None if copies == len(self.D) else copies}
        common = {"dt_transform": self.transform, "published_groups": True, **shared}
        if self.P is not None:
            rank = self.P.shape[-1]
            kind = {"name": "s4", "init": _INITS[rank], "rank": rank, "d_state": 2 * modes}
            return {**kind, **common}
        count = modes if self.real else 2 * modes
        kind = {"name": "s4d", "init": "real" if self.real else "lin", "d_state": count}
        return {**kind, "train_B": self.B is not None, **common}

    @property
    def model(self) -> dict[str, Any]:
        """What a config says of the layers."""
        both = len(self.C) == 2
        return {
            "parametrization": self.component,
            "discretizer": self.method if self.P is None else "bilinear",
            "readout": "before" if both else "after",
            "bidirectional": both,
            "tied": both,
        }

    def states(self) -> dict[str, State]:
        """The parameters of ``layer``, and of ``reverse_layer`` where there is one.

        In a bidirectional layer all outputs read the state before the input: the forward one's
        equals reading C A_bar and D + 2 Re(C B_bar) then.
        """
        if len(self.C) == 1:
            return {"layer": self._parameters(self.C[0], self.D)}
        C, D = self._read_before(self.C[0])
        reverse = self._parameters(self.C[1])
        return {"layer": self._parameters(C, D), "reverse_layer": reverse}

    def _parameters(self, C: Tensor, D: Tensor | None = None) -> State:
        """Those of one layer; the tied one of the other direction has no D."""
        found = {"log_decay": torch.log(-self.lam.real), "log_dt": self.free_dt}
        found |= {} if D is None else {"D": D}
        if self.real:
            inputs = {} if self.B is None else {"B": self.B.real}
            return {**found, **inputs, "C": 2 * C.real[:, None, :, None]}
        found["frequency"] = self.lam.imag
        found |= {} if self.B is None else {"B": as_pairs(self.B)}
        if self.P is None:
            return {**found, "C": as_pairs(C)[:, None]}
        return {**found, "P": as_pairs(self.P), "C": as_pairs(C)}

    @property
    def dt(self) -> Float[Tensor, " H"]:
        return step_sizes(self.free_dt, self.transform)

    def _banks(self) -> tuple[Complex[Tensor, "H M"], Complex[Tensor, "H M"]]:
        """lam and B of every feature."""
        B = torch.ones_like(self.lam) if self.B is None else self.B
        return for_each_head(self.lam, len(self.D)), for_each_head(B, len(self.D))

    def _read_before(self, C: Tensor) -> tuple[Tensor, Tensor]:
        if self.P is not None:
            A_bar, B_bar = self._bilinear()
            whole = _whole(C)
            direct = (whole * B_bar).sum(1).real
            after = torch.einsum("hm,hmn->hn", whole, A_bar)
            return after[:, : C.shape[1]], self.D + direct
        lam, B = self._banks()
        z = self.dt[:, None] * lam
        if self.method == "zoh":
            factor, step = torch.exp(z), (torch.exp(z) - 1) / lam
        else:
            factor, step = (1 + z / 2) / (1 - z / 2), self.dt[:, None] / (1 - z / 2)
        return C * factor, self.D + 2 * (C * B * step).sum(1).real

    def _bilinear(self) -> tuple[Complex[Tensor, "H N N"], Complex[Tensor, "H N"]]:
        """A_bar and B_bar of all N = 2 M modes."""
        assert self.P is not None
        lam, B = self._banks()
        P = _whole(for_each_head(self.P, len(self.D)))
        A = torch.diag_embed(_whole(lam)) - P @ P.mH
        half = self.dt[:, None, None] / 2 * A
        eye = torch.eye(A.shape[-1], dtype=A.dtype)
        right = torch.cat([eye + half, (self.dt[:, None] * _whole(B))[..., None]], -1)
        solved = torch.linalg.solve(eye - half, right)
        return solved[..., :-1], solved[..., -1]

    def untruncated(self, length: int) -> Kernel:
        """The kernel whose stored C is the published ``C (I - A_bar^L)``, with C itself."""
        A_bar, _ = self._bilinear()
        eye = torch.eye(A_bar.shape[-1], dtype=A_bar.dtype)
        rest = (eye - torch.linalg.matrix_power(A_bar, length)).mT
        C = [torch.linalg.solve(rest, _whole(c))[:, : c.shape[1]] for c in self.C]
        return replace(self, C=C)


def _whole(pairs: Tensor) -> Tensor:
    """With the conjugates, (H, M, ...) to (H, 2 M, ...)."""
    return torch.cat([pairs, pairs.conj()], 1).resolve_conj()


def minimal_kernel(layer: Weights) -> Kernel:
    """The layer of models/s4/s4d.py: ``D`` and ``kernel.C, log_dt, log_A_real, A_imag``."""
    D, kernel = layer.take("D", "H"), layer.under("kernel.")
    C = kernel.take_complex("C", "H", "M")
    lam = torch.complex(-kernel.take("log_A_real", "H", "M").exp(), kernel.take("A_imag", "H", "M"))
    return Kernel(lam, None, [C], D, kernel.take("log_dt", "H"))


def full_kernel(layer: Weights, *, dt_transform: str, disc: str) -> Kernel:
    """The layer FFTConv of models/s4/s4.py and of the full code: ``D`` and ``kernel.C, B, inv_dt,
    A_real, A_imag``, with ``P`` and ``l_kernel`` where A is not diagonal."""
    _check_channels(layer)
    D, kernel = layer.take("D", 1, "H")[0], layer.under("kernel.")
    heads, both, real = layer.size("H"), kernel.shape("C")[:1] == (2,), not kernel.has("A_imag")
    take = kernel.take if real else kernel.take_complex
    C = take("C", 2 if both else 1, "H", "M")
    B = take("B", 1, "S", "M")[0]
    decay = kernel.take("A_real", "S", "M").exp()
    imaginary = torch.zeros_like(decay) if real else -kernel.take("A_imag", "S", "M")
    _check_copies(layer, heads, len(decay))
    lam = torch.complex(-decay, imaginary)
    whole = [c.to(lam.dtype) for c in C]
    bank = (lam, B.to(lam.dtype), whole, D, _free_steps(kernel), dt_transform)
    if not kernel.has("P"):
        return Kernel(*bank, real=real, method=disc)
    rank = kernel.shape("P")[0]
    require(rank in _INITS, f"{layer.source}: P of rank {rank}; here s4 has a P of rank 1 or 2")
    P = kernel.take_complex("P", rank, "S", "M").permute(1, 2, 0)
    length = int(kernel.take("l_kernel").real)
    found = Kernel(*bank, P=P)
    return found.untruncated(length) if length > 0 else found


def _check_channels(layer: Weights) -> None:
    shape = layer.shape("D")
    require(
        shape[:1] in ((), (1,)),
        f"{layer.source}: D of a layer has the shape {shape}: several channels for each feature, "
        "which our layers do not have",
    )


def _check_copies(layer: Weights, heads: int, systems: int) -> None:
    require(
        systems > 0 and heads % systems == 0,
        f"{layer.source}: A_real of {systems} systems (n_ssm), which {heads} features cannot share "
        "evenly",
    )


def _free_steps(kernel: Weights) -> Float[Tensor, " H"]:
    shape = kernel.shape("inv_dt")
    require(
        shape[1:] in ((), (1,)),
        f"{kernel.source}: inv_dt has the shape {shape}: a step size for each mode (dt_tie=false), "
        "where our s4 and s4d have one for each feature",
    )
    return kernel.take("inv_dt", "H", 1)[:, 0]
