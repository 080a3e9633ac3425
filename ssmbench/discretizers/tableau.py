"""Runge-Kutta (Butcher) tableaux as checked data, their order conditions and costate tableaux."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ssmbench.errors import UsageError, require

if TYPE_CHECKING:
    _Numbers = np.ndarray
else:  #: What a field accepts; it is stored as an array.
    _Numbers = np.ndarray | Sequence

#: Tolerance for rounding in coefficients that are typed in or computed in double precision.
_ROUNDING = 1e-13
#: The order conditions are checked up to here: 85 rooted trees.
MAX_ORDER = 7


@dataclass(frozen=True, eq=False)
class Tableau:
    """One step of a Runge-Kutta method: ``Y_i = x + h sum_j T_ij f(Y_j)``, ``x+ = x + h b' f(Y)``.

    T (s, s), b (s,) and c (s,), for s stages, are stored as read-only float64 arrays. c follows
    from T; stating it as well catches a wrong digit in either.

    Raises:
        UsageError: wrong shapes, numbers that are not finite, c different from T 1, or b that does
        not sum to 1; the message says which.
    """

    name: str
    T: _Numbers
    b: _Numbers
    c: _Numbers

    if TYPE_CHECKING:

        def __init__(self, name: str, T: ArrayLike, b: ArrayLike, c: ArrayLike) -> None: ...

    def __post_init__(self) -> None:
        for field in ("T", "b", "c"):
            object.__setattr__(self, field, _frozen_array(self.name, field, getattr(self, field)))
        stages = self.b.size
        for field, shape in (("b", (stages,)), ("T", (stages, stages)), ("c", (stages,))):
            found = getattr(self, field).shape
            require(
                found == shape and stages > 0,
                f"tableau {self.name}: {field} has shape {found}; with the {stages} stages of b "
                f"it must be {shape}",
            )
        self._check_consistency()

    def _check_consistency(self) -> None:
        size = 1 + float(np.abs(self.T).max() + np.abs(self.b).max())
        off = np.abs(self.T.sum(1) - self.c)
        worst = int(off.argmax())
        require(
            bool(off[worst] <= _ROUNDING * size),
            f"tableau {self.name}: c[{worst}] is {self.c[worst]:.16g}, but row {worst} of T sums "
            f"to {self.T[worst].sum():.16g}; c must be T 1",
        )
        require(
            abs(float(self.b.sum()) - 1) <= _ROUNDING * size,
            f"tableau {self.name}: b sums to {self.b.sum():.16g}; a consistent method's sums to 1",
        )

    @property
    def stages(self) -> int:
        return len(self.b)

    @property
    def lower(self) -> bool:
        """Whether each stage needs only itself and the stages before it (explicit or diagonally
        implicit)."""
        return not np.triu(self.T, 1).any()

    @property
    def explicit(self) -> bool:
        """Whether each stage needs only the stages before it, so that there is nothing to solve."""
        return not np.triu(self.T).any()

    def order(self) -> int:
        """The largest p <= 7 whose order conditions hold, one per rooted tree with up to p nodes.

        Source: Hairer, Norsett, Wanner 1993, Solving ODEs I, section II.2, theorem 2.13.
        """
        for p in range(1, MAX_ORDER + 1):
            defects = (abs(self.b @ _elementary(self.T, t) - 1 / _density(t)) for t in trees(p))
            if max(defects) > 1e-10:
                return p - 1
        return MAX_ORDER

    def costate_tableau(self) -> Tableau:
        """The conjugate tableau, ``b_i a^_ij + b_j a_ji = b_i b_j`` with the same b and c.

        Where this method steps x' = A x, the conjugate steps the adjoint equation l' = -A' l such
        that l' x is the same at every step, which is exactly what reverse-mode differentiation of
        the steps computes.

        Raises:
            UsageError: a weight b_i is zero, so no conjugate exists.

        Source: Hairer, Lubich, Wanner 2006, Geometric Numerical Integration, section VI.4;
            Sanz-Serna 2016, SIAM Review 58:3.
        """
        zero = np.flatnonzero(self.b == 0)
        require(
            len(zero) == 0,
            f"tableau {self.name}: b is zero at stage {', '.join(map(str, zero))}, so it has no "
            "conjugate tableau",
        )
        T = self.b[None, :] - self.b[None, :] * self.T.T / self.b[:, None]
        return Tableau(f"conjugate of {self.name}", T, self.b, T.sum(1))


def _frozen_array(name: str, field: str, value: object) -> np.ndarray:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"tableau {name}: {field} must be numbers in equal rows") from None
    require(bool(np.isfinite(array).all()), f"tableau {name}: {field} must be finite numbers")
    array.flags.writeable = False
    return array


# --- order conditions ---------------------------------------------------------------------------

Tree = tuple  # a rooted tree: the sorted subtrees at its root, trees themselves


@cache
def trees(nodes: int) -> tuple[Tree, ...]:
    """All rooted trees with that many nodes: 1, 1, 2, 4, 9, 20, 48, ..."""
    return tuple(sorted({tuple(sorted(forest)) for forest in _forests(nodes - 1)}))


def _forests(nodes: int) -> Iterator[tuple[Tree, ...]]:
    if nodes == 0:
        yield ()
    for first in range(1, nodes + 1):
        for tree in trees(first):
            for rest in _forests(nodes - first):
                yield (tree, *rest)


def _elementary(T: np.ndarray, tree: Tree) -> np.ndarray:
    """The stages' weights (s,) of a tree: the product of T times those of its subtrees."""
    parts = (T @ _elementary(T, subtree) for subtree in tree)
    return math.prod(parts, start=np.ones(len(T)))


def _nodes(tree: Tree) -> int:
    return 1 + sum(map(_nodes, tree))


def _density(tree: Tree) -> int:
    return _nodes(tree) * math.prod(map(_density, tree))
