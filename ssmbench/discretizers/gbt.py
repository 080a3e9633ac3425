"""The generalised bilinear transformation: all rules between the two Euler methods."""

from __future__ import annotations

from dataclasses import dataclass

from ssmbench.discretizers.runge_kutta import Hold, RungeKutta, RungeKuttaConfig
from ssmbench.discretizers.tableau import Tableau
from ssmbench.options import FRACTION, option
from ssmbench.registry import discretizers


@dataclass
class GbtConfig(RungeKuttaConfig):
    """``alpha``: 0 forward Euler, 1/2 Tustin, 1 backward Euler; with ``hold: zero``, C and D are
    kept, and 1/2 is the implicit midpoint rule."""

    hold: Hold = Hold.first
    alpha: float = option(0.6, FRACTION)


@discretizers.register(
    "gbt",
    config=GbtConfig,
    citation="Zhang, Chen, Chen 2009, Digital redesign via the generalised bilinear "
    "transformation, Int. J. Control 82:741",
)
class GeneralisedBilinear(RungeKutta):
    """A_bar = (I - alpha hA)^-1 (I + (1 - alpha) hA): A-stable for alpha >= 1/2.

    The transform s = (z - 1) / (h (alpha z + 1 - alpha)) of the transfer function, as SciPy's
    ``gbt``: the one-stage rule at c = alpha with a first-order hold.
    """

    def make_tableau(self, config: GbtConfig) -> Tableau:
        return Tableau("gbt", T=[[config.alpha]], b=[1], c=[config.alpha])
