"""A block whose gain is that of its SSM layer, with a path beside it that only selects."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Inexact, Int
from torch import Tensor, nn

from ssmbench.analysis.certificate import IDENTITY, Bound, GainClaim
from ssmbench.errors import require
from ssmbench.linalg.orthogonal import cayley
from ssmbench.nn.blocks.base import Block, BlockParts
from ssmbench.nn.bounds import weight_bound, zero_state_bound
from ssmbench.nn.causal import CausalConv
from ssmbench.nn.contracts import check_nonlinearity
from ssmbench.nn.dropout import build_dropout
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.lowering import lower_layer
from ssmbench.nn.norms.stepwise import no_norm
from ssmbench.nn.stream import BlockState
from ssmbench.options import SIZE, one_of, option
from ssmbench.program import Builder
from ssmbench.registry import blocks

#: Why a block with a gate has no incremental gain.
GATED = "the gate of a certified block multiplies two signals, so that only its zero-state gain"
#: Standard deviation of the initial entries of Cayley's skew-symmetric matrices, times sqrt(d).
_SPREAD = 0.3
#: The initial bias of the gate, which opens it: tanh(2) = 0.96.
_OPEN = 2.0


@dataclass
class CertifiedConfig:
    """``kernel``: the steps that the causal convolution reads, the present one included. ``gate``:
    whether the SSM layer's output is multiplied by tanh of what the whole block's input selects;
    with it, gains are zero-state ones. ``selection``: what selects the matrices of a time-varying
    layer: ``path``, the whole input through LayerNorm, a linear map, the convolution and SiLU; or
    ``input``, the layer's own input, as incremental gains need it. ``delay``: whether every second
    channel of the layer's input comes one step late, which its norm does not see: a layer that its
    own input selects then knows the step before. ``nonlinear``: what ``model.nonlinearity`` acts
    on: nothing, so that a time-invariant layer without a gate makes a linear block; the SSM layer's
    ``output``, before the gate; or ``all`` channels, after Q2."""

    kernel: int = option(4, SIZE)
    gate: bool = True
    selection: str = option("path", one_of("path", "input"))
    delay: bool = False
    nonlinear: str = option("none", one_of("none", "output", "all"), added=2)


@dataclass(frozen=True)
class CertifiedState:
    """The last ``kernel - 1`` inputs of the convolution (B, kernel - 1, d), None without one, and
    the state of the SSM layer, and the channels that come one step late; None for the initial
    ones."""

    inputs: Float[Tensor, "B k d"] | None
    layer: Inexact[Tensor, ...] | None
    late: Float[Tensor, "B h"] | None = None

    def detach(self) -> CertifiedState:
        """The same without its graph."""
        parts = (None if x is None else x.detach() for x in (self.inputs, self.layer, self.late))
        return CertifiedState(*parts)


@blocks.register(
    "certified",
    config=CertifiedConfig,
    citation="this work; orthogonal maps by Cayley's transform as in Trockman and Kolter 2021, "
    "arXiv 2104.07167, and the convolution before the selection of Gu, Dao 2023, arXiv 2312.00752",
)
class CertifiedBlock(Block):
    """Q2 [p, tanh(gate) layer(v)], where [p, v] = Q1 x and Q1, Q2 are orthogonal: half of the
    channels pass, and the other half go through the SSM layer.

    So ``||f(x)|| <= max(1, g) ||x||`` for a layer of zero-state gain g, for all parameter values,
    without biases and without a residual connection: the passing half is one, of gain 1. What
    selects the layer's matrices, and the gate, may be any function of x; here it is
    ``SiLU(conv(W LayerNorm(x)))``. ``model.dropout`` acts on that path only. The nonlinearity, if
    the options ask for it, multiplies g, or the whole, by its Lipschitz constant.
    """

    ignored = ("nonlinearity", "norm", "norm_position", "mix", "residual", "ssm_dropout")

    @classmethod
    def ignored_with(cls, config: CertifiedConfig) -> tuple[str, ...]:
        """The nonlinearity only where nothing is to be nonlinear."""
        used = config.nonlinear != "none"
        return tuple(key for key in cls.ignored if not (used and key == "nonlinearity"))

    one_direction_reason = "the block certified is causal: its convolution reads earlier steps"
    no_sharing_reason = (
        "the convolution of the block certified reads steps of the segment before, which another "
        "rank has"
    )

    def __init__(self, config: CertifiedConfig, *, d_model: int, parts: BlockParts):
        require(
            d_model > 1, f"the block certified needs model.d_model of at least 2, got {d_model}"
        )
        width = d_model // 2
        by_path = config.selection == "path"
        layer = parts.layer(width, d_model) if by_path else parts.layer(width)
        super().__init__(parts, no_norm())
        self.layer, self.width = layer, width
        self.first, self.last = (_skew(d_model) for _ in range(2))
        self.delay = config.delay
        self.selected = layer.parametrization.d_selection is not None
        if self.selected or config.gate:
            self.path_norm = nn.LayerNorm(d_model)
        if self.selected:
            self.to_selection = nn.Linear(d_model, d_model, bias=False)
            self.conv = CausalConv(d_model, config.kernel)
        self.gate = nn.Sequential() if config.gate else None
        if self.gate is not None:
            out = nn.Linear(d_model, width)
            nn.init.constant_(out.bias, _OPEN)
            self.gate.extend([nn.Linear(d_model, d_model, bias=False), nn.SiLU(), out])
        self.dropout = build_dropout(parts.dropout, parts.dropout_tied)
        acts = {"output": width, "all": d_model}.get(config.nonlinear)
        self.nonlinearity = None if acts is None else parts.nonlinearity(acts)
        self.on_all = config.nonlinear == "all"

    @property
    def layers(self) -> list[SSMLayer]:
        return [self.layer]

    @property
    def gain_claim(self) -> GainClaim:
        """Zero-state with a gate; else that of the layer."""
        return GainClaim.zero_state if self.gate is not None else super().gain_claim

    def forward(
        self,
        x: Float[Tensor, "B L d"],
        lengths: Int[Tensor, " B"] | None = None,
        dt: Float[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "B L d"]:
        passing, value = self._split(x)
        value, _ = self._delayed(value, None)
        path = self._path(x)
        selection = None if not self.selected else self._selection(self._extended(path, None))
        return self._joined(passing, self.layer(value, dt, selection), path)

    def stream(
        self, x: Float[Tensor, "B L d"], state: BlockState | None
    ) -> tuple[Float[Tensor, "B L d"], CertifiedState]:
        """The state is a :class:`CertifiedState`."""
        require(
            state is None or isinstance(state, CertifiedState),
            f"the state of a certified block in a stream must be a CertifiedState, got "
            f"{type(state)}",
        )
        assert state is None or isinstance(state, CertifiedState)
        passing, value = self._split(x)
        path, before = self._path(x), state or CertifiedState(None, None)
        value, late = self._delayed(value, before.late)
        selection = kept = None
        if self.selected:
            extended = self._extended(path, before.inputs)
            selection, kept = self._selection(extended), self.conv.kept(extended)
        y, final = self.layer.run(value, before.layer, None, selection)
        return self._joined(passing, y, path), CertifiedState(kept, final, late)

    def lower(self, to: Builder, x: int) -> int:
        first, last = self.orthogonal()
        v, passing = to.affine(x, first), len(first) - self.width
        kept, value = to.slice(v, 0, passing), to.slice(v, passing, len(first))
        if self.delay:
            value = self._lower_delayed(to, value)
        y = lower_layer(to, self.layer, value, self._lower_selection(to, x))
        if self.gate is not None:
            y = to.multiply(y, self._lower_gate(to, x, self.gate))
        return to.affine(to.concat(kept, y), last)

    def _lower_delayed(self, to: Builder, value: int) -> int:
        now, then = to.slice(value, 0, self.width, 2), to.slice(value, 1, self.width, 2)
        late = to.convolution(then, torch.tensor([1.0, 0.0]).expand(to.width(then), -1))
        return to.concat(now, late)

    def _lower_selection(self, to: Builder, x: int) -> int | None:
        if not self.selected:
            return None
        signal = to.affine(self._lower_path(to, x), self.to_selection.weight)
        weight = self.conv.weight[:, 0]
        return to.pointwise(to.convolution(signal, weight, self.conv.bias), "silu")

    def _lower_path(self, to: Builder, x: int) -> int:
        norm = self.path_norm
        return to.scale(to.standardise(x, norm.eps), norm.weight, norm.bias)

    def _lower_gate(self, to: Builder, x: int, gate: nn.Sequential) -> int:
        path = self._lower_path(to, x)
        inner, _, out = gate
        hidden = to.pointwise(to.affine(path, inner.weight), "silu")
        return to.pointwise(to.affine(hidden, out.weight, out.bias), "tanh")

    def orthogonal(self) -> tuple[Float[Tensor, "d d"], Float[Tensor, "d d"]]:
        """Q1 and Q2."""
        first, last = (cayley(skew.double()).to(skew.dtype) for skew in (self.first, self.last))
        return first, last

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The passing channels and those for the SSM layer."""
        v = F.linear(x, cayley(self.first.double()).to(self.first.dtype))
        return v[..., : -self.width], v[..., -self.width :]

    def _delayed(self, value: Tensor, late: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The layer's input, and the channels that the next chunk begins with."""
        if not self.delay:
            return value, None
        now, then = value[..., ::2], value[..., 1::2]
        first = torch.zeros_like(then[:, 0]) if late is None else late.to(then)
        then_late = torch.cat([first[:, None], then[:, :-1]], 1)
        return torch.cat([now, then_late], -1), then[:, -1]

    def _path(self, x: Tensor) -> Tensor | None:
        """What selection and gate follow from; None if there is neither."""
        if not self.selected and self.gate is None:
            return None
        return self.dropout(self.path_norm(x))

    def _extended(self, path: Tensor | None, before: Tensor | None) -> Tensor:
        assert path is not None, "a block that selects has a path"
        return self.conv.extended(self.to_selection(path), before)

    def _selection(self, extended: Tensor) -> Tensor:
        return F.silu(self.conv(extended))

    def _joined(self, passing: Tensor, y: Tensor, path: Tensor | None) -> Tensor:
        y = y if self.on_all else self._shaped(y)
        gated = y if self.gate is None else y * torch.tanh(self.gate(path))
        joined = torch.cat([passing.to(gated.dtype), gated], -1)
        mixed = F.linear(joined, cayley(self.last.double()).to(self.last.dtype))
        return self._shaped(mixed) if self.on_all else mixed

    def _shaped(self, y: Tensor) -> Tensor:
        if self.nonlinearity is None:
            return y
        shaped = self.nonlinearity(y)
        self._first_use.check("nonlinearity", check_nonlinearity, self.nonlinearity, y, shaped)
        return shaped

    def bound(self, layer_gain: float | None) -> Bound:
        if self.gate is not None:
            return Bound.none(f"{GATED} is bounded")
        shaped = IDENTITY if self.nonlinearity is None else self.nonlinearity.bound()
        return self._around(self._layers_bound(layer_gain), shaped)

    def zero_state_bound(self, layer_gain: float | None) -> Bound:
        shaped = IDENTITY if self.nonlinearity is None else zero_state_bound(self.nonlinearity)
        return self._around(self._zero_state_layers(layer_gain), shaped)

    def _around(self, layers: Bound, shaped: Bound) -> Bound:
        """max(1, g) times the norms of Q1 and Q2, which rounding moves from 1; the nonlinearity's
        bound multiplies g, or all."""
        branch = layers if self.on_all else layers.then(shaped)
        beside = Bound(max(1.0, branch.value)) if branch.finite else branch
        first, last = map(weight_bound, self.orthogonal())
        whole = first.then(beside).then(last)
        return whole.then(shaped) if self.on_all else whole


def _skew(d_model: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(d_model, d_model) * (_SPREAD / math.sqrt(d_model)))
