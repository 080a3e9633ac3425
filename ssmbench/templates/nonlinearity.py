from torch import Tensor
from torch.nn.functional import softsign

from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.registry import nonlinearities


@nonlinearities.register("softsign", citation="Turian, Bergstra, Bengio 2009, NAACL")
class Softsign(Nonlinearity):
    """x / (1 + |x|)."""

    lipschitz = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return softsign(x)
