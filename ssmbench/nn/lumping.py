"""A network of modules as the lumped network of which a tighter bound is proved."""

from __future__ import annotations

from collections.abc import Sequence

from ssmbench.analysis.network_bound.enclosed import Enclosed
from ssmbench.analysis.network_bound.lumped import (
    LumpedBlock,
    LumpedNetwork,
    Readout,
    static_block,
)
from ssmbench.analysis.network_bound.shifted import ShiftedMap
from ssmbench.nn.bounds import total_gain
from ssmbench.nn.certified import GainsFrom
from ssmbench.nn.model import SequenceModel


class NotLumpedError(ValueError):
    """Why there is no lumped network."""


def lumped_network(
    frozen: SequenceModel,
    layer_gains: Sequence[float | None],
    channels: int,
    lengths: tuple[int, ...],
) -> LumpedNetwork:
    """The lumped form of a frozen network with a finite :meth:`SequenceModel.bound`.

    ``layer_gains``: bounds on the gains of its layers, which are used where a block is not lumped.
    ``channels`` and ``lengths``: of the signal of :attr:`SequenceModel.gains_from`, in samples.

    Raises:
        NotLumpedError: a system is complex, or the decoder is not affine.
    """
    decoder = frozen.decoder_matrix()
    if decoder is None:
        raise NotLumpedError(f"the decoder {type(frozen.decoder).__name__} is not affine")
    width = decoder.shape[1]
    gains = dict(zip(frozen.layers, layer_gains, strict=True))
    first, blocks = _encoder(frozen, channels, width)
    for block in frozen.blocks:
        systems = [None if layer.time_varying else layer.system() for layer in block.layers]
        if not all(system is None or system.is_real() for system in systems):
            raise NotLumpedError("an SSM layer has complex outputs")
        together = total_gain([gains[layer] for layer in block.layers])
        blocks += block.lumped(width, together, systems)
    final = _finite(frozen.final_norm.shifted(width))
    if final.remainders:
        blocks.append(static_block(final))
    last = Enclosed.of(decoder)
    return LumpedNetwork(
        encoder=first,
        blocks=blocks,
        decoder=last if final.remainders else last @ final.linear,
        readout=Readout.steps if frozen.pooling is None else Readout(frozen.pooling.value),
        lengths=tuple(sorted({frozen.framing.count(length) for length in lengths})),
    )


def _encoder(
    frozen: SequenceModel, channels: int, width: int
) -> tuple[Enclosed, list[LumpedBlock]]:
    if frozen.gains_from is GainsFrom.encoded:
        return Enclosed.identity(width), []
    count = channels * frozen.framing.samples
    encoder = _finite(frozen.encoder.shifted(count, width))
    if encoder.remainders:
        return Enclosed.identity(count), [static_block(encoder)]
    return encoder.linear, []


def _finite(form: ShiftedMap | None) -> ShiftedMap:
    if form is None:
        raise NotLumpedError("a part of the network has no finite bound")
    return form
