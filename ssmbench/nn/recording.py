"""The inputs of a network's SSM layers on some data, and how much their outputs count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.hooks import RemovableHandle

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
            frozen(*_given(frozen, u, lengths))
            if found.steps >= steps:
                break
    pairs = zip(model.layers, frozen.layers, strict=True)
    return {layer: found.of(copied) for layer, copied in pairs}


def output_weights(
    model: SequenceModel, batches: Iterable[Given], steps: int
) -> dict[SSMLayer, Float[Tensor, " H"]]:
    """How much the prediction depends on each head of each layer: the root mean square, over steps
    and channels, of the Frobenius norm of the prediction's derivative to the layer's output, on the
    first batches with ``steps`` steps. Estimated from one gradient a batch, of the prediction
    along a random direction; float64.

    To first order, errors of layers that are white and uncorrelated change the sum of squares of
    a sequence's prediction by the sum over the heads of weight^2 times the energy of their errors.
    """
    frozen = freeze(model)
    found = _Gradients()
    generator = torch.Generator().manual_seed(0)
    with torch.enable_grad(), found.on(frozen):
        for u, lengths in batches:
            y = frozen(*_given(frozen, u, lengths))
            direction = torch.randn(y.shape, generator=generator).to(y)
            found.add(torch.autograd.grad(y, found.taps, direction, materialize_grads=True))
            if found.steps >= steps:
                break
    pairs = zip(model.layers, frozen.layers, strict=True)
    return {layer: found.of(copied) for layer, copied in pairs}


def _given(model: SequenceModel, u: Tensor, lengths: Tensor | None) -> Given:
    """Sequences and lengths where the network is."""
    own = model.as_input(u)
    return own, None if lengths is None else lengths.to(own.device)


@contextmanager
def _while(hooks: Iterable[RemovableHandle]) -> Iterator[None]:
    """With these hooks, which are removed at the end."""
    held = list(hooks)
    try:
        yield
    finally:
        for hook in held:
            hook.remove()


@dataclass
class _Gradients:
    """Adds zeros to the outputs of layers, to whose entries derivatives are taken."""

    taps: list[Float[Tensor, "B L d"]] = field(default_factory=list)
    owners: list[SSMLayer] = field(default_factory=list)
    energy: dict[SSMLayer, Float[Tensor, " d"]] = field(default_factory=dict)
    counts: dict[SSMLayer, int] = field(default_factory=dict)

    @contextmanager
    def on(self, model: SequenceModel) -> Iterator[None]:
        with _while(layer.register_forward_hook(self._tap) for layer in model.layers):
            yield

    @property
    def steps(self) -> int:
        return min(self.counts.values(), default=0)

    def add(self, gradients: Iterable[Tensor]) -> None:
        """Note the gradients to the taps, which are then forgotten."""
        for layer, gradient in zip(self.owners, gradients, strict=True):
            energy = gradient.double().square().sum((0, 1))
            self.energy[layer] = self.energy.get(layer, 0) + energy
            self.counts[layer] = self.counts.get(layer, 0) + gradient[..., 0].numel()
        self.taps, self.owners = [], []

    def of(self, layer: SSMLayer) -> Float[Tensor, " H"]:
        energy = self.energy[layer].unflatten(0, (layer.system().heads, -1)).mean(-1)
        return (energy / self.counts[layer]).sqrt()

    def _tap(self, layer: SSMLayer, given: Any, y: Tensor) -> Tensor:
        self.taps.append(torch.zeros_like(y, requires_grad=True))
        self.owners.append(layer)
        return y + self.taps[-1]


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
        with _while(hooks):
            yield

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
