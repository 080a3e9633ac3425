"""The operations of an exported network, and the network as a list of them.

Every operation acts on the last axis. Value 0 is the network's input, value k the result of
operation k - 1. docs/exporting.md has the formula of each kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Stored:
    """An array as it is stored: ``codes`` in float32, float16 or int8, and the float32 ``scale``
    that they are multiplied by, of a shape that broadcasts against them; None for 1."""

    codes: np.ndarray
    scale: np.ndarray | None = None

    @property
    def value(self) -> np.ndarray:
        """The numbers, float32: what every format computes with."""
        value = self.codes.astype(np.float32)
        return value if self.scale is None else value * self.scale


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation on ``inputs``, the indices of earlier values, with a result of ``width``
    numbers.

    ``initial`` (S,): its state before the first step, float32; empty without a state.
    """

    kind: str
    inputs: tuple[int, ...]
    width: int
    arrays: Mapping[str, Stored] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    initial: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))


@dataclass(frozen=True, eq=False)
class Program:
    """A network that reads one step at a time: ``width`` real numbers, or a token below
    ``vocabulary``. Its result is that of the last operation: of each step with ``per_step``, else
    of the sequence up to this step."""

    width: int
    vocabulary: int | None
    per_step: bool
    operations: tuple[Operation, ...]

    @property
    def outputs(self) -> int:
        """The numbers of one prediction."""
        return self.operations[-1].width

    @property
    def initial(self) -> np.ndarray:
        """The state before the first step (S,): those of the operations, one after another."""
        states = [operation.initial for operation in self.operations]
        return np.concatenate([np.zeros(0, np.float32), *states])

    @property
    def states(self) -> int:
        """Number S of real numbers that are kept between steps."""
        return sum(len(operation.initial) for operation in self.operations)

    def widths(self) -> list[int]:
        """The width of each value."""
        return [self.width, *(operation.width for operation in self.operations)]

    def signature(self) -> dict[str, Any]:
        """What is read and predicted, as plain values."""
        return {
            "width": self.width,
            "vocabulary": self.vocabulary,
            "per_step": self.per_step,
            "outputs": self.outputs,
            "states": self.states,
        }

    def description(self) -> dict[str, Any]:
        """Everything but the arrays, as plain values; the arrays are named in :meth:`arrays`."""
        return {
            **self.signature(),
            "operations": [
                {
                    "kind": operation.kind,
                    "inputs": list(operation.inputs),
                    "width": operation.width,
                    "states": len(operation.initial),
                    **operation.options,
                }
                for operation in self.operations
            ],
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """``K.name`` of operation K: its codes, with their scales as ``K.name.scale``; and
        ``initial``, the state before the first step."""
        found = {"initial": self.initial}
        for index, operation in enumerate(self.operations):
            for name, stored in operation.arrays.items():
                found[f"{index}.{name}"] = stored.codes
                if stored.scale is not None:
                    found[f"{index}.{name}.scale"] = stored.scale
        return found

    def with_arrays(self, change: Any) -> Program:
        """The program with ``change(operation, name, stored)`` in place of every array."""
        return replace(
            self,
            operations=tuple(
                replace(op, arrays={k: change(op, k, array) for k, array in op.arrays.items()})
                for op in self.operations
            ),
        )
