"""Stiffness limits the step size: two linear equations with the same solution, one of them stiff.

    python tools/stiffness.py                        # prints errors, writes docs/stiffness.png

In both examples u' = A u + phi(t), u(0) = (1, 2), has the solution u = exp(-t) (1, 1) + (0, cos t).
The eigenvalues of A are -1, -4 in the first and -1, -2000 in the second. With a step size of 0.01
the explicit Runge-Kutta method of order 4 is accurate to 1e-9 in the first and diverges in the
second, although the solution is equally smooth; the implicit midpoint rule is accurate in both.
(From Mitsui's textbook, with A_11 = -2 and phi_1 = -cos t in the first example; its usual printed
form has another solution.)
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FIGURE = Path(__file__).parents[1] / "docs" / "stiffness.png"
STEP, DURATION = 0.01, 10.0
#: Length of RK4's stability interval on the negative real axis.
RK4_INTERVAL = 2.785293563405282
#: An error beyond this counts as divergence, and the computation stops.
_DIVERGED = 1e12

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Example:
    """u' = A u + phi(t); A (2, 2), phi(t) = (-cos t, c cos t - sin t)."""

    name: str
    A: NDArray[np.float64]
    c: float

    def slope(self, t: float, u: Vector) -> Vector:
        phi = (-math.cos(t), self.c * math.cos(t) - math.sin(t))
        return self.A @ u + phi


EXAMPLES = (
    Example("example 1: eigenvalues -1, -4", np.array([[-2.0, 1], [2, -3]]), 3),
    Example("example 2: eigenvalues -1, -2000", np.array([[-2.0, 1], [1998, -1999]]), 1999),
)


def solution(t: float) -> Vector:
    """The exact solution of both examples."""
    return np.array([math.exp(-t), math.exp(-t) + math.cos(t)])


def rk4(example: Example, t: float, u: Vector, h: float) -> Vector:
    """One step of the classical Runge-Kutta method (Kutta 1901)."""
    k1 = example.slope(t, u)
    k2 = example.slope(t + h / 2, u + h / 2 * k1)
    k3 = example.slope(t + h / 2, u + h / 2 * k2)
    k4 = example.slope(t + h, u + h * k3)
    return u + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def midpoint(example: Example, t: float, u: Vector, h: float) -> Vector:
    """One step of the implicit midpoint rule: k = slope(t + h/2, u + h k / 2), solved for k."""
    return u + h * np.linalg.solve(np.eye(2) - h / 2 * example.A, example.slope(t + h / 2, u))


METHODS: dict[str, Callable[[Example, float, Vector, float], Vector]] = {
    "RK4, explicit": rk4,
    "midpoint, implicit": midpoint,
}


def errors(example: Example, method: Callable, h: float, duration: float) -> Vector:
    """Error (maximum norm) after each step, up to ``duration`` or until it exceeds _DIVERGED."""
    u, found = solution(0.0), []
    for k in range(round(duration / h)):
        u = method(example, k * h, u, h)
        found.append(np.abs(u - solution((k + 1) * h)).max())
        if not found[-1] < _DIVERGED:
            break
    return np.array(found)


def table() -> str:
    """The largest errors of both methods in both examples, as text."""
    lines = []
    for example in EXAMPLES:
        for name, method in METHODS.items():
            error = errors(example, method, STEP, DURATION)
            first = np.argmax(error > 1)
            result = f"diverges at step {first + 1}" if error.max() > 1 else f"{error.max():.1e}"
            lines.append(f"{example.name}, h = {STEP:g}, {name}: {result}")
    lines.append(f"RK4's threshold in example 2: h = {RK4_INTERVAL / 2000:.4g}")
    return "\n".join(lines)


def draw(path: Path) -> None:
    """Errors over time at h = 0.01, and the largest error against the step, as a PNG file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), sharey=True, layout="constrained")
    for axis, example in zip(axes, EXAMPLES, strict=False):
        for name, method in METHODS.items():
            error = errors(example, method, STEP, DURATION)
            axis.plot(STEP * np.arange(1, len(error) + 1), error, label=name)
        axis.set(xlabel="t", xlim=(-0.3, DURATION))
        axis.set_title(f"{example.name}, h = {STEP:g}", fontsize=10)
    steps = np.geomspace(2e-4, 2e-2, 41)
    for method in METHODS.values():
        worst = [errors(EXAMPLES[1], method, h, 1.0).max() for h in steps]
        axes[2].loglog(steps, np.minimum(worst, _DIVERGED), ".-")
    threshold = RK4_INTERVAL / 2000
    axes[2].axvline(threshold, color="grey", linestyle=":")
    axes[2].text(1.1 * threshold, 1e-11, f"2.785 / 2000 = {threshold:.3g}", color="dimgrey")
    axes[2].set_title("example 2: largest error for t < 1", fontsize=10)
    axes[2].set(xlabel="step h")
    axes[0].set(ylabel="error", yscale="log", ylim=(1e-12, _DIVERGED))
    axes[0].legend(loc="center right", frameon=False)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", type=Path, default=FIGURE, help="PNG file to write")
    options = parser.parse_args(arguments)
    print(table())
    draw(options.figure)
    print(options.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
