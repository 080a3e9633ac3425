"""Quadratic supply rates y'Q y + 2 y'S u + u'R u, from the options of a config."""

from __future__ import annotations

from typing import Any

import numpy as np

from ssmbench.analysis.ball.average_supply import Supply
from ssmbench.errors import UsageError, require
from ssmbench.options import Allowed
from ssmbench.systems import LinearSystem


def _array(value: Any) -> np.ndarray | None:
    """A number or a matrix as an array; None of anything else."""
    if isinstance(value, bool | str) or value is None:
        return None
    try:
        found = np.array(value, dtype=float)
    except (TypeError, ValueError):
        return None
    fits = found.ndim in (0, 2) and found.size > 0 and np.isfinite(found).all()
    return found if fits else None


def _is_symmetric(value: Any) -> bool:
    found = _array(value)
    if found is None:
        return False
    return found.ndim == 0 or (found.shape[0] == found.shape[1] and bool((found == found.T).all()))


#: S, and Q and R, whatever the system.
MATRIX = Allowed("a number or a list of rows", lambda value: _array(value) is not None)
SYMMETRIC = (MATRIX, Allowed("a number or a symmetric matrix", _is_symmetric))


def check_sizes(Q: Any, S: Any, R: Any) -> None:
    """Raise a UsageError where the sizes of the matrices among these belong to no system."""
    sizes = {name: _sizes(name, value) for name, value in (("Q", Q), ("S", S), ("R", R))}
    for name, side, kind in (("Q", 0, "outputs"), ("R", 1, "inputs")):
        one, other = sizes[name][side], sizes["S"][side]
        fits = one is None or other is None or one == other
        require(fits, f"{name} and S must be of as many {kind}, got {one} and {other}")


def _sizes(name: str, value: Any) -> tuple[int | None, int | None]:
    """The numbers of outputs and inputs that an option is for; None where it says nothing."""
    for limit in (MATRIX,) if name == "S" else SYMMETRIC:
        require(limit.test(value), f"{name}: {limit.problem(value)}")
    shape = np.shape(value)
    return (shape[0], shape[1]) if shape else (None, None)


def scaled_supply(system: LinearSystem, Q: float, S: float, R: float) -> Supply:
    """Multiples of identities, with S that of the leading part where it is not square."""
    p, m = system.outputs, system.inputs
    return Supply(Q * np.eye(p), S * np.eye(p, m), R * np.eye(m))


def supply_of(system: LinearSystem, Q: Any, S: Any, R: Any) -> Supply:
    """The supply rate for the outputs and inputs of a system.

    Raises:
        UsageError: a matrix is not of these sizes.
    """
    p, m = system.outputs, system.inputs
    return Supply(_fitted("Q", Q, p, p), _fitted("S", S, p, m), _fitted("R", R, m, m))


def _fitted(name: str, value: Any, rows: int, columns: int) -> np.ndarray:
    matrix = _array(value)
    if matrix is None:
        raise UsageError(f"{name}: {MATRIX.problem(value)}")
    if matrix.ndim == 0:
        square = rows == columns or matrix == 0
        sizes = f"{rows} outputs and {columns} inputs"
        require(bool(square), f"{name}: a number needs as many outputs as inputs, not {sizes}")
        matrix = float(matrix) * np.eye(rows, columns)
    fits = matrix.shape == (rows, columns)
    require(fits, f"{name}: must be a finite matrix of {rows} x {columns}, got {value!r}")
    return matrix
