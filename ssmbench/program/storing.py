"""Weights in fewer bits: float16, or int8 with a scale."""

from __future__ import annotations

import numpy as np

from ssmbench.errors import UsageError, suggest
from ssmbench.program.operation import Operation, Program, Stored

#: How matrices may be stored.
WEIGHTS = ("float32", "float16", "int8")
#: The arrays that are stored in fewer bits, by the kind of their operation. State matrices stay
#: float32, since rounding moves the poles, and so does what is no matrix.
_MATRICES = {
    "affine": ("weight",),
    "lookup": ("table",),
    "diagonal": ("B_re", "B_im", "C_re", "C_im"),
    "dense": ("B", "C"),
}
#: Rows that are shorter share one scale, which would else take as much memory as they save.
_SHORT = 8
_LARGEST_CODE = 127
#: Bits of a scale: a code has 7, so that their product has no more than the 24 of a float32, and a
#: sum of codes that is scaled afterwards has the numbers that the gains are computed of.
_SCALE_BITS = 17


def stored_as(program: Program, weights: str) -> Program:
    """The program with its matrices stored in another format.

    Raises:
        UsageError: an unknown format, or a weight that float16 cannot represent.
    """
    if weights not in WEIGHTS:
        raise UsageError(f"weights {weights!r}: {suggest(weights, WEIGHTS)}")
    if weights == "float32":
        return program
    store = _half if weights == "float16" else _int8

    def change(operation: Operation, name: str, stored: Stored) -> Stored:
        is_matrix = name in _MATRICES.get(operation.kind, ())
        return store(stored.value) if is_matrix else stored

    return program.with_arrays(change)


def _half(value: np.ndarray) -> Stored:
    if value.size and np.abs(value).max() > np.finfo(np.float16).max:
        raise UsageError(f"weights float16: a weight of {np.abs(value).max():g} is too large")
    return Stored(value.astype(np.float16))


def _int8(value: np.ndarray) -> Stored:
    """Codes from -127 to 127, the scale of a row being its largest modulus divided by 127, rounded
    so that codes times scales are exact."""
    first = value.ndim - 1 if value.shape[-1] >= _SHORT else 1
    axes = tuple(range(first, value.ndim))
    scale = np.abs(value).max(axis=axes, keepdims=True, initial=0.0) / _LARGEST_CODE
    scale = np.where(scale >= np.finfo(np.float32).tiny, _rounded(scale), np.float32(1))
    return Stored(np.rint(value / scale).clip(-_LARGEST_CODE, _LARGEST_CODE).astype(np.int8), scale)


def _rounded(scale: np.ndarray) -> np.ndarray:
    mantissa, exponent = np.frexp(scale.astype(np.float64))
    units = np.ceil(np.ldexp(mantissa, _SCALE_BITS))
    return np.ldexp(units, exponent - _SCALE_BITS).astype(np.float32)
