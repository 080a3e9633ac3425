from dataclasses import dataclass

from torch import Tensor, nn

from ssmbench.analysis.certificate import Bound
from ssmbench.nn.blocks.base import Block, BlockParts, NormPosition
from ssmbench.nn.bounds import linear_bound
from ssmbench.nn.layer import SSMLayer
from ssmbench.registry import blocks


@dataclass
class ParallelConfig:
    """``hidden``: width of the feedforward branch, as a multiple of d_model."""

    hidden: int = 4


@blocks.register("parallel", config=ParallelConfig, citation="this work")
class Parallel(Block):
    """x + layer(v) + W relu(V v + b) + c with v = norm(x): two branches beside each other."""

    ignored = ("nonlinearity", "mix", "dropout", "dropout_tied", "ssm_dropout")
    one_direction_reason = "the block parallel has one SSM layer"

    def __init__(self, config: ParallelConfig, *, d_model: int, parts: BlockParts):
        super().__init__(parts, parts.norm(d_model))
        self.layer = parts.layer(d_model)
        hidden = config.hidden * d_model
        self.first, self.second = nn.Linear(d_model, hidden), nn.Linear(hidden, d_model)

    @property
    def layers(self) -> list[SSMLayer]:
        return [self.layer]

    def forward(self, x: Tensor, lengths=None, dt=None) -> Tensor:
        v = self.normalise_at(NormPosition.pre, x, lengths)
        return self._finished(x, v, self.layer(v, dt), lengths)

    def stream(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        v = self.normalise_at(NormPosition.pre, x)
        y, final = self.layer.run(v, state)
        return self._finished(x, v, y, None), final

    def _finished(self, x: Tensor, v: Tensor, y: Tensor, lengths) -> Tensor:
        branch = y + self.second(self.first(v).relu())
        return self.normalise_at(NormPosition.post, self.add_residual(x, branch), lengths)

    def branch_bound(self, layers: Bound) -> Bound:
        return layers.plus(linear_bound(self.first).then(linear_bound(self.second)))
