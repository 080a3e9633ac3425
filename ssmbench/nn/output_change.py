"""How much the prediction of a network changes when its SSM layers get other systems: a proved
bound, and the largest change that is found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssmbench.analysis.attack import attacks
from ssmbench.analysis.network_bound.change import (
    ChangeBound,
    change_bound,
    change_bound_from,
    composed_change,
)
from ssmbench.analysis.network_bound.local import Centre, localised
from ssmbench.analysis.network_bound.lumped import LumpedNetwork
from ssmbench.analysis.network_bound.paired import NetworksDifferError, ZeroInput
from ssmbench.nn.bounds import is_finite
from ssmbench.nn.certified import GainsFrom
from ssmbench.nn.encoded import AfterEncoder, SignalMap
from ssmbench.nn.freeze import exact_map
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.lumping import NotLumpedError, lumped_network
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.nonlinearities.base import Nonlinearity

#: What the float64 input of a layer may be off by where the network's input is zero, as a share of
#: the largest signal of any part of the network: far above rounding, of which nothing is proved.
_KNOWN_ERROR = 1e-9
#: The same of what a nonlinearity reads, of the largest number.
_CENTRE_ERROR = 1e-9
#: The same of the change of the prediction, and of what a layer answers to its initial state.
_START_ERROR = 1e-12
#: Steps of all sequences that are computed at once for zero input.
_STEPS_AT_ONCE = 1 << 16
#: The most different lengths of sequences for which a mean over the steps is bounded.
_MOST_LENGTHS = 256

Part = TypeVar("Part", bound=nn.Module)


@dataclass(frozen=True)
class OutputChange:
    """The change of a prediction for inputs of l2 norm at most ``norm``, in l2 over all of it.

    ``declared``: the most that is proved for sequences of any of the ``lengths``, in samples, but
    for the rounding of both networks' response to zero input, which is allowed for; infinite, or
    loose, for the ``reason`` given. ``attacked``: the most that was found for the shortest and the
    longest. ``at_zero``: that for zero input, of all lengths.
    """

    norm: float
    lengths: tuple[int, ...]
    declared: float
    attacked: float
    at_zero: float
    reason: str = ""


@dataclass(frozen=True)
class ChangeBudget:
    """Multiplications of the bound, in billions, and steps, starts and seed of the attack."""

    multiplications: float = 10.0
    steps: int = 40
    starts: int = 8
    seed: int = 0


def output_change(
    full: SequenceModel,
    reduced: SequenceModel,
    like: Float[Tensor, "L m"],
    norm: float = 1.0,
    budget: ChangeBudget | None = None,
    lengths: Sequence[int] = (),
) -> OutputChange:
    """Bound and attack of the change, for sequences of ``lengths`` samples; as long as ``like`` if
    none is given.

    ``full`` and ``reduced`` are frozen and differ in the systems of their layers only; ``like`` is
    a signal of their :attr:`~SequenceModel.gains_from`, of which the values do not matter.
    """
    budget = budget or ChangeBudget()
    lengths = tuple(sorted(set(lengths))) or (len(like),)
    bound = declared_change(full, reduced, like, norm, budget.multiplications, lengths)
    signal = like.new_zeros(1, lengths[-1], like.shape[1])
    maps = _signal_map(full), _signal_map(reduced)
    exact = [exact_map(network, signal) for network in maps]
    if exact[0] is not None and exact[1] is not None:
        maps, signal = (exact[0], exact[1]), signal.double()
    at_zero = _zero_changes(*maps, signal, lengths)[0].max().item()
    ends = sorted({lengths[0], lengths[-1]})
    found = [attacked_change(*maps, signal[:, :n], norm, budget) for n in ends]
    return OutputChange(norm, lengths, bound.at(norm), max(*found, at_zero), at_zero, bound.reason)


def declared_change(
    full: SequenceModel,
    reduced: SequenceModel,
    like: Float[Tensor, "L m"],
    norm: float,
    multiplications: float,
    lengths: Sequence[int] = (),
) -> ChangeBound:
    """The bound of :func:`output_change`."""
    if not (is_finite(full) and is_finite(reduced)):
        return _none("a parameter is not finite")
    if len(lengths) > _MOST_LENGTHS:
        return _none(f"sequences of more than {_MOST_LENGTHS} different lengths")
    wanted = tuple(sorted(set(lengths))) or (len(like),)
    try:
        with torch.no_grad():
            lumps = [_lumped(model, like.shape[1], wanted) for model in (full, reduced)]
            zero = AtZero.of(full, reduced, like, wanted)
            zero.check(lumps[0])
        return _least_bound(lumps[0], lumps[1], zero, norm, multiplications * 1e9)
    except (NotLumpedError, NetworksDifferError) as error:
        return _none(str(error))


def _least_bound(
    full: LumpedNetwork, reduced: LumpedNetwork, zero: AtZero, norm: float, work: float
) -> ChangeBound:
    one, other = localised([full, reduced], zero.centres, norm, work / 4)
    by_difference = change_bound_from(one, other, zero.centres, zero.change, work / 2)
    by_signals = change_bound(one, other, zero.inputs, norm, work / 2)
    composed = composed_change(one, other, zero.inputs, norm)
    if by_signals.reason:
        finite = math.isfinite(composed.at(norm))
        loose = "composed of the norms of all parts, which is loose: " if finite else ""
        composed = replace(composed, reason=loose + by_signals.reason)
    return min(by_difference, by_signals, composed, key=lambda bound: bound.at(norm))


def _none(reason: str) -> ChangeBound:
    return ChangeBound(math.inf, reason=reason)


def _lumped(model: SequenceModel, channels: int, lengths: tuple[int, ...]) -> LumpedNetwork:
    """Raises NotLumpedError where a block is not lumped around its SSM layer's system."""
    for index, block in enumerate(model.blocks):
        if len(block.layers) != 1:
            raise NotLumpedError(f"block {index} has SSM layers in two directions")
        bound = block.bound(1.0)
        if not bound.finite:
            raise NotLumpedError(f"block {index}: {bound.reason}")
    network = lumped_network(model, [1.0] * len(model.layers), channels, lengths)
    systems = sum(block.system is not None for block in network.blocks)
    if systems != len(model.blocks):
        kinds = sorted({type(block).__name__ for block in model.blocks})
        raise NotLumpedError(f"{', '.join(kinds)}: only the gain of the whole block is known")
    return network


@dataclass(frozen=True, eq=False)
class AtZero:
    """Two networks for zero input: what each layer of the first reads, as often as it is applied;
    what their nonlinearities of single numbers read; and the change of the prediction."""

    inputs: list[ZeroInput]
    centres: list[Centre]
    change: float

    @staticmethod
    def of(
        full: SequenceModel,
        reduced: SequenceModel,
        like: Float[Tensor, "L m"],
        lengths: Sequence[int],
    ) -> AtZero:
        """Raises NotLumpedError where a network cannot compute in float64, or where a layer is used
        in another way than by its call."""
        zero = like.new_zeros(1, max(lengths), like.shape[1], dtype=torch.float64)
        exact, other = (exact_map(_signal_map(model), zero) for model in (full, reduced))
        if exact is None or other is None:
            raise NotLumpedError("a part of the network cannot compute in float64")
        sizes = _Sizes()
        with _caught_inputs(exact.layers) as caught, sizes.of((exact, other)):
            exact(zero)
            other(zero)
        if [layer for layer, _ in caught] != [block.layers[0] for block in _network(exact).blocks]:
            raise NotLumpedError("what an SSM layer reads for zero input is unknown")
        partner = dict(zip(exact.layers, other.layers, strict=True))
        error = _KNOWN_ERROR * sizes.sum
        inputs = [_zero_input(layer, partner[layer], u, error) for layer, u in caught]
        changes, largest = _zero_changes(exact, other, zero, lengths)
        size = max(largest.max().item(), sizes.norm)
        change = changes.max().item() * (1 + _KNOWN_ERROR) + _START_ERROR * size
        return AtZero(inputs, _centres(exact, other, zero, sizes.largest), change)

    def check(self, lumped: LumpedNetwork) -> None:
        """Raise NotLumpedError unless the centres are those of the blocks with a ``pointwise``."""
        wanted = [block.remainders for block in lumped.blocks if block.pointwise is not None]
        if [len(centre.apart) for centre in self.centres] != wanted:
            raise NotLumpedError("what a nonlinearity reads for zero input is unknown")


class _Sizes:
    """The largest of all signals that parts of networks return: ``sum`` over the steps of the norm,
    ``norm`` over all steps, and ``largest`` number."""

    def __init__(self) -> None:
        self.sum = self.norm = self.largest = 0.0

    def _seen(self, module: nn.Module, given: object, result: object) -> None:
        first = result[0] if isinstance(result, tuple) else result
        if not isinstance(first, Tensor) or not first.numel():
            return
        rows = first.detach().abs() if first.ndim > 1 else first.detach().abs()[None]
        self.sum = max(self.sum, rows.norm(dim=-1).sum().item())
        self.norm = max(self.norm, rows.norm().item())
        self.largest = max(self.largest, rows.max().item())

    @contextmanager
    def of(self, networks: Sequence[nn.Module]) -> Iterator[None]:
        """Look at everything that the networks' parts return."""
        parts = [module for network in networks for module in network.modules()]
        hooks = [module.register_forward_hook(self._seen) for module in parts]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _network(of: SignalMap) -> SequenceModel:
    return of if isinstance(of, SequenceModel) else of.network


@torch.no_grad()
def _zero_changes(
    full: SignalMap, reduced: SignalMap, zero: Float[Tensor, "1 L m"], lengths: Sequence[int]
) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
    """The change of the prediction for zero input of each of K lengths; and the larger norm of the
    two predictions."""
    changes, sizes = [], []
    for part in torch.tensor(lengths).split(max(1, _STEPS_AT_ONCE // zero.shape[1])):
        rows, steps = zero.expand(len(part), -1, -1), part.to(zero.device)
        if _network(full).reads_pairs:
            steps = steps[:, None].expand(-1, 2)
        one, other = (network(rows, steps).flatten(1) for network in (full, reduced))
        changes.append((one - other).norm(dim=1))
        sizes.append(torch.maximum(one.norm(dim=1), other.norm(dim=1)))
    return torch.cat(changes), torch.cat(sizes)


def _centres(full: SignalMap, reduced: SignalMap, zero: Tensor, largest: float) -> list[Centre]:
    read = [_read_by_nonlinearities(network, zero) for network in (full, reduced)]
    if [y.shape for y in read[0]] != [y.shape for y in read[1]]:
        raise NetworksDifferError
    return [_centre(a, b, _CENTRE_ERROR * largest) for a, b in zip(*read, strict=True)]


def _centre(one: Float[Tensor, "L n"], other: Float[Tensor, "L n"], error: float) -> Centre:
    both = torch.stack([one, other])
    return Centre(
        low=both.amin(1).numpy() - error,
        high=both.amax(1).numpy() + error,
        apart=(one - other).abs().amax(0).numpy() + error,
    )


def _read_by_nonlinearities(exact: SignalMap, zero: Tensor) -> list[Float[Tensor, "L n"]]:
    """What each nonlinearity of single numbers reads, in the order in which they are applied."""
    pointwise = [m for m in exact.modules() if isinstance(m, Nonlinearity) and m.turns is not None]
    with _caught_inputs(pointwise) as caught:
        exact(zero)
    return [y[0] for module, y in caught if _is_pointwise(module, y.shape[-1])]


def _is_pointwise(nonlinearity: Nonlinearity, width: int) -> bool:
    shifted = nonlinearity.shifted(width)
    return shifted is not None and shifted.pointwise is not None


def _zero_input(
    layer: SSMLayer, reduced: SSMLayer, u: Float[Tensor, "1 L d"], error: float
) -> ZeroInput:
    error = error if bool(u.any()) else 0.0
    if layer.x0 is None and reduced.x0 is None:
        return ZeroInput(u[0].numpy(), error)
    one, other = (side(torch.zeros_like(u))[0] for side in (layer, reduced))
    start = _START_ERROR * (one.norm(dim=-1).sum() + other.norm(dim=-1).sum()).item()
    return ZeroInput(u[0].numpy(), error, (one - other).numpy(), start)


@contextmanager
def _caught_inputs(
    modules: Sequence[Part],
) -> Iterator[list[tuple[Part, Float[Tensor, "B L d"]]]]:
    """The inputs of modules in the order in which they are called."""
    caught: list[tuple[Part, Tensor]] = []

    def catch(module: Part, given: tuple[Tensor, ...]) -> None:
        if given:
            caught.append((module, given[0]))

    hooks = [module.register_forward_pre_hook(catch) for module in modules]
    try:
        yield caught
    finally:
        for hook in hooks:
            hook.remove()


def attacked_change(
    full: Callable[[Tensor], Tensor],
    reduced: Callable[[Tensor], Tensor],
    zero: Float[Tensor, "1 L m"],
    norm: float,
    budget: ChangeBudget,
) -> float:
    """The largest change found for inputs of this norm."""

    def change(u: Tensor) -> Tensor:
        """Zero for zero input, so that the gain from there is the change divided by the norm."""
        some = (u.flatten(1) != 0).any(1)
        apart = full(u) - reduced(u)
        return apart * some.view(-1, *[1] * (apart.ndim - 1))

    base = zero.expand(budget.starts, -1, -1)
    amplitude = torch.full((budget.starts,), norm, dtype=torch.float64)
    found = attacks(change, base, amplitude, steps=budget.steps, seed=budget.seed)
    return found.worst.gain * norm


def _signal_map(model: SequenceModel) -> SignalMap:
    return model if model.gains_from is GainsFrom.input else AfterEncoder(model)
