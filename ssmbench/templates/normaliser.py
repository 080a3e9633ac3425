from dataclasses import dataclass

from torch import Tensor

from ssmbench.analysis.upper_bound import hinf_bound
from ssmbench.normalisers.base import Normaliser, NormaliserConfig
from ssmbench.registry import normalisers
from ssmbench.systems import DiscreteSystem


@dataclass
class WithMarginConfig(NormaliserConfig):
    """``margin``: how far below gamma the gain stays."""

    margin: float = 0.05


@normalisers.register("with_margin", config=WithMarginConfig, citation="this work")
class WithMargin(Normaliser):
    """Scale by the H-infinity norm, with a margin for later quantisation of the matrices."""

    infinite_horizon = True  # the bound holds for signals of any length

    def __init__(self, config: WithMarginConfig):
        super().__init__(config)
        self.margin = config.margin

    def bound(self, system: DiscreteSystem) -> Tensor:
        return (1 + self.margin) * hinf_bound(system)  # (H,), float64, differentiable
