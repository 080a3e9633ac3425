"""The gains of an exported network, from the arrays as they are stored.

The bound follows the program operation by operation. A value that is read through disjoint slices,
each of which goes its own way before they are put side by side again, has the largest gain of those
ways; otherwise gains of values that are added are added.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ssmbench.analysis.certificate import Bound, GainClaim
from ssmbench.program import FUNCTIONS, Operation, Program
from ssmbench.systems import DiscreteDense, DiscreteDiagonal, DiscreteLTI

#: Why there is no bound through a time-varying layer that declares none.
UNDECLARED = "an SSM layer is time-varying, and declares no gain"
#: Why the sum of the steps, divided by the root of their number, has no bound where it is read at
#: every step: after a unit impulse it is 1 / sqrt(k), whose squares have no finite sum.
NOT_SUMMABLE = "the sum of the steps divided by sqrt(steps) is read at every step"
#: The gain of the mean of the steps so far as a signal: Hardy's inequality in l2 (Hardy,
#: Littlewood, Polya, Inequalities, 1934, theorem 326), which is sharp.
HARDY = 2.0
#: The operations with a linear system.
SYSTEMS = ("diagonal", "dense")
#: The operations that read earlier steps.
REMEMBERING = (*SYSTEMS, "varying", "convolution", "mean")


def systems_of(program: Program) -> list[DiscreteLTI]:
    """The systems of the exported matrices, first to last."""
    return [_system(op) for op in program.operations if op.kind in SYSTEMS]


def _system(operation: Operation) -> DiscreteLTI:
    w = {name: torch.from_numpy(stored.value) for name, stored in operation.arrays.items()}
    if operation.kind == "dense":
        return DiscreteDense(A=w["A"], B=w["B"], C=w["C"], D=w["D"])
    if "lam_im" not in w:
        return DiscreteDiagonal(lam=w["lam_re"], B=w["B_re"], C=w["C_re"], D=w["D"])
    lam, B, C = (torch.complex(w[f"{k}_re"], w[f"{k}_im"]) for k in ("lam", "B", "C"))
    return DiscreteDiagonal(lam=lam, B=B, C=C / 2, D=w["D"], conjugate=True)


def program_bound(
    program: Program, gains: Sequence[float], claim: GainClaim, steps: int = 1
) -> Bound:
    """A bound on the gain of the network for sequences of at least ``steps`` steps, from its input,
    or from the vectors of its tokens.

    ``gains``: a bound on the gain of each of :func:`systems_of`.
    """
    walk = _Walk(program, claim, steps, iter(gains), [_Value(0, 1.0)], {0: 1.0})
    for operation in program.operations:
        walk.add(operation)
    last = walk.values[-1]
    return Bound(walk.whole(last)) if not last.reason else Bound.none(last.reason)


@dataclass(frozen=True)
class _Value:
    """A value as a function of the numbers ``region`` (None for all) of the value ``root``, with
    its ``gain``. ``reason``: why it has none. ``bounded``: whether all numbers are in [-1, 1].
    ``pure``: whether it is these numbers as they are."""

    root: int
    gain: float
    region: range | None = None
    reason: str = ""
    bounded: bool = False
    pure: bool = False


@dataclass
class _Walk:
    program: Program
    claim: GainClaim
    steps: int
    systems: Iterator[float]
    values: list[_Value]
    roots: dict[int, float]

    def add(self, operation: Operation) -> None:
        inputs = [self.values[k] for k in operation.inputs]
        made = _RULES[operation.kind](self, operation, inputs)
        if self.claim is GainClaim.zero_state and not made.reason:
            made = replace(made, reason=_offset(operation))
        if not (made.reason or math.isfinite(made.gain)):
            made = replace(made, reason="an SSM layer is unstable, or its gain could not be proved")
        self.values.append(replace(made, pure=operation.kind == "slice"))

    def whole(self, value: _Value) -> float:
        """The gain from the network's input."""
        return self.roots[value.root] * value.gain

    def as_root(self, index: int) -> int:
        """Let regions of a value be distinguished from now on."""
        self.roots[index] = self.whole(self.values[index])
        return index

    @property
    def only_last(self) -> bool:
        """Whether of the value that is added next, nothing but the last step has an effect."""
        depends = {len(self.values)}
        for index, later in enumerate(self.program.operations, 1):
            if depends.intersection(later.inputs):
                depends.add(index)
                if later.kind in REMEMBERING:
                    return False
        return not self.program.per_step

    def fresh(self, gain: float, reason: str = "") -> _Value:
        """A value of this gain from the network's input."""
        return _Value(0, gain / self.roots[0], reason=reason)


def _through(gain: Callable[[_Walk, Operation], float]) -> Callable:
    """The rule of an operation with one input."""

    def rule(walk: _Walk, operation: Operation, inputs: list[_Value]) -> _Value:
        (x,) = inputs
        return replace(x, gain=x.gain * gain(walk, operation), bounded=False)

    return rule


def _norm(walk: _Walk, operation: Operation) -> float:
    weight = operation.arrays["weight"].value.astype(np.float64)
    return float(np.linalg.norm(weight, 2))


def _factor(walk: _Walk, operation: Operation) -> float:
    return float(np.abs(operation.arrays["factor"].value.astype(np.float64)).max())


def _next_system(walk: _Walk, operation: Operation) -> float:
    return next(walk.systems)


def _sums(walk: _Walk, operation: Operation) -> float:
    """The largest l1 norm of a channel's weights, which bounds the filter's frequency response."""
    return float(np.abs(operation.arrays["weight"].value.astype(np.float64)).sum(1).max())


def _mean(walk: _Walk, operation: Operation, inputs: list[_Value]) -> _Value:
    """Of the last step alone, by Cauchy and Schwarz; else of a signal, the mean at every step."""
    (x,), unit = inputs, operation.options["how"] == "unit"
    if walk.only_last:
        gain = 1.0 if unit else 1 / math.sqrt(walk.steps)
    else:
        x, gain = (replace(x, reason=x.reason or NOT_SUMMABLE), 1.0) if unit else (x, HARDY)
    return replace(x, gain=x.gain * gain, bounded=False)


def _pointwise(walk: _Walk, operation: Operation, inputs: list[_Value]) -> _Value:
    (x,), function = inputs, FUNCTIONS[operation.options["function"]]
    return replace(x, gain=x.gain * function.lipschitz, bounded=function.bounded)


def _lookup(walk: _Walk, operation: Operation, inputs: list[_Value]) -> _Value:
    return _Value(0, 1.0)


def _standardise(walk: _Walk, operation: Operation, inputs: list[_Value]) -> _Value:
    why = "LayerNorm divides by the signal's spread, which may vanish"
    return replace(inputs[0], reason=inputs[0].reason or why, bounded=False)


def _add(walk: _Walk, operation: Operation, inputs: list[_Value]) -> _Value:
    a, b = inputs
    reason = a.reason or b.reason
    if a.root == b.root:
        region = a.region if a.region == b.region else None
        return _Value(a.root, a.gain + b.gain, region, reason)
    return walk.fresh(walk.whole(a) + walk.whole(b), reason)


def _multiply(walk: _Walk, operation: Operation, inputs: list[_Value]) -> _Value:
    """A factor in [-1, 1] amplifies nothing; of differences, both factors must be in it."""
    a, b = inputs
    if a.bounded and b.bounded and not (a.reason or b.reason):
        return replace(_add(walk, operation, inputs), bounded=True)
    if walk.claim is GainClaim.zero_state and (a.bounded or b.bounded):
        signals = [x for x, other in ((a, b), (b, a)) if other.bounded and not x.reason]
        if signals:
            return replace(signals[0], bounded=a.bounded and b.bounded)
    reason = a.reason or b.reason
    return walk.fresh(math.inf, reason or "two signals are multiplied: the slope grows with them")


def _slice(walk: _Walk, operation: Operation, inputs: list[_Value]) -> _Value:
    index, (x,) = operation.inputs[0], inputs
    start, stop, step = (operation.options[key] for key in ("start", "stop", "step"))
    region = range(start, stop, step)
    if x.pure and x.region is not None:  # a slice of a slice
        return replace(x, region=x.region[start:stop:step])
    root = walk.as_root(index) if index not in walk.roots else index
    return _Value(root, 1.0, region, x.reason, x.bounded)


def _varying(walk: _Walk, operation: Operation, inputs: list[_Value]) -> _Value:
    """The gain that is declared for whatever selects the matrices, from the zero state."""
    x, gain = inputs[0], operation.options["gain"]
    if gain is None or walk.claim is GainClaim.incremental:
        why = "an SSM layer is time-varying, and has no incremental gain"
        return replace(x, reason=x.reason or (why if gain is not None else UNDECLARED))
    return replace(x, gain=x.gain * gain, bounded=False)


def _no_gain(walk: _Walk, operation: Operation, inputs: list[_Value]) -> _Value:
    """Of values that select matrices, no gain is asked."""
    return replace(inputs[0], reason=inputs[0].reason or f"{operation.kind} has no gain")


def _concat(walk: _Walk, operation: Operation, inputs: list[_Value]) -> _Value:
    reason = next((x.reason for x in inputs if x.reason), "")
    bounded = all(x.bounded for x in inputs)
    if _apart(inputs):
        gain = max(x.gain for x in inputs)
        return _Value(inputs[0].root, gain, _joined(inputs), reason, bounded)
    total = math.sqrt(sum(walk.whole(x) ** 2 for x in inputs))
    return replace(walk.fresh(total, reason), bounded=bounded)


def _apart(inputs: list[_Value]) -> bool:
    """Whether the values depend on disjoint parts of one value."""
    if len({x.root for x in inputs}) > 1 or any(x.region is None for x in inputs):
        return False
    read = [index for x in inputs if x.region is not None for index in x.region]
    return len(set(read)) == len(read)


def _joined(inputs: list[_Value]) -> range | None:
    """The smallest interval with all regions; values beside it may not count as apart from it."""
    read = [index for x in inputs if x.region is not None for index in x.region]
    return range(min(read), max(read) + 1)


def _offset(operation: Operation) -> str:
    """Why the operation maps zero to something else; "" if it does not."""
    arrays = operation.arrays
    added = [arrays[name].value for name in ("bias", "offset") if name in arrays]
    function = operation.options.get("function")
    moves = any(array.any() for array in added) or (function and not FUNCTIONS[function].keeps_zero)
    if operation.initial.any():
        return "an SSM layer starts from a state that is not zero"
    return f"{operation.kind} may not map zero to zero" if moves else ""


_RULES: dict[str, Callable[[_Walk, Operation, list[_Value]], _Value]] = {
    "affine": _through(_norm),
    "lookup": _lookup,
    "pointwise": _pointwise,
    "scale": _through(_factor),
    "add": _add,
    "multiply": _multiply,
    "slice": _slice,
    "concat": _concat,
    "sort_pairs": _through(lambda walk, operation: 1.0),
    "standardise": _standardise,
    "root_mean_square": _through(lambda walk, operation: 1 / math.sqrt(operation.options["eps"])),
    "diagonal": _through(_next_system),
    "dense": _through(_next_system),
    "unit": _no_gain,
    "sum_groups": _no_gain,
    "varying": _varying,
    "convolution": _through(_sums),
    "mean": _mean,
}
