from torch import Tensor, nn

from ssmbench.nn.decoders.base import PoolingDecoder
from ssmbench.nn.pooling import Pooling
from ssmbench.registry import NoOptions, decoders
from ssmbench.spec import Reading, TaskSizes


@decoders.register("two_layers", citation="this work")
class TwoLayers(PoolingDecoder):
    """A hidden layer between the pooled vector and the prediction."""

    reads = Reading.sequence

    def __init__(self, config: NoOptions, *, sizes: TaskSizes, d_model: int, pooling: Pooling):
        super().__init__()
        self.pooling = pooling
        layers = [nn.Linear(d_model, 2 * d_model), nn.ReLU(), nn.Linear(2 * d_model, sizes.outputs)]
        self.layers = nn.Sequential(*layers)

    def read(self, vectors: Tensor, gain: float | None = None) -> Tensor:
        return self.layers(vectors)
