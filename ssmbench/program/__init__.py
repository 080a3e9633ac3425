"""A frozen network as a list of plain operations: what the export formats write and run."""

from ssmbench.program.builder import Builder
from ssmbench.program.functions import FUNCTIONS, PointwiseFunction
from ssmbench.program.operation import Operation, Program, Stored
from ssmbench.program.storing import WEIGHTS, stored_as

__all__ = [
    "FUNCTIONS",
    "WEIGHTS",
    "Builder",
    "Operation",
    "PointwiseFunction",
    "Program",
    "Stored",
    "stored_as",
]
