"""The inputs that the SSM layers of a network have on some data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ssmbench.nn.freeze import freeze
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.reduction.recorded import RecordedInputs

#: Sequences as the network takes them, and the valid steps of each or None.
Given = tuple[Tensor, Tensor | None]


def record_inputs(
    model: SequenceModel, batches: Iterable[Given], steps: int
) -> dict[SSMLayer, RecordedInputs]:
    """What each layer of the network is given in evaluation mode, batch after batch until there
    are ``steps`` steps of it, padding not counted; a frame is one step.

    A layer that is used several times has the inputs of all uses. Those of a layer in reversed time
    are in its own order.
    """
    frozen = freeze(model)
    found = _Recorder()
    with torch.no_grad(), found.on(frozen):
        for u, lengths in batches:
            frozen(frozen.as_input(u), lengths)
            if found.steps >= steps:
                break
    pairs = zip(model.layers, frozen.layers, strict=True)
    return {layer: found.of(copied) for layer, copied in pairs}


@dataclass
class _Recorder:
    """Catches the inputs of layers, and the lengths that their block is given."""

    caught: dict[SSMLayer, list[Float[Tensor, "B L d"]]] = field(default_factory=dict)
    lengths: dict[SSMLayer, list[Int[Tensor, " B"]]] = field(default_factory=dict)
    now: Int[Tensor, " B"] | None = None

    @contextmanager
    def on(self, model: SequenceModel) -> Iterator[None]:
        hooks = [block.register_forward_pre_hook(self._note) for block in model.blocks]
        hooks += [layer.register_forward_pre_hook(self._catch) for layer in model.layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @property
    def steps(self) -> int:
        """The fewest that a layer has."""
        totals = (int(torch.cat(found).sum()) for found in self.lengths.values())
        return min(totals, default=0)

    def of(self, layer: SSMLayer) -> RecordedInputs:
        """All inputs of a layer, padded to the longest."""
        parts, lengths = self.caught[layer], torch.cat(self.lengths[layer])
        longest = max(part.shape[1] for part in parts)
        padded = [torch.nn.functional.pad(u, (0, 0, 0, longest - u.shape[1])) for u in parts]
        return RecordedInputs(torch.cat(padded), lengths)

    def _note(self, block: Any, given: tuple[Any, ...]) -> None:
        self.now = given[1] if len(given) > 1 else None

    def _catch(self, layer: SSMLayer, given: tuple[Any, ...]) -> None:
        u = given[0]
        whole = torch.full((u.shape[0],), u.shape[1], device=u.device)
        self.caught.setdefault(layer, []).append(u)
        self.lengths.setdefault(layer, []).append(whole if self.now is None else self.now)
