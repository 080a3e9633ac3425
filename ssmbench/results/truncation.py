"""What truncations in training did, in names of ``result.json``."""

from __future__ import annotations

from dataclasses import dataclass

from ssmbench.results.record import Record


@dataclass(frozen=True)
class TruncatedLayer(Record):
    """One SSM layer: the ``order`` of each of its ``heads`` before, the largest and the mean order
    kept, and errors, the largest of all heads: the ``bound`` of the reducer, and the measured ones
    of the matrices that the layer holds then, in their form and precision. ``above_bound``: of how
    many heads the measured error exceeds the bound, which rounding can cause. ``reason``: why a
    layer kept all its states, as unstable ones do; "" of all others."""

    heads: int
    order: int
    kept: int
    mean_kept: float
    bound: float
    above_bound: int
    hinf_error: float
    h2_error: float
    reason: str = ""


@dataclass(frozen=True)
class Truncation(Record):
    """One truncation, after so many epochs and optimizer steps.

    The layers hold matrices of their own since: ``form``, ``heads`` and ``states`` are those of
    ``discrete_matrices``, ``states`` one number for each block. ``parameters``: of the network
    after it.
    """

    epoch: int
    step: int
    form: str
    heads: int
    states: tuple[int, ...]
    layers: tuple[TruncatedLayer, ...]
    parameters: int
