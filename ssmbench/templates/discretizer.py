from ssmbench.discretizers.runge_kutta import RungeKutta, RungeKuttaConfig
from ssmbench.discretizers.tableau import Tableau
from ssmbench.registry import discretizers


@discretizers.register(
    "ralston", config=RungeKuttaConfig, citation="Ralston 1962, Math. Comp. 16:431"
)
class Ralston(RungeKutta):
    """Ralston's method, order 2: the smallest bound on the local error."""

    data = Tableau("ralston", T=[[0, 0], [2 / 3, 0]], b=[1 / 4, 3 / 4], c=[0, 2 / 3])
