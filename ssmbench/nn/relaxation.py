"""A prescribed gain that a proved bound of the whole network keeps, in place of the product of the
gains of its parts."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ssmbench.analysis.certificate import GainClaim
from ssmbench.errors import UsageError, require
from ssmbench.nn.blocks.base import Block
from ssmbench.nn.certified import claim_of


class Relaxation(nn.Module):
    """``factor``: the gain that the product of the parts' gains allows, relative to gamma.

    At 1 the product keeps gamma, for all parameter values and lengths of sequences. Above, gamma is
    kept by what was proved for the present parameters, as :attr:`keeps` says; every forward pass in
    training withdraws that, since the parameters are about to change. Both are saved with the
    parameters, as a tensor (2,) in float64, which no change of the network's precision rounds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.factor = 1.0
        self._proved = False

    @property
    def keeps(self) -> bool:
        """Whether gamma is kept."""
        return self.factor == 1.0 or self._proved

    @property
    def relaxed(self) -> bool:
        """Whether the product allows more than gamma."""
        return self.factor > 1.0

    def set(self, factor: float, *, proved: bool) -> None:
        """Relax the product by a factor of at least 1; ``proved``: the bound of the network that
        this gives is known to be at most gamma.

        Raises:
            UsageError: the factor is smaller than 1, or not finite.
        """
        finite = math.isfinite(factor) and factor >= 1
        require(finite, f"relaxation: the factor must be at least 1 and finite, got {factor}")
        self.factor, self._proved = factor, proved

    def withdraw(self) -> None:
        """The parameters are about to change."""
        self._proved = False

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.factor, float(self._proved)], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Raises a UsageError for what :meth:`get_extra_state` cannot have given."""
        if not (isinstance(state, Tensor) and state.shape == (2,) and state[1] in (0, 1)):
            raise UsageError("relaxation: not the state of a relaxed gain")
        self.set(float(state[0]), proved=bool(state[1]))


def check_relaxation(gamma: float | None, blocks: Iterable[Block]) -> None:
    """Raise a UsageError unless a proved bound can keep the gamma of a network."""
    require(gamma is not None, "model.gamma_by: network_bound keeps a model.gamma, and none is set")
    require(
        claim_of(blocks) is GainClaim.incremental,
        "model.gamma_by: network_bound is of an incremental gain, but the SSM layers declare "
        "zero-state gains; choose product",
    )
