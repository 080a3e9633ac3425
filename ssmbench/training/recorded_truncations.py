"""Whether truncations that a result records can have happened in the training of its run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from ssmbench.build.truncation import check_truncation
from ssmbench.config import RunConfig
from ssmbench.errors import require
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.results import TruncatedLayer, Truncation
from ssmbench.training.truncation import check_stored_form

_WHERE = "result.json: truncations"


@dataclass(frozen=True)
class _Before:
    """A layer before a truncation: its heads, their order, and whether a stored state counts for
    two, so that real modes are not doubled when they are stored as pairs."""

    heads: int
    order: int
    paired: bool

    @property
    def most(self) -> int:
        """The largest ``d_state`` that a truncation can leave."""
        return self.order if self.paired else 2 * self.order


def check_recorded(
    run: RunConfig, network: SequenceModel, truncations: Sequence[Truncation]
) -> None:
    """Check records that are not trusted; ``network``: that of the config, not truncated.

    Each truncation begins with what the one before has left, and leaves no more than it began
    with. Its errors cannot be checked: the layers that it reduced are gone.

    Raises:
        UsageError: the run cannot be truncated (:func:`ssmbench.build.truncation.check_truncation`)
            or not with these records.
    """
    if not truncations:
        return
    require(bool(run.truncation.epochs), f"{_WHERE}: the config asks for none")
    check_truncation(run, network)
    steps = [0, *(one.step for one in truncations)]
    rising = all(one < other for one, other in pairwise(steps))
    require(rising, f"{_WHERE}: the steps {steps[1:]!s:.60} do not increase from 1")
    blocks = [list(block.layers) for block in dict.fromkeys(network.blocks)]
    before = {layer: _before(layer) for layer in network.layers}
    for index, one in enumerate(truncations):
        where = f"{_WHERE}[{index}]"
        _check_counts(where, one, len(blocks), len(before))
        records = dict(zip(before, one.layers, strict=True))
        for number, (layer, record) in enumerate(records.items()):
            _check_layer(f"{where}: layer {number}", one, record, before[layer])
        for states, layers in zip(one.states, blocks, strict=True):
            kept = max(records[layer].kept for layer in layers)
            most = min(max(before[layer].most for layer in layers), 2 * max(kept, 1))
            require(states <= most, f"{where}: {states} states are stored, of at most {most}")
            left = _Before(one.heads, states, paired=one.form != "dense")
            before |= dict.fromkeys(layers, left)


@torch.no_grad()
def _before(layer: SSMLayer) -> _Before:
    system = layer.system()
    return _Before(system.heads, system.order, paired=system.order > system.states)


def _check_counts(where: str, one: Truncation, blocks: int, layers: int) -> None:
    check_stored_form(where, one)
    found = (len(one.states), len(one.layers))
    require(
        found == (blocks, layers),
        f"{where}: has states of {found[0]} blocks and {found[1]} layers, but the network has "
        f"{blocks} and {layers}",
    )


def _check_layer(where: str, one: Truncation, record: TruncatedLayer, before: _Before) -> None:
    heads = (one.heads, record.heads)
    require(
        heads == (before.heads, before.heads),
        f"{where}: heads are {heads!s:.60}, but it had {before.heads}",
    )
    require(
        record.order == before.order,
        f"{where}: order is {record.order!s:.40}, but it had {before.order}",
    )
    require(
        0 <= record.kept <= record.order,
        f"{where}: kept is {record.kept!s:.40}, not in 0..{record.order}",
    )
