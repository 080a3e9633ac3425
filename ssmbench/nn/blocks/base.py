"""The base class of blocks: what stands between two residual streams of the network."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ssmbench.analysis.certificate import IDENTITY, Bound, GainClaim
from ssmbench.analysis.network_bound.enclosed import Enclosed
from ssmbench.analysis.network_bound.lumped import LumpedBlock, lumped_blocks, static_block
from ssmbench.analysis.network_bound.shifted import ShiftedMap
from ssmbench.nn.bounds import layer_bound, reset_unless_defined, total_gain, zero_state_bound
from ssmbench.nn.contracts import FirstUse, check_norm
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.nn.norms.base import Norm
from ssmbench.nn.norms.stepwise import no_norm
from ssmbench.nn.not_lowered import not_lowered
from ssmbench.nn.stream import BlockState
from ssmbench.program import Builder
from ssmbench.systems import DiscreteLTI

#: Why a time-varying SSM layer has no incremental gain.
NO_CONSTANT = "an SSM layer is time-varying, and its selectivity has no global Lipschitz constant"
#: Why a layer that declares a zero-state gain has no incremental one.
ZERO_STATE_ONLY = (
    "an SSM layer declares a zero-state gain only, and its selectivity has no global Lipschitz "
    "constant"
)


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


@dataclass(frozen=True)
class BlockParts:
    """What a network's options say about each of its blocks, and builders of the parts.

    ``layer(width)`` builds an SSM layer, ``layer(width, s)`` one that selects by a signal of width
    s if its parametrization takes one; ``reverse_layer(width, layer)`` the one in reversed time
    beside a layer, and is None in a network of one direction; ``nonlinearity(width)`` and
    ``norm(width)`` likewise. ``bounded``: the network has a prescribed gain. ``count``: the number
    of blocks of the network.
    """

    layer: Callable[..., SSMLayer]
    nonlinearity: Callable[[int], Nonlinearity]
    norm: Callable[[int], Norm] = lambda width: no_norm()
    reverse_layer: Callable[[int, SSMLayer], SSMLayer] | None = None
    norm_position: NormPosition = NormPosition.pre
    mix: bool = True
    residual: Residual = Residual.add
    dropout: float = 0.0
    dropout_tied: bool = False
    ssm_dropout: float = 0.0
    bounded: bool = False
    count: int = 1


class Block(nn.Module, ABC):
    """A map from (B, L, d_model) to (B, L, d_model) with one SSM layer or several; built as
    ``factory(config, d_model=..., parts=BlockParts(...))``.

    The base class normalises and adds the residual connection as ``model.norm``,
    ``model.norm_position`` and ``model.residual`` ask; a block defines its branch, and its state in
    a stream. Without a :attr:`reverse_layer` it must be causal, since it is streamed.
    """

    #: Options of ``model`` that have no effect on such a block; others than the defaults are
    #: refused.
    ignored: ClassVar[tuple[str, ...]] = ()
    #: Why it cannot have a second layer in reversed time; "" if it can.
    one_direction_reason: ClassVar[str] = ""
    #: Why ranks cannot share a sequence; "" if everything but its SSM layers reads single steps.
    no_sharing_reason: ClassVar[str] = ""
    #: Why no such block has a bound, whatever its layers are; "" if it follows from its parts.
    why_unbounded: ClassVar[str] = ""

    #: The SSM layer in reversed time, if there is one.
    reverse_layer: SSMLayer | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        anew = ("forward", "bound", "branch_bound", "_branch")
        reset_unless_defined(cls, Block, anew, "lumped")
        reset_unless_defined(cls, Block, anew, "branch_zero_state_bound")
        reset_unless_defined(cls, Block, ("forward", "stream", "_branch"), "lower")

    def __init__(self, parts: BlockParts, norm: Norm):
        super().__init__()
        self.norm = norm
        self.norm_position = parts.norm_position
        self.residual = parts.residual
        self.reverse_layer = None
        self._first_use = FirstUse()
        if self.residual is Residual.convex:
            self.share = nn.Parameter(torch.zeros(()))  # a = sigmoid(share)

    @property
    @abstractmethod
    def layers(self) -> list[SSMLayer]:
        """The SSM layers, the reverse one last."""

    @abstractmethod
    def forward(
        self,
        x: Float[Tensor, "B L d"],
        lengths: Int[Tensor, " B"] | None = None,
        dt: Float[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "B L d"]:
        """``lengths``: the valid steps, within which time is reversed; later steps must not
        influence them. ``dt``: see :meth:`SSMLayer.forward`; only without a reverse layer."""

    @abstractmethod
    def stream(
        self, x: Float[Tensor, "B L d"], state: BlockState | None
    ) -> tuple[Float[Tensor, "B L d"], BlockState]:
        """The output, and the state after x, from the state before it; None for the initial one.

        Only for a block without a reverse layer. Chunks of any length must give what the whole
        signal gives.
        """

    @classmethod
    def ignored_with(cls, config: Any) -> tuple[str, ...]:
        """Those of :attr:`ignored` that have no effect on a block with these options."""
        return cls.ignored

    def lower(self, to: Builder, x: int) -> int:
        """Add the block of the value x to an exported network; gives the index of its output.

        Raises:
            UsageError: it has no form in plain operations; it names those that have one.
        """
        raise not_lowered(self, Block)

    def lower_normalised(self, to: Builder, position: NormPosition, x: int) -> int:
        """As :meth:`normalise_at`, in an exported network."""
        return self.norm.lower(to, x) if position is self.norm_position else x

    def lower_residual(self, to: Builder, x: int, branch: int) -> int:
        """As :meth:`add_residual`, in an exported network."""
        if self.residual is Residual.none:
            return branch
        if self.residual is Residual.convex:
            share = torch.sigmoid(self.share.detach())
            whole = torch.ones(to.width(x))
            x, branch = to.scale(x, (1 - share) * whole), to.scale(branch, share * whole)
        return to.add(x, branch)

    def branch_bound(self, layers: Bound) -> Bound:
        """A bound on the gain of the branch alone, without norm and residual connection, from that
        of its SSM layers together; not asked for where there is a :attr:`why_unbounded`."""
        return Bound.none(f"{type(self).__name__} states no bound")

    def branch_zero_state_bound(self, layers: Bound) -> Bound:
        """As :meth:`branch_bound`, of ``||f(x)|| / ||x||`` from the zero state, from such a bound
        of its SSM layers: every part that it counts must map zero to zero."""
        return Bound.none(f"{type(self).__name__} states no zero-state bound")

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The class's facts as plain values."""
        words = f"none: {cls.why_unbounded}" if cls.why_unbounded else "of its parts"
        return {"bound": words, "bidirectional": cls.one_direction_reason or True}

    def declared_gain(self) -> float | None:
        """The gain that the SSM layers declare together: the sum, for outputs that are added."""
        return total_gain([layer.declared_gain() for layer in self.layers])

    @property
    def gain_claim(self) -> GainClaim:
        """Which gain the SSM layers declare together."""
        return GainClaim.weakest(layer.gain_claim for layer in self.layers)

    def bound(self, layer_gain: float | None) -> Bound:
        """A bound on the incremental gain of the block in evaluation mode, from a bound on the gain
        of its SSM layers together; ``layer_gain`` is None if there is none."""
        if self.why_unbounded:
            return Bound.none(self.why_unbounded)
        pre, post = self._norm_bounds()
        branch = pre.then(self.branch_bound(self._layers_bound(layer_gain)))
        return self._joined_bound(branch).then(post)

    def zero_state_bound(self, layer_gain: float | None) -> Bound:
        """A bound on ``||f(x)|| / ||x||`` of the block from the zero state, in evaluation mode;
        ``layer_gain`` as in :meth:`bound`, of whichever claim."""
        if self.why_unbounded:
            return Bound.none(self.why_unbounded)
        norm = zero_state_bound(self.norm)
        pre, post = self._ordered(norm)
        branch = pre.then(self.branch_zero_state_bound(self._zero_state_layers(layer_gain)))
        return self._joined_bound(branch).then(post)

    def lumped(
        self, width: int, layer_gain: float | None, systems: Sequence[DiscreteLTI | None]
    ) -> list[LumpedBlock]:
        """The block in evaluation mode for ``width`` features, for the network's tighter bound.

        ``systems``: those that its layers scan, None of time-varying ones. ``layer_gain``: as in
        :meth:`bound`, which is finite here. By default nothing but its bound is known.
        """
        whole = ShiftedMap.of_lipschitz(self.bound(layer_gain).value, width, width)
        return [static_block(whole)]

    def lumped_around(
        self, width: int, system: DiscreteLTI | None, after: ShiftedMap
    ) -> list[LumpedBlock]:
        """The norm and the residual connection around ``after(system(..))``."""
        norm = self.norm.shifted(width)
        assert norm is not None, "the block has a finite bound"
        kept, share = self._residual_shares()
        identity = ShiftedMap.of_matrix(Enclosed.identity(width))
        before, behind = (
            (norm, identity) if self.norm_position is NormPosition.pre else (identity, norm)
        )
        return lumped_blocks(
            before, system, after.then(Enclosed.identity(width, share)), kept, behind
        )

    def _residual_shares(self) -> tuple[float, float]:
        """What the block's input and its branch are multiplied by before they are added."""
        if self.residual is Residual.convex:
            share = torch.sigmoid(self.share.detach().double()).item()
            return 1 - share, share
        return (1.0 if self.residual is Residual.add else 0.0), 1.0

    def _layers_bound(self, layer_gain: float | None) -> Bound:
        if self.gain_claim is GainClaim.zero_state:
            return Bound.none(ZERO_STATE_ONLY)
        if any(layer.time_varying and layer.declared_gain() is None for layer in self.layers):
            return Bound.none(NO_CONSTANT)
        if layer_gain is None:
            return Bound.none("no bound is known for an SSM layer")
        return layer_bound(layer_gain)

    def _zero_state_layers(self, layer_gain: float | None) -> Bound:
        if any(layer.x0 is not None for layer in self.layers):
            return Bound.none("an SSM layer starts from a learned state")
        if layer_gain is None:
            return Bound.none("no bound is known for an SSM layer")
        return layer_bound(layer_gain)

    def normalise_at(
        self, position: NormPosition, x: Tensor, lengths: Tensor | None = None
    ) -> Tensor:
        """x, normalised if this is the norm's position."""
        if position is not self.norm_position:
            return x
        v = self.norm(x, lengths)
        self._first_use.check("norm", check_norm, self.norm, x, v)
        return v

    def add_residual(self, x: Tensor, branch: Tensor) -> Tensor:
        """The branch with the residual connection."""
        if self.residual is Residual.convex:
            return torch.lerp(x, branch, torch.sigmoid(self.share))
        return x + branch if self.residual is Residual.add else branch

    def _norm_bounds(self) -> tuple[Bound, Bound]:
        """The bounds of the normalisation of the branch's input and of the block's output."""
        return self._ordered(self.norm.bound())

    def _ordered(self, bound: Bound) -> tuple[Bound, Bound]:
        return (bound, IDENTITY) if self.norm_position is NormPosition.pre else (IDENTITY, bound)

    def _joined_bound(self, branch: Bound) -> Bound:
        """The bound of the branch together with the residual connection."""
        if self.residual is Residual.convex:
            share = torch.sigmoid(self.share.detach().double()).item()
            if math.isnan(share):
                return Bound.none("a weight is not finite")
            return Bound(1 - share).plus(Bound(share).then(branch))
        return IDENTITY.plus(branch) if self.residual is Residual.add else branch
