"""The parts of a network, and what follows from them without running it: its gains, its rates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from ssmbench.analysis.certificate import Bound, GainClaim
from ssmbench.analysis.pair_gains import PairGains
from ssmbench.nn.blocks.base import Block
from ssmbench.nn.bounds import offset_of
from ssmbench.nn.certified import (
    GainsFrom,
    check_certifiable,
    claim_of,
    composed_bound,
    declared_bound,
    gains_from,
)
from ssmbench.nn.decoders.base import Decoder
from ssmbench.nn.encoders.base import Encoder
from ssmbench.nn.framing import Framing
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.norms.base import Norm
from ssmbench.nn.norms.stepwise import no_norm
from ssmbench.nn.pooling import Pooling
from ssmbench.nn.relaxation import Relaxation, check_relaxation, digest
from ssmbench.nn.sampling import check_uneven_network
from ssmbench.spec import Reading, TaskSizes


class NetworkParts(nn.Module):
    """An encoder, blocks in series, a final norm and a decoder, with the gains that they compose
    to. :class:`ssmbench.nn.model.SequenceModel` runs them.

    Raises:
        UsageError: there is a ``gamma``, and a part declares no finite bound; or a ``relaxation``,
            and no gamma, or one of a zero-state gain.
    """

    def __init__(
        self,
        blocks: Iterable[Block],
        *,
        encoder: Encoder,
        decoder: Decoder,
        final_norm: Norm | None = None,
        framing: Framing | None = None,
        gamma: float | None = None,
        relaxation: Relaxation | None = None,
        sizes: TaskSizes | None = None,
    ):
        super().__init__()
        self._sizes = sizes
        self.encoder = encoder
        self.blocks = cast("Sequence[Block]", nn.ModuleList(blocks))
        self.final_norm = final_norm or no_norm()
        self.decoder = decoder
        self.framing = framing or Framing()
        self.gamma = gamma
        self.relaxation = relaxation
        if gamma is not None:
            check_certifiable(gamma, encoder, self.blocks, self.final_norm, decoder)
        if relaxation is not None:
            check_relaxation(gamma, self.blocks)

    @property
    def layers(self) -> list[SSMLayer]:
        """The SSM layers, first to last; a bidirectional block has two, the reverse one second.
        Those of a block that is applied several times are listed once."""
        return list(dict.fromkeys(layer for block in self.blocks for layer in block.layers))

    @property
    def bidirectional(self) -> bool:
        """Whether outputs depend on later inputs."""
        return any(block.reverse_layer is not None for block in self.blocks)

    @property
    def reads_batch(self) -> bool:
        """Whether a norm reads the whole batch in training."""
        return any(m.reads_batch for m in self.modules() if isinstance(m, Norm))

    @property
    def pooling(self) -> Pooling | None:
        """How the decoder reduces a sequence to one vector; None if it does not."""
        return self.decoder.pooling

    @property
    def reads_pairs(self) -> bool:
        """Whether the decoder reads the features of two sequences."""
        return self.decoder.reads is Reading.pair

    @property
    def gains_from(self) -> GainsFrom:
        """The signal that the network's gains refer to."""
        return gains_from(self.encoder, self.decoder)

    @property
    def gain_claim(self) -> GainClaim:
        """Which gain a ``gamma`` prescribes: by what the SSM layers declare."""
        return claim_of(self.blocks)

    @property
    def declared_gain(self) -> float | None:
        """The gain that is kept: gamma, for all parameter values or, with a relaxation, by a proof
        for the network as it is (:meth:`digest`). None where there is no such proof, where a layer
        holds a system that is not that of its parameters, and without a gamma."""
        if not all(layer.holds_own for layer in self.layers):
            return None
        relaxation = self.relaxation
        if relaxation is None or not relaxation.relaxed or relaxation.proved == self.digest():
            return self.gamma
        return None

    @property
    def declared_by_bound(self) -> bool:
        """Whether a proved bound keeps gamma, where the product of the gains does not."""
        relaxed = self.relaxation is not None and self.relaxation.relaxed
        return relaxed and self.declared_gain is not None

    def digest(self) -> bytes:
        """What the network's gain follows from, beside its structure: parameters and buffers with
        their dtypes, the sampling rate of each layer, and gamma. The relaxation is left out."""
        values = {**dict(self.named_buffers(remove_duplicate=False)), **self.state_dict()}
        kept = {name: v for name, v in values.items() if not name.startswith("relaxation.")}
        return digest(kept, [self.gamma or 0.0, *(layer.rate for layer in self.layers)])

    def check_uneven(self) -> None:
        """Raise a UsageError unless the network takes a ``dt``, whatever its values."""
        check_uneven_network(bidirectional=self.bidirectional, certified=self.gamma is not None)
        for layer in self.layers:
            layer.check_uneven()

    def set_rate(self, rate: float) -> None:
        """Let every layer use its trained step size times ``rate``.

        Use 0.5 for signals that are sampled twice as fast as those of the training.

        Raises:
            UsageError: a parametrization is discrete, the network is frozen or framed, or the rate
                is not positive and finite.
        """
        self.framing.check_rate(rate)
        for layer in self.layers:
            layer.check_rate(rate)
        for layer in self.layers:
            layer.rate = rate

    @contextmanager
    def at_rate(self, rate: float) -> Iterator[None]:
        """A context in which :meth:`set_rate` applies; it raises the same errors."""
        before = [layer.rate for layer in self.layers]
        self.set_rate(rate)
        try:
            yield
        finally:
            for layer, old in zip(self.layers, before, strict=True):
                layer.rate = old

    def decoder_gain(self) -> dict[str, float]:
        """The keyword that prescribes the decoder's gain; empty without a ``gamma``."""
        if self.gamma is None:
            return {}
        relaxed = 1.0 if self.relaxation is None else self.relaxation.factor
        return {"gain": self.gamma * relaxed / declared_bound(self.blocks, self.final_norm).value}

    def bound(self, layer_gains: Sequence[float | None], length: int) -> Bound:
        """A bound on the incremental l2 gain from the signal of :attr:`gains_from` to the output,
        for sequences of ``length`` steps, or of at least as many in a padded batch.

        ``layer_gains``: a bound on the gain of each of :attr:`layers`; None where none is known.
        Biases and learned initial states cancel in differences.
        """
        return self._composed(layer_gains, length, GainClaim.incremental)

    def zero_state_bound(self, layer_gains: Sequence[float | None], length: int) -> Bound:
        """As :meth:`bound`, on the zero-state gain ``||f(u)|| / ||u||``, from gains of either kind:
        none where a part may not map zero to zero, or a layer starts from a learned state."""
        return self._composed(layer_gains, length, GainClaim.zero_state)

    def _composed(
        self, layer_gains: Sequence[float | None], length: int, claim: GainClaim
    ) -> Bound:
        features = self._bound_of_features(layer_gains, claim)
        if claim is GainClaim.zero_state and not self.decoder.maps_zero_to_zero:
            return features.then(offset_of(self.decoder))
        steps = self.framing.count(length)
        return features.then(self.decoder.bound(steps, **self.decoder_gain()))

    def pair_gains(self, layer_gains: Sequence[float | None], length: int) -> PairGains | None:
        """Bounds as :meth:`bound`, of each output and of the difference of each pair of outputs;
        None if that has no finite value."""
        whole = self.bound(layer_gains, length)
        if not whole.finite:
            return None
        rows = self.decoder.rows(**self.decoder_gain())
        if rows is None:
            return self._sizes and PairGains.of_gain(whole.value, self._sizes.outputs)
        before = self._bound_of_features(layer_gains, GainClaim.incremental)
        if self.pooling is not None:
            before = before.then(self.pooling.bound(self.framing.count(length)))
        of_rows = PairGains.of_decoder(before.value, rows)
        return of_rows.minimum(PairGains.of_gain(whole.value, len(rows)))

    def _bound_of_features(self, layer_gains: Sequence[float | None], claim: GainClaim) -> Bound:
        """The bound up to the decoder."""
        gains = dict(zip(self.layers, layer_gains, strict=True))
        first = None if self.gains_from is GainsFrom.encoded else self.encoder
        return composed_bound(claim, first, self.blocks, gains, self.final_norm)

    def decoder_matrix(self) -> Float[Tensor, "out d"] | None:
        """The matrix of an affine decoder (:meth:`Decoder.rows`); None of others."""
        return self.decoder.rows(**self.decoder_gain())

    def parameter_count(self) -> int:
        """The number of trainable real numbers."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)
