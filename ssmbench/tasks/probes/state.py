"""State tracking: the product of all elements of a group so far, at every step."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from jaxtyping import Int64

from ssmbench.registry import tasks
from ssmbench.spec import TaskSizes, Tokens
from ssmbench.tasks.probes.base import ClassProbe, ProbeConfig, tokens
from ssmbench.tasks.sequences import Sequences


class GroupProduct(ClassProbe):
    """Tokens (B, L): elements of a group; the target (B, L) of a step is the product up to it.

    :attr:`table`: row a, column b holds the product "first a, then b".
    """

    config: ProbeConfig
    table: Int64[np.ndarray, "n n"]

    @property
    def sizes(self) -> TaskSizes:
        """A token and a class for each element."""
        order = len(self.table)
        return TaskSizes(Tokens(order), order, self.config.length, per_step=True)

    def draw(self, random: np.random.Generator, number: int, length: int) -> Sequences:
        """Elements drawn uniformly, and their products."""
        u = random.integers(0, len(self.table), (number, length))
        products = np.empty_like(u)
        products[:, 0] = u[:, 0]
        for step in range(1, length):
            products[:, step] = self.table[products[:, step - 1], u[:, step]]
        return tokens(u, products)


@tasks.register(
    "parity",
    config=ProbeConfig,
    citation="W. Merrill, J. Petty, A. Sabharwal, The Illusion of State in State-Space Models, "
    "ICML 2024, arXiv 2404.08819; Grazzi et al., ICLR 2025, arXiv 2411.12537",
    summary="Whether the number of ones so far is odd, at every step; accuracy",
)
class Parity(GroupProduct):
    """The group of two elements. A layer needs a real eigenvalue near -1 that depends on the input:
    with eigenvalues in [0, 1] it cannot be learned for every length (Grazzi et al. 2025)."""

    table = np.array([[0, 1], [1, 0]])


def alternating_group_5() -> Int64[np.ndarray, "60 60"]:
    """The multiplication table of A5, the 60 even permutations of five elements."""
    elements = [p for p in permutations(range(5)) if _is_even(p)]
    index = {p: k for k, p in enumerate(elements)}
    return np.array([[index[tuple(b[i] for i in a)] for b in elements] for a in elements])


def _is_even(p: tuple[int, ...]) -> bool:
    inversions = sum(p[i] > p[j] for i in range(len(p)) for j in range(i + 1, len(p)))
    return inversions % 2 == 0


@tasks.register(
    "a5_products",
    config=ProbeConfig,
    citation="W. Merrill, J. Petty, A. Sabharwal, The Illusion of State in State-Space Models, "
    "ICML 2024, arXiv 2404.08819",
    summary="The product of permutations in A5 so far, at every step, 60 classes; accuracy",
)
class A5Products(GroupProduct):
    """A group that is not solvable: its word problem is complete for NC1, so that no fixed number
    of diagonal or time-invariant layers solves it for every length (Merrill et al. 2024)."""

    table = alternating_group_5()
