"""How much the prediction of a network changes when its SSM layers get other systems: a proved
bound, and the largest change that is found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
from ssmbench.analysis.network_bound.paired import ZeroInput
from ssmbench.nn.bounds import is_finite
from ssmbench.nn.certified import GainsFrom
from ssmbench.nn.encoded import AfterEncoder, SignalMap
from ssmbench.nn.freeze import exact_map
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.lumping import NotLumpedError, lumped_network
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.nonlinearities.base import Nonlinearity

#: What the float64 input of a layer may be off by where the network's input is zero, as a share of
#: its size: far more than rounding, of which nothing is proved for the network's functions.
_KNOWN_ERROR = 1e-9
#: The same of what a nonlinearity reads, of the largest number.
_CENTRE_ERROR = 1e-9
#: The same of what a layer answers to its initial state.
_START_ERROR = 1e-12

Part = TypeVar("Part", bound=nn.Module)


@dataclass(frozen=True)
class OutputChange:
    """The change of a prediction for inputs of l2 norm at most ``norm``, in l2 over all of it.

    ``declared``: the most that is proved, infinite for the ``reason`` given. ``attacked``: the most
    that was found. ``at_zero``: that for zero input.
    """

    norm: float
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
) -> OutputChange:
    """Bound and attack of the change, for sequences as long as ``like``.

    ``full`` and ``reduced`` are frozen and differ in the systems of their layers only; ``like`` is
    a signal of their :attr:`~SequenceModel.gains_from`, of which the values do not matter.
    """
    budget = budget or ChangeBudget()
    bound = declared_change(full, reduced, like, norm, budget.multiplications)
    signal = torch.zeros_like(like)[None]
    maps = _signal_map(full), _signal_map(reduced)
    exact = [exact_map(network, signal) for network in maps]
    if exact[0] is not None and exact[1] is not None:
        maps, signal = (exact[0], exact[1]), signal.double()
    found, at_zero = attacked_change(*maps, signal, norm, budget)
    return OutputChange(norm, bound.at(norm), found, at_zero, bound.reason)


def declared_change(
    full: SequenceModel,
    reduced: SequenceModel,
    like: Float[Tensor, "L m"],
    norm: float,
    multiplications: float,
) -> ChangeBound:
    """The bound of :func:`output_change`."""
    if not (is_finite(full) and is_finite(reduced)):
        return _none("a parameter is not finite")
    steps, channels = like.shape
    work = multiplications * 1e9
    try:
        with torch.no_grad():
            lumps = [_lumped(model, channels, steps) for model in (full, reduced)]
            zero = AtZero.of(full, reduced, like)
    except NotLumpedError as error:
        return _none(str(error))
    one, other = localised(lumps, zero.centres, norm, work / 4)
    by_difference = change_bound_from(one, other, zero.centres, zero.change, work / 2)
    by_signals = change_bound(one, other, zero.inputs, norm, work / 2)
    composed = composed_change(one, other, zero.inputs, norm)
    return min(by_difference, by_signals, composed, key=lambda bound: bound.at(norm))


def _none(reason: str) -> ChangeBound:
    return ChangeBound(math.inf, reason=reason)


def _lumped(model: SequenceModel, channels: int, steps: int) -> LumpedNetwork:
    """Raises NotLumpedError where a block is not lumped around its SSM layer's system."""
    for index, block in enumerate(model.blocks):
        if len(block.layers) != 1:
            raise NotLumpedError(f"block {index} has SSM layers in two directions")
        bound = block.bound(1.0)
        if not bound.finite:
            raise NotLumpedError(f"block {index}: {bound.reason}")
    network = lumped_network(model, [1.0] * len(model.layers), channels, (steps,))
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
    def of(full: SequenceModel, reduced: SequenceModel, like: Float[Tensor, "L m"]) -> AtZero:
        """Raises NotLumpedError where a network cannot compute in float64."""
        zero = torch.zeros_like(like, dtype=torch.float64)[None]
        exact, other = (exact_map(_signal_map(model), zero) for model in (full, reduced))
        if exact is None or other is None:
            raise NotLumpedError("a part of the network cannot compute in float64")
        with _caught_inputs(exact.layers) as caught:
            z = exact(zero)
        partner = dict(zip(exact.layers, other.layers, strict=True))
        inputs = [_zero_input(layer, partner[layer], u) for layer, u in caught]
        changed = other(zero)
        size = (z - changed).norm() * (1 + _KNOWN_ERROR)
        change = size + _START_ERROR * (z.norm() + changed.norm())
        return AtZero(inputs, _centres(exact, other, zero), change.item())


def _centres(full: SignalMap, reduced: SignalMap, zero: Tensor) -> list[Centre]:
    read = [_read_by_nonlinearities(network, zero) for network in (full, reduced)]
    return [_centre(*pair) for pair in zip(*read, strict=True)]


def _centre(one: Float[Tensor, "L n"], other: Float[Tensor, "L n"]) -> Centre:
    error = _CENTRE_ERROR * max(one.abs().max().item(), other.abs().max().item())
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


def _zero_input(layer: SSMLayer, reduced: SSMLayer, u: Float[Tensor, "1 L d"]) -> ZeroInput:
    size = u[0].norm(dim=-1).sum().item()
    if layer.x0 is None and reduced.x0 is None:
        return ZeroInput(u[0].numpy(), _KNOWN_ERROR * size)
    one, other = (side(torch.zeros_like(u))[0] for side in (layer, reduced))
    error = _START_ERROR * (one.norm(dim=-1).sum() + other.norm(dim=-1).sum()).item()
    return ZeroInput(u[0].numpy(), _KNOWN_ERROR * size, (one - other).numpy(), error)


@contextmanager
def _caught_inputs(
    modules: Sequence[Part],
) -> Iterator[list[tuple[Part, Float[Tensor, "B L d"]]]]:
    """The inputs of modules in the order in which they are called."""
    caught: list[tuple[Part, Tensor]] = []

    def catch(module: Part, given: tuple[Tensor, ...]) -> None:
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
) -> tuple[float, float]:
    """The largest change found for inputs of this norm, and that for zero input."""

    def change(u: Tensor) -> Tensor:
        """Zero for zero input, so that the gain from there is the change divided by the norm."""
        some = (u.flatten(1) != 0).any(1)
        apart = full(u) - reduced(u)
        return apart * some.view(-1, *[1] * (apart.ndim - 1))

    with torch.no_grad():
        at_zero = (full(zero) - reduced(zero)).norm().item()
    base = zero.expand(budget.starts, -1, -1)
    amplitude = torch.full((budget.starts,), norm, dtype=torch.float64)
    found = attacks(change, base, amplitude, steps=budget.steps, seed=budget.seed)
    return max(found.worst.gain * norm, at_zero), at_zero


def _signal_map(model: SequenceModel) -> SignalMap:
    return model if model.gains_from is GainsFrom.input else AfterEncoder(model)
