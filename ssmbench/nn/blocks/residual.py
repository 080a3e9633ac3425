"""The block of S4, S5 and LRU: [norm, SSM layer, nonlinearity, mixing, residual]."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor, nn

from ssmbench.analysis.certificate import Bound, GainClaim
from ssmbench.analysis.network_bound.enclosed import Enclosed
from ssmbench.analysis.network_bound.lumped import LumpedBlock
from ssmbench.analysis.network_bound.shifted import ShiftedMap
from ssmbench.errors import require
from ssmbench.lengths import reversed_time
from ssmbench.nn.blocks.base import Block, BlockParts, NormPosition
from ssmbench.nn.bounds import linear_bound, zero_state_bound, zero_state_linear_bound
from ssmbench.nn.contracts import check_nonlinearity
from ssmbench.nn.dropout import build_dropout
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.linear import BoundedLinear, effective_weight
from ssmbench.nn.lowering import lower_layer
from ssmbench.nn.stream import BlockState
from ssmbench.program import Builder
from ssmbench.registry import NoOptions, blocks
from ssmbench.systems import DiscreteLTI


@blocks.register(
    "residual", citation="Gu, Goel, Re 2022, S4, arXiv 2111.00396; Smith et al. 2023, S5"
)
class ResidualBlock(Block):
    """x + mix(nonlinearity(layer(norm(x)))); with the norm after, norm(x + mix(..layer(x))).

    The mixing of a network with a prescribed gain has spectral norm 1. With a reverse layer, its
    output for the signal in reversed time, reversed again, is added to that of the layer.
    """

    def __init__(self, config: NoOptions, *, d_model: int, parts: BlockParts):
        layer = parts.layer(d_model)
        nonlinearity, norm = parts.nonlinearity(d_model), parts.norm(d_model)
        super().__init__(parts, norm)
        self.layer = layer
        if parts.reverse_layer is not None:
            self.reverse_layer = parts.reverse_layer(d_model, layer)
        self.nonlinearity = nonlinearity
        linear = BoundedLinear if parts.bounded else nn.Linear
        # a network of a prescribed zero-state gain must map zero to zero
        biased = not parts.bounded or self.gain_claim is GainClaim.incremental
        self.mix = linear(d_model, d_model, bias=biased) if parts.mix else nn.Identity()
        self.dropout = build_dropout(parts.dropout, parts.dropout_tied)
        # no draw without it, so that the random numbers of a run stay those of earlier ones
        p = parts.ssm_dropout
        self.ssm_dropout = nn.Dropout(p) if p > 0 else nn.Identity()

    @property
    def layers(self) -> list[SSMLayer]:
        return [self.layer] if self.reverse_layer is None else [self.layer, self.reverse_layer]

    def forward(
        self,
        x: Float[Tensor, "B L d"],
        lengths: Int[Tensor, " B"] | None = None,
        dt: Float[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "B L d"]:
        v = self.normalise_at(NormPosition.pre, x, lengths)
        y = self.layer(v, dt)
        if self.reverse_layer is not None:
            y = y + reversed_time(self.reverse_layer(reversed_time(v, lengths)), lengths)
        return self.normalise_at(NormPosition.post, self.add_residual(x, self._branch(y)), lengths)

    def stream(
        self, x: Float[Tensor, "B L d"], state: BlockState | None
    ) -> tuple[Float[Tensor, "B L d"], BlockState]:
        """The state is the SSM layer's, (B, H, N)."""
        require(
            state is None or isinstance(state, Tensor),
            "the state of a residual block in a stream must be a tensor (B, H, N), got "
            f"{type(state)}",
        )
        assert state is None or isinstance(state, Tensor)
        y, final = self.layer.run(self.normalise_at(NormPosition.pre, x), state)
        return self.normalise_at(NormPosition.post, self.add_residual(x, self._branch(y))), final

    def _branch(self, y: Tensor) -> Tensor:
        y = self.ssm_dropout(y)
        shaped = self.nonlinearity(y)
        self._first_use.check("nonlinearity", check_nonlinearity, self.nonlinearity, y, shaped)
        return self.dropout(self.mix(shaped))

    def lower(self, to: Builder, x: int) -> int:
        y = lower_layer(to, self.layer, self.lower_normalised(to, NormPosition.pre, x))
        y = self.nonlinearity.lower(to, y)
        if isinstance(self.mix, nn.Linear):
            y = to.affine(y, effective_weight(self.mix), self.mix.bias)
        return self.lower_normalised(to, NormPosition.post, self.lower_residual(to, x, y))

    def lumped(
        self, width: int, layer_gain: float | None, systems: Sequence[DiscreteLTI | None]
    ) -> list[LumpedBlock]:
        """The layer's system is lumped with what is linear around it, except in two directions and
        where it varies in time: there only the bound of the branch is known."""
        shaped = self.nonlinearity.shifted(width)
        if shaped is None or not isinstance(self.mix, nn.Linear | nn.Identity):
            return super().lumped(width, layer_gain, systems)
        if self.reverse_layer is not None or systems[0] is None:
            bound = self.branch_bound(self._layers_bound(layer_gain))
            branch = ShiftedMap.of_lipschitz(bound.value, width, width)
            return self.lumped_around(width, None, branch)
        if isinstance(self.mix, nn.Linear):
            shaped = shaped.then(Enclosed.of(effective_weight(self.mix)))
        return self.lumped_around(width, systems[0], shaped)

    def branch_bound(self, layers: Bound) -> Bound:
        return layers.then(self.nonlinearity.bound()).then(linear_bound(self.mix))

    def branch_zero_state_bound(self, layers: Bound) -> Bound:
        shaped = layers.then(zero_state_bound(self.nonlinearity))
        return shaped.then(zero_state_linear_bound(self.mix))
