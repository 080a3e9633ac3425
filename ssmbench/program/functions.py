"""The functions of one number that an exported network may apply."""

from __future__ import annotations

from typing import NamedTuple


class PointwiseFunction(NamedTuple):
    """``lipschitz``: its largest slope. ``bounded``: whether its values are in [-1, 1].
    ``keeps_zero``: whether f(0) = 0."""

    lipschitz: float
    bounded: bool = False
    keeps_zero: bool = True


#: By their names in exported files.
FUNCTIONS = {
    "cos": PointwiseFunction(1.0, bounded=True, keeps_zero=False),
    "gelu": PointwiseFunction(1.128905),
    "gelu_tanh": PointwiseFunction(1.128994),
    "relu": PointwiseFunction(1.0),
    "sigmoid": PointwiseFunction(0.25, bounded=True, keeps_zero=False),
    "silu": PointwiseFunction(1.099840),
    "sin": PointwiseFunction(1.0, bounded=True),
    "tanh": PointwiseFunction(1.0, bounded=True),
}
