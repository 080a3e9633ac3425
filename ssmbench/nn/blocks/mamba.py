"""Mamba's block: Gu and Dao 2023, arXiv 2312.00752, section 3.4 and figure 3."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Inexact, Int
from torch import Tensor, nn

from ssmbench.errors import require
from ssmbench.nn.blocks.base import Block, BlockParts, NormPosition
from ssmbench.nn.dropout import build_dropout
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.stream import BlockState
from ssmbench.options import SIZE, option
from ssmbench.registry import blocks


@dataclass
class MambaConfig:
    """``expansion``: the SSM layer has that many times ``d_model`` channels. ``kernel``: the steps
    that the causal convolution reads, the present one included. ``bias``: whether the linear maps
    have one; the convolution has one in any case."""

    expansion: int = option(2, SIZE)
    kernel: int = option(4, SIZE)
    bias: bool = False


@dataclass(frozen=True)
class MambaState:
    """The last ``kernel - 1`` inputs of the convolution (B, kernel - 1, E), zero before the first,
    and the state (B, H, N) of the SSM layer, None for its initial one."""

    inputs: Float[Tensor, "B k E"]
    layer: Inexact[Tensor, ...] | None

    def detach(self) -> MambaState:
        """The same without its graph."""
        return MambaState(self.inputs.detach(), None if self.layer is None else self.layer.detach())


@blocks.register("mamba", config=MambaConfig, citation="Gu, Dao 2023, Mamba, arXiv 2312.00752")
class MambaBlock(Block):
    """x + W (layer(SiLU(conv(U v))) SiLU(G v)), v = norm(x): a gate around a wider SSM layer.

    The published block (mamba_ssm/modules/mamba_simple.py at e9594ce) with any SSM layer in the
    middle; with ``parametrization: {name: selective, euler_input: true, published_groups: true}``,
    ``dt_rank`` d_model / 16 rounded up, ``discretizer: zoh``, ``readout: after`` and ``norm: rms``
    it is Mamba. The convolution reads every channel by itself and counts samples, whatever their
    time steps are. W starts smaller by the root of the number of blocks, as published.

    There is no bound: the gate multiplies two signals, so the slope grows with them, with any SSM
    layer.
    """

    ignored = ("nonlinearity", "mix", "ssm_dropout")
    one_direction_reason = "the block mamba is causal: its convolution reads earlier steps"
    no_sharing_reason = (
        "the convolution of the block mamba reads steps of the segment before, which another rank "
        "has"
    )
    why_unbounded = "the gate of a Mamba block multiplies two signals: its slope grows with them"

    def __init__(self, config: MambaConfig, *, d_model: int, parts: BlockParts):
        width = config.expansion * d_model
        layer = parts.layer(width)
        super().__init__(parts, parts.norm(d_model))
        self.kernel = config.kernel
        self.project_in = nn.Linear(d_model, 2 * width, bias=config.bias)
        self.conv = nn.Conv1d(width, width, config.kernel, groups=width)
        self.layer = layer
        self.project_out = nn.Linear(width, d_model, bias=config.bias)
        with torch.no_grad():
            self.project_out.weight /= math.sqrt(parts.count)
        self.dropout = build_dropout(parts.dropout, parts.dropout_tied)

    @property
    def layers(self) -> list[SSMLayer]:
        return [self.layer]

    def forward(
        self,
        x: Float[Tensor, "B L d"],
        lengths: Int[Tensor, " B"] | None = None,
        dt: Float[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "B L d"]:
        h, gate = self._inner(x, lengths)
        y = self.layer(self._convolved(self._extended(h, None)), dt)
        return self.normalise_at(
            NormPosition.post, self.add_residual(x, self._branch(y, gate)), lengths
        )

    def stream(
        self, x: Float[Tensor, "B L d"], state: BlockState | None
    ) -> tuple[Float[Tensor, "B L d"], MambaState]:
        """The state is a :class:`MambaState`."""
        require(
            state is None or isinstance(state, MambaState),
            f"the state of a Mamba block in a stream must be a MambaState, got {type(state)}",
        )
        assert state is None or isinstance(state, MambaState)
        h, gate = self._inner(x, None)
        extended = self._extended(h, None if state is None else state.inputs)
        y, final = self.layer.run(self._convolved(extended), None if state is None else state.layer)
        kept = extended[:, extended.shape[1] - (self.kernel - 1) :]
        y = self.normalise_at(NormPosition.post, self.add_residual(x, self._branch(y, gate)))
        return y, MambaState(kept, final)

    def _inner(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """The signal of the SSM branch and that of the gate, (B, L, E) each."""
        signal, gate = self.project_in(self.normalise_at(NormPosition.pre, x, lengths)).chunk(2, -1)
        return signal, gate

    def _extended(self, h: Tensor, before: Tensor | None) -> Tensor:
        """h with the ``kernel - 1`` inputs before it, zeros at the start."""
        if before is None:
            return F.pad(h, (0, 0, self.kernel - 1, 0))
        shape = (len(h), self.kernel - 1, h.shape[-1])
        require(
            tuple(before.shape) == shape,
            f"the inputs of a Mamba block's state must have the shape {shape}, got "
            f"{tuple(before.shape)}",
        )
        return torch.cat([before.to(h), h], 1)

    def _convolved(self, extended: Float[Tensor, "B M E"]) -> Float[Tensor, "B L E"]:
        return F.silu(self.conv(extended.mT).mT)

    def _branch(self, y: Tensor, gate: Tensor) -> Tensor:
        return self.dropout(self.project_out(y * F.silu(gate)))
