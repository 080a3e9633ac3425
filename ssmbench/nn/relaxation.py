"""A prescribed gain that a proved bound of the whole network keeps, in place of the product of the
gains of its parts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ssmbench.analysis.certificate import GainClaim
from ssmbench.errors import UsageError, require
from ssmbench.nn.blocks.base import Block
from ssmbench.nn.certified import claim_of

#: Of a digest, with the words that are saved of it, and the length of the state.
_DIGEST_BYTES, _WORD, _STATE = 32, np.dtype("<u4"), 9


class Relaxation(nn.Module):
    """``factor``: the gain that the product of the parts' gains allows, relative to gamma.

    At 1 the product keeps gamma, for all parameter values and lengths of sequences. Above, gamma is
    kept by what was proved for one network, known by its :func:`digest`: ``proved``, empty where
    nothing is. Both are saved with the parameters, as a tensor (9,) in float64, which no change of
    the network's precision rounds: the factor, and the words of 32 bits of the digest.
    """

    def __init__(self) -> None:
        super().__init__()
        self.factor = 1.0
        self.proved = b""

    @property
    def relaxed(self) -> bool:
        """Whether the product allows more than gamma."""
        return self.factor > 1.0

    def set(self, factor: float, *, proved: bytes = b"") -> None:
        """Relax the product by a factor of at least 1; ``proved``: the digest of the network whose
        bound is then known to be at most gamma.

        Raises:
            UsageError: the factor is smaller than 1, or not finite.
        """
        finite = math.isfinite(factor) and factor >= 1
        require(finite, f"relaxation: the factor must be at least 1 and finite, got {factor}")
        self.factor, self.proved = factor, proved

    def get_extra_state(self) -> Tensor:
        words = np.frombuffer(self.proved or bytes(_DIGEST_BYTES), _WORD)
        return torch.tensor([self.factor, *words.tolist()], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Raises a UsageError for what :meth:`get_extra_state` cannot have given."""
        if not (isinstance(state, Tensor) and state.shape == (_STATE,) and _are_words(state[1:])):
            raise UsageError("relaxation: not the state of a relaxed gain")
        words = state[1:].to("cpu", torch.float64).numpy().astype(_WORD)
        self.set(float(state[0]), proved=words.tobytes() if words.any() else b"")


def digest(tensors: Mapping[str, object], numbers: Iterable[float]) -> bytes:
    """SHA-256 of named tensors (their names, dtypes, shapes and values, on whichever device), of
    what else a module saves, and of further numbers."""
    found = hashlib.sha256(repr([float(number) for number in numbers]).encode())
    for name, value in sorted(tensors.items()):
        if not isinstance(value, Tensor):
            found.update(repr((name, value)).encode())
            continue
        found.update(repr((name, value.dtype, tuple(value.shape))).encode())
        plain = value.detach().resolve_conj().resolve_neg().cpu().contiguous()
        found.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.digest()


def _are_words(values: Tensor) -> bool:
    return bool(((values >= 0) & (values < 2**32) & (values == values.round())).all())


def check_relaxation(gamma: float | None, blocks: Iterable[Block]) -> None:
    """Raise a UsageError unless a proved bound can keep the gamma of a network."""
    require(gamma is not None, "model.gamma_by: network_bound keeps a model.gamma, and none is set")
    require(
        claim_of(blocks) is GainClaim.incremental,
        "model.gamma_by: network_bound is of an incremental gain, but the SSM layers declare "
        "zero-state gains; choose product",
    )
