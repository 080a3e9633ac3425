"""A block of the network: [norm, SSM layer, nonlinearity, mixing, residual]."""

from __future__ import annotations

import math
from enum import Enum

import torch
from jaxtyping import Float, Inexact, Int
from torch import Tensor, nn

from ssmbench.analysis.certificate import IDENTITY, Bound
from ssmbench.lengths import reversed_time
from ssmbench.nn.bounds import layer_bound, linear_bound, total_gain
from ssmbench.nn.contracts import FirstUse, check_nonlinearity, check_norm
from ssmbench.nn.dropout import build_dropout
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.linear import BoundedLinear
from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.nn.norms.base import Norm
from ssmbench.nn.norms.stepwise import no_norm

#: Why a time-varying SSM layer has no incremental gain.
NO_CONSTANT = "an SSM layer is time-varying, and its selectivity has no global Lipschitz constant"


class NormPosition(Enum):
    """Where a block normalises: its branch's input, or its output after the residual connection."""

    pre = "pre"
    post = "post"


class Residual(Enum):
    """How a block combines its input x with its branch f(x): x + f(x), (1 - a) x + a f(x) with a
    learned a, or f(x) alone."""

    add = "add"
    convex = "convex"
    none = "none"


class Block(nn.Module):
    """x + mix(nonlinearity(layer(norm(x)))), all (B, L, d_model); with the norm in the position
    ``post``, norm(x + mix(nonlinearity(layer(x)))).

    The mixing of a ``bounded`` block has spectral norm 1. With a ``reverse_layer``, its output for
    the signal in reversed time, reversed again, is added to that of the layer.
    """

    def __init__(
        self,
        layer: SSMLayer,
        nonlinearity: Nonlinearity,
        *,
        d_model: int,
        norm: Norm | None = None,
        norm_position: NormPosition = NormPosition.pre,
        mix: bool = True,
        residual: Residual = Residual.add,
        dropout: float = 0.0,
        dropout_tied: bool = False,
        ssm_dropout: float = 0.0,
        bounded: bool = False,
        reverse_layer: SSMLayer | None = None,
    ):
        super().__init__()
        self.norm = norm or no_norm()
        self.norm_position = norm_position
        self.layer = layer
        self.reverse_layer = reverse_layer
        self.nonlinearity = nonlinearity
        self._first_use = FirstUse()
        linear = BoundedLinear if bounded else nn.Linear
        self.mix = linear(d_model, d_model) if mix else nn.Identity()
        self.dropout = build_dropout(dropout, dropout_tied)
        # no draw without it, so that the random numbers of a run stay those of earlier ones
        self.ssm_dropout = nn.Dropout(ssm_dropout) if ssm_dropout > 0 else nn.Identity()
        self.residual = residual
        if residual is Residual.convex:
            self.share = nn.Parameter(torch.zeros(()))  # a = sigmoid(share)

    @property
    def layers(self) -> list[SSMLayer]:
        """The SSM layer, and the reverse one if there is one."""
        return [self.layer] if self.reverse_layer is None else [self.layer, self.reverse_layer]

    def declared_gain(self) -> float | None:
        """The gain that the SSM layers declare together: the sum, since their outputs are added."""
        return total_gain([layer.declared_gain() for layer in self.layers])

    def forward(
        self,
        x: Float[Tensor, "B L d"],
        lengths: Int[Tensor, " B"] | None = None,
        dt: Float[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "B L d"]:
        """``lengths``: the valid steps, within which time is reversed; later steps do not influence
        them. ``dt``: see :meth:`SSMLayer.forward`; only without a reverse layer.
        """
        v = self._at(NormPosition.pre, x, lengths)
        y = self.layer(v, dt)
        if self.reverse_layer is not None:
            y = y + reversed_time(self.reverse_layer(reversed_time(v, lengths)), lengths)
        return self._at(NormPosition.post, self._join(x, y), lengths)

    def stream(
        self, x: Float[Tensor, "B L d"], x0: Inexact[Tensor, ...] | None
    ) -> tuple[Float[Tensor, "B L d"], Inexact[Tensor, "B H N"]]:
        """The output, and the SSM layer's state after x, from its state x0 (B, H, N) before x."""
        y, final = self.layer.run(self._at(NormPosition.pre, x), x0)
        return self._at(NormPosition.post, self._join(x, y)), final

    def _at(self, position: NormPosition, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x, normalised if this is the norm's position."""
        if position is not self.norm_position:
            return x
        v = self.norm(x, lengths)
        self._first_use.check("norm", check_norm, self.norm, x, v)
        return v

    def _join(self, x: Tensor, y: Tensor) -> Tensor:
        y = self.ssm_dropout(y)
        shaped = self.nonlinearity(y)
        self._first_use.check("nonlinearity", check_nonlinearity, self.nonlinearity, y, shaped)
        branch = self.dropout(self.mix(shaped))
        if self.residual is Residual.convex:
            return torch.lerp(x, branch, torch.sigmoid(self.share))
        return x + branch if self.residual is Residual.add else branch

    def bound(self, layer_gain: float | None) -> Bound:
        """A bound on the gain of the block in evaluation mode, from a bound on the gain of its SSM
        layers together; ``layer_gain`` is None if there is none, as for a time-varying layer."""
        if any(layer.time_varying for layer in self.layers):
            layer = Bound.none(NO_CONSTANT)
        elif layer_gain is None:
            layer = Bound.none("no bound is known for an SSM layer")
        else:
            layer = layer_bound(layer_gain)
        pre, post = self._norm_bounds()
        branch = pre.then(layer)
        branch = branch.then(self.nonlinearity.bound()).then(linear_bound(self.mix))
        return self._joined_bound(branch).then(post)

    def _norm_bounds(self) -> tuple[Bound, Bound]:
        """The bounds of the normalisation of the branch's input and of the block's output."""
        bound = self.norm.bound()
        return (bound, IDENTITY) if self.norm_position is NormPosition.pre else (IDENTITY, bound)

    def _joined_bound(self, branch: Bound) -> Bound:
        """The bound of the branch together with the residual connection."""
        if self.residual is Residual.convex:
            share = torch.sigmoid(self.share.detach().double()).item()
            if math.isnan(share):
                return Bound.none("a weight is not finite")
            return Bound(1 - share).plus(Bound(share).then(branch))
        return IDENTITY.plus(branch) if self.residual is Residual.add else branch
