"""A proved bound on the incremental l2 gain of a whole network over a horizon, tighter than the
product of its parts' gains.

Each nonlinearity is split into a linear half and a remainder v with ``|dv_i| <= r_i |dy_i|``; all
that is linear is lumped (:mod:`.lumped`). Over L steps the lumped maps are truncated impulse
responses (:mod:`.responses`), which the discrete Fourier transform of 2 L - 1 points makes
diagonal. With a multiplier ``T_i > 0`` for each remainder, chosen by an interior-point method
(:mod:`.multipliers`), the gain is at most what :mod:`.proof` then proves with all rounding errors
counted.

Source: integral quadratic constraints with static multipliers (Megretski and Rantzer 1997, IEEE
    Trans. Autom. Control 42:819) after a loop transformation, as LipSDP has them for networks
    without memory (Fazlyab et al. 2019, arXiv 1906.04893). The derivation is in
    docs/certified_variants.md.
"""

from ssmbench.analysis.network_bound.any_length import AnyLength, any_length_bound
from ssmbench.analysis.network_bound.bound import NetworkBound, network_bound
from ssmbench.analysis.network_bound.enclosed import Enclosed
from ssmbench.analysis.network_bound.lumped import LumpedBlock, LumpedNetwork, Readout

__all__ = [
    "AnyLength",
    "Enclosed",
    "LumpedBlock",
    "LumpedNetwork",
    "NetworkBound",
    "Readout",
    "any_length_bound",
    "network_bound",
]
