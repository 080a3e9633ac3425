"""Building a program, one operation after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ssmbench.program.functions import FUNCTIONS
from ssmbench.program.operation import Operation, Program, Stored


class Builder:
    """Adds operations and gives the index of each result; :attr:`input` is that of the input.

    Arrays are torch tensors or NumPy arrays, and are stored in float32.
    """

    input = 0

    def __init__(self, width: int, vocabulary: int | None = None):
        self._width, self._vocabulary = width, vocabulary
        self._operations: list[Operation] = []

    def program(self, output: int, per_step: bool) -> Program:
        """The program whose result is the value ``output``."""
        if output != len(self._operations) or not self._operations:
            self.slice(output, 0, self.width(output))
        return Program(self._width, self._vocabulary, per_step, tuple(self._operations))

    def width(self, value: int) -> int:
        """The numbers of a value."""
        return self._width if value == 0 else self._operations[value - 1].width

    def add_operation(
        self,
        kind: str,
        inputs: Sequence[int],
        width: int,
        arrays: dict[str, Any] | None = None,
        initial: Any = None,
        **options: Any,
    ) -> int:
        """Add an operation; None among ``arrays`` is left out."""
        given = {k: Stored(_single(v)) for k, v in (arrays or {}).items() if v is not None}
        state = np.zeros(0, np.float32) if initial is None else _single(initial).reshape(-1)
        self._operations.append(Operation(kind, tuple(inputs), width, given, options, state))
        return len(self._operations)

    def affine(self, x: int, weight: Any, bias: Any = None) -> int:
        """W x + b."""
        return self.add_operation("affine", (x,), len(weight), {"weight": weight, "bias": bias})

    def lookup(self, token: int, table: Any) -> int:
        """The row of a token."""
        return self.add_operation("lookup", (token,), table.shape[1], {"table": table})

    def pointwise(self, x: int, function: str) -> int:
        """A function of :data:`~ssmbench.program.FUNCTIONS` of each number."""
        assert function in FUNCTIONS, function
        return self.add_operation("pointwise", (x,), self.width(x), function=function)

    def scale(self, x: int, factor: Any, offset: Any = None) -> int:
        """Each number times its own factor, plus its own offset."""
        arrays = {"factor": factor, "offset": offset}
        return self.add_operation("scale", (x,), self.width(x), arrays)

    def add(self, a: int, b: int) -> int:
        """a + b."""
        return self.add_operation("add", (a, b), self.width(a))

    def multiply(self, a: int, b: int) -> int:
        """a b, number by number."""
        return self.add_operation("multiply", (a, b), self.width(a))

    def slice(self, x: int, start: int, stop: int, step: int = 1) -> int:
        """Every ``step``-th number from ``start`` to before ``stop``."""
        width = len(range(start, stop, step))
        return self.add_operation("slice", (x,), width, start=start, stop=stop, step=step)

    def concat(self, *values: int) -> int:
        """Values side by side."""
        return self.add_operation("concat", values, sum(map(self.width, values)))

    def sort_pairs(self, x: int) -> int:
        """(max, min) of neighbouring numbers; a last one without a neighbour stays."""
        return self.add_operation("sort_pairs", (x,), self.width(x))

    def standardise(self, x: int, eps: float) -> int:
        """(x - mean) / sqrt(variance + eps) of a step's numbers."""
        return self.add_operation("standardise", (x,), self.width(x), eps=_single_number(eps))

    def root_mean_square(self, x: int, eps: float) -> int:
        """x / sqrt(mean square + eps) of a step's numbers."""
        width = self.width(x)
        return self.add_operation("root_mean_square", (x,), width, eps=_single_number(eps))

    def convolution(self, x: int, weight: Any, bias: Any = None) -> int:
        """A causal convolution of each number by itself; weight (d, k), the present step last."""
        width, kernel = weight.shape
        if kernel == 1:
            return self.scale(x, weight[:, 0], bias)
        arrays = {"weight": weight, "bias": bias}
        initial = np.zeros((kernel - 1, width))
        return self.add_operation("convolution", (x,), width, arrays, initial)

    def unit(self, x: int, size: int) -> int:
        """v / (||v|| + 1e-6) of each ``size`` neighbouring numbers v."""
        return self.add_operation("unit", (x,), self.width(x), size=size)

    def sum_groups(self, x: int, size: int) -> int:
        """The sum of each ``size`` neighbouring numbers."""
        return self.add_operation("sum_groups", (x,), self.width(x) // size, size=size)

    def varying(
        self, u: int, selected: Sequence[int], initial: Any, groups: int, gain: float | None
    ) -> int:
        """A system whose matrices are values of this step: ``selected`` are lam, B and C of N modes
        for each of ``groups`` groups of channels of u, and D of each group.

        ``gain``: its zero-state gain, whatever the matrices are; None if it has none.
        """
        inputs = (u, *selected)
        return self.add_operation(
            "varying", inputs, self.width(u), None, initial, groups=groups, gain=gain
        )

    def mean(self, x: int, how: str) -> int:
        """The mean of the steps so far; with ``how`` "unit", the sum divided by sqrt(steps). Its
        state: the mean, what rounding has lost of it, and the number of steps."""
        width = self.width(x)
        return self.add_operation("mean", (x,), width, initial=np.zeros(2 * width + 1), how=how)


def _single_number(value: float) -> float:
    """The float32 number that every format computes with, and bounds are of."""
    return float(np.float32(value))


def _single(values: Any) -> np.ndarray:
    """A contiguous float32 array of a tensor or an array, on the CPU."""
    detach = getattr(values, "detach", None)
    array = np.asarray(values if detach is None else detach().cpu())
    return np.ascontiguousarray(array, np.float32)
