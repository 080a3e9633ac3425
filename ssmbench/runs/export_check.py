"""The comparison of an exported network with the stream of the network that it was made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ssmbench.errors import require
from ssmbench.exporters.base import Exported
from ssmbench.nn.freeze import exact_map, precision
from ssmbench.nn.model import SequenceModel
from ssmbench.program import Program
from ssmbench.program.reference import Network

#: Allowed relative difference of a prediction, beside that of the network's own precision.
TOLERANCE = 1e-5
#: Differences of the network from its float64 computation that count as its own precision.
_OWN = 4.0
#: The largest relative difference that is allowed in any case, however inexact the network is.
_MOST = 1e-2
_SEQUENCES, _STEPS, _SINGLE = 2, 48, 16


@dataclass(frozen=True)
class Truth:
    """The predictions of the network for an input u, at every step: ``stream`` (B, L, outputs) in
    double precision where it can compute so. ``allowed``: the largest difference that counts as
    rounding; ``scale``: the largest prediction."""

    u: np.ndarray
    stream: np.ndarray
    allowed: float
    scale: float

    def difference_of(self, program: Program) -> float:
        """The largest difference of a program's predictions, relative to the scale."""
        found = _stepwise(_exact(program), self.u)
        return float(np.abs(found - self.stream).max() / self.scale)


@dataclass(frozen=True)
class Agreement:
    """The largest difference of the exported network from its program in double precision, relative
    to the largest prediction."""

    difference: float


def _allowed(own: float, scale: float) -> float:
    return min(TOLERANCE * scale + _OWN * own, _MOST * scale)


def check_network(frozen: SequenceModel, program: Program) -> Truth:
    """The network's own stream, after a check that the program computes the same.

    Raises:
        UsageError: it does not.
    """
    u = _inputs(program)
    own = _stream(frozen, u, program)
    samples = _samples(frozen, u)
    exact = exact_map(frozen, samples.to(precision(frozen))) if u.ndim == 3 else None
    stream = own if exact is None else _stream(exact, u, program)
    scale = max(float(np.abs(stream).max()), 1e-6)
    truth = Truth(u, stream, _allowed(float(np.abs(own - stream).max()), scale), scale)
    found = truth.difference_of(program)
    _require_agreement(found * scale, truth, "the plain operations of the network differ")
    return truth


def agreement(exported: Exported, program: Program, truth: Truth) -> Agreement:
    """How closely an exported network agrees with its program: step by step, as one sequence, and
    as a sequence in two parts.

    Raises:
        UsageError: it differs by more than rounding.
    """
    wanted = _stepwise(_exact(program), truth.u)
    found = [_difference(exported, truth.u, wanted, program, cut) for cut in (_SINGLE, _STEPS - 2)]
    largest = max(found)
    _require_agreement(largest, truth, "the exported network differs")
    return Agreement(largest / truth.scale)


def _require_agreement(difference: float, truth: Truth, what: str) -> None:
    require(
        difference <= truth.allowed,  # false for NaN
        f"export: {what} from the network's stream by {difference:.3g}, where {truth.allowed:.3g} "
        "is allowed; nothing was written",
    )


def _difference(
    exported: Exported, u: np.ndarray, wanted: np.ndarray, program: Program, cut: int
) -> float:
    """Single steps up to ``cut``, most of the rest as one sequence, and a last step from the state
    after it; another batch size as well."""
    state, errors = exported.initial(len(u)), []
    last = u.shape[1] - 1
    for k in range(cut):
        y, state = exported.step(u[:, k], state)
        errors.append(y - wanted[:, k])
    if cut < last:
        y, state = exported.sequence(u[:, cut:last], state)
        errors.append(y - (wanted[:, cut:last] if program.per_step else wanted[:, last - 1]))
    y, _ = exported.step(u[:, last], state)
    errors.append(y - wanted[:, last])
    one, _ = exported.sequence(u[:1, : cut + 1])
    errors.append(one - (wanted[:1, : cut + 1] if program.per_step else wanted[:1, cut]))
    largest = [float(np.abs(error).max()) for error in errors]
    return float("nan") if any(map(np.isnan, largest)) else max(largest)


def _inputs(program: Program) -> np.ndarray:
    random, shape = np.random.default_rng(0), (_SEQUENCES, _STEPS)
    if program.vocabulary is not None:
        return random.integers(program.vocabulary, size=shape)
    return random.standard_normal((*shape, program.width)).astype(np.float32)


def _samples(network: SequenceModel, u: np.ndarray) -> torch.Tensor:
    """The frames of u as samples."""
    given = torch.from_numpy(u)
    if u.ndim == 2:
        return given
    return given.unflatten(-1, (network.framing.samples, -1)).flatten(1, 2)


@torch.no_grad()
def _stream(network: SequenceModel, u: np.ndarray, program: Program) -> np.ndarray:
    """The predictions at every step, (B, L, outputs)."""
    samples, frame = network.as_input(_samples(network, u)), network.framing.samples
    if program.per_step:
        return network.stream(samples)[0].double().numpy()
    found, state = [], None
    for part in samples.split(frame, 1):
        y, state = network.stream(part, state)
        found.append(y)
    return torch.stack(found, 1).double().numpy()


def _exact(program: Program) -> Network:
    return Network(program.description(), program.arrays(), np.float64)


def _stepwise(network: Network, u: np.ndarray) -> np.ndarray:
    """The predictions at every step, (B, L, outputs)."""
    if network.description["per_step"]:
        return network.sequence(u)[0]
    found, state = [], network.initial(len(u))
    for k in range(u.shape[1]):
        y, state = network.step(u[:, k], state)
        found.append(y)
    return np.stack(found, 1)
