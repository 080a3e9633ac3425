"""Sequences that ranks share: which networks can, and their layers' scans while they do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ssmbench.errors import require
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.parts import NetworkParts
from ssmbench.scans.sequence_parallel import Segments, SequenceParallelScan

#: Why ranks cannot share a sequence in a bidirectional network.
NO_SHARING = (
    "a bidirectional network cannot share a sequence among ranks: its reversed scan would need the "
    "segments in reversed order"
)
#: Why ranks cannot share a sequence where a norm reads the whole batch.
NO_SHARED_BATCH = (
    "a network with batch normalisation cannot share a sequence among ranks: each rank would have "
    "the statistics of its own segment only"
)


def check_sharing(network: NetworkParts) -> None:
    """Raise a UsageError unless ranks can share the sequences of a network."""
    require(not network.bidirectional, NO_SHARING)
    require(not network.reads_batch, NO_SHARED_BATCH)
    for block in network.blocks:
        require(not block.no_sharing_reason, block.no_sharing_reason)


@contextmanager
def scans_shared(layers: Sequence[SSMLayer], segments: Segments) -> Iterator[None]:
    """A context in which each layer scans its rank's segment of a sequence."""
    scans = [layer.scan for layer in layers]
    for layer, scan in zip(layers, scans, strict=True):
        layer.scan = SequenceParallelScan(scan, segments)
    try:
        yield
    finally:
        for layer, scan in zip(layers, scans, strict=True):
            layer.scan = scan
