import torch
from torch import Tensor, nn

from ssmbench.analysis.certificate import Bound
from ssmbench.nn.bounds import linear_bound
from ssmbench.nn.encoders.base import Encoder
from ssmbench.registry import NoOptions, encoders
from ssmbench.spec import Channels


@encoders.register("clipped", citation="this work")
class Clipped(Encoder):
    """W u + b of an input that is clipped to [-3, 3], against outliers."""

    unbounded_reason = ""  # its constant follows from its weights

    def __init__(self, config: NoOptions, *, input: Channels, length: int, d_model: int):
        super().__init__()
        self.linear = nn.Linear(input.count, d_model)

    def forward(self, u: Tensor, start: int = 0) -> Tensor:
        return self.linear(torch.clamp(u, -3, 3))

    def bound(self) -> Bound:
        return linear_bound(self.linear)
