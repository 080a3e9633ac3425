"""The delta rule: a time-varying system whose state is an associative memory.

A group of P channels shares a key k, a query q and gates at every step, and holds a matrix X of
N keys x P values: the states of its P heads (of N states, one input and one output each) side by
side. With decay f (of each key, or one for all), gates w, g, r, e and a row u of P inputs

    X_half = f X + k (w u - g k' (f X)),    y = r q' X_half,    X_next = X_half - e q q' X_half.

The delta rule of Widrow and Hoff, with keys as in Schlag, Irie, Schmidhuber 2021 (arXiv
2102.11174): g = w = beta, r = 1, e = 0 are the steps of DeltaNet (Yang et al. 2024, arXiv
2406.06484), and f < 1 those of Gated DeltaNet (arXiv 2412.06464). With unit k and q and
(1 - g)^2 + w^2 = 1, (1 - e)^2 + r^2 = 1, f = 1 it is two Givens rotations, which keep energy: of
the pair (k' X, u) and of the pair (q' X_half, nothing).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ssmbench.errors import ShapeError
from ssmbench.systems.lti import DiscreteDense
from ssmbench.systems.time_varying import TimeVaryingSystem


@dataclass(frozen=True, kw_only=True)
class TimeVaryingDelta(TimeVaryingSystem):
    """The delta rule for every step of B sequences of L steps; the formulas are the module's.

    key k and query q (B, L, G, N); decay f (B, L, G, N), or (B, L, G, 1); forget g, write w,
    erase e and read r (B, L, G); all real. ``width``: the channels P of each of the G groups, which
    have the same matrices: H = G P heads with one input and one output each, in the order of the
    groups.

    Raises:
        ShapeError: the tensors do not fit together, or the width is below 1.
    """

    key: Float[Tensor, "B L G N"]
    query: Float[Tensor, "B L G N"]
    decay: Float[Tensor, "B L G n"]
    forget: Float[Tensor, "B L G"]
    write: Float[Tensor, "B L G"]
    erase: Float[Tensor, "B L G"]
    read: Float[Tensor, "B L G"]
    width: int = 1

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.key.ndim != 4 or self.decay.ndim != 4:
            raise ShapeError(f"{name} needs key (B, L, G, N), and decay of as many dimensions")
        if self.width < 1:
            raise ShapeError(f"{name}.width must be at least 1, got {self.width}")
        places, states = tuple(self.key.shape[:3]), self.key.shape[3]
        gates = dict.fromkeys(("forget", "write", "erase", "read"), places)
        one = self.decay.shape[3] == 1
        wanted = {"key": (*places, states), "query": (*places, states), **gates}
        wanted["decay"] = (*places, 1 if one else states)
        for field, tensor in self.tensors().items():
            if tuple(tensor.shape) != wanted[field]:
                raise ShapeError(
                    f"{name}.{field} has shape {tuple(tensor.shape)}; with key (B, L, G, N) = "
                    f"{tuple(self.key.shape)} it must be {wanted[field]}"
                )
            if tensor.is_complex():
                raise ShapeError(f"{name}.{field} is complex; the delta rule is of real numbers")

    @property
    def batch(self) -> int:
        return self.key.shape[0]

    @property
    def length(self) -> int:
        return self.key.shape[1]

    @property
    def groups(self) -> int:
        """Number G of groups of channels."""
        return self.key.shape[2]

    @property
    def heads(self) -> int:
        return self.groups * self.width

    @property
    def states(self) -> int:
        """Number N of keys."""
        return self.key.shape[3]

    @property
    def inputs(self) -> int:
        return 1

    @property
    def outputs(self) -> int:
        return 1

    @property
    def state_dtype(self) -> torch.dtype:
        dtype = self.key.dtype
        for tensor in self.tensors().values():
            dtype = torch.promote_types(dtype, tensor.dtype)
        return dtype

    @property
    def signal_dtype(self) -> torch.dtype:
        return self.state_dtype

    def gates(self) -> Float[Tensor, "B L G 4"]:
        """g, w, e, r side by side, as scans take them."""
        return torch.stack([self.forget, self.write, self.erase, self.read], -1)

    def bank(self) -> DiscreteDense:
        """Frozen in time: one dense system for each group, step and sequence, B L G heads."""
        k, q = self.key.flatten(0, 2)[..., None], self.query.flatten(0, 2)[..., None]
        f = self.decay.expand_as(self.key).flatten(0, 2)
        g, w, e, r = (gate.flatten()[:, None, None] for gate in self.gates().unbind(-1))
        one = torch.eye(self.states, dtype=k.dtype, device=k.device)
        held = (one - g * k @ k.mT) * f[:, None, :]  # X to X_half
        kept = one - e * q @ q.mT
        return DiscreteDense(
            A=kept @ held, B=kept @ (w * k), C=r * q.mT @ held, D=r * w * (q.mT @ k)
        )
