"""Proofs about one dense system in ball arithmetic: poles, H-infinity norm and H2 norm.

Every number is an interval of arbitrary precision (FLINT/Arb; Johansson 2017, IEEE Trans. Comput.
66:1281), every result encloses the true value, and a result that is too wide is computed again with
twice the digits. So a figure is right or absent, however ill-conditioned the matrices are.
"""

from ssmbench.analysis.ball.energy import h2
from ssmbench.analysis.ball.peak import Peak, hinf
from ssmbench.analysis.ball.stability import Poles, poles
from ssmbench.analysis.ball.system import BallSystem

__all__ = ["BallSystem", "Peak", "Poles", "h2", "hinf", "poles"]
