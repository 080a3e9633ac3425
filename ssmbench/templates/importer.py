from collections.abc import Mapping

import numpy as np
import torch

from ssmbench.importers.base import Imported, Importer
from ssmbench.importers.weights import Weights
from ssmbench.registry import importers
from ssmbench.spec import Channels


@importers.register("leaky_average", citation="this work")
class LeakyAverage(Importer):
    """A layer of leaky averages, x[k+1] = a x[k] + (1 - a) E u[k], read by a linear map."""

    mark = "leaks"

    def read(self, weights: Weights) -> Imported:
        leaks = weights.take("leaks", "d")
        encoder, decoder = weights.take("E", "d", "inputs"), weights.take("R", "outputs", "d")
        d, inputs, outputs = map(weights.size, ("d", "inputs", "outputs"))
        layer = {
            "A": torch.diag(leaks),
            "B": torch.diag(1 - leaks),
            "C": torch.eye(d).double(),
            "D": torch.zeros(d, d).double(),
        }
        state = {f"blocks.0.layer.parametrization.{k}": value[None] for k, value in layer.items()}
        state |= {"encoder.weight": encoder, "encoder.bias": torch.zeros(d).double()}
        state |= {"decoder.weight": decoder, "decoder.bias": torch.zeros(outputs).double()}
        model = {
            "d_model": d,
            "n_layers": 1,
            "parametrization": {"name": "discrete_matrices", "d_state": d, "form": "dense"},
            "discretizer": None,
            "readout": "after",
            "nonlinearity": "identity",
            "residual": "none",
            "mix": False,
            "pooling": "last",
        }
        return Imported(model, Channels(inputs), outputs, state)

    @classmethod
    def example(cls) -> Mapping[str, np.ndarray]:
        random = np.random.default_rng(0)
        E, R = random.standard_normal((3, 2)), random.standard_normal((4, 3))
        return {"leaks": np.array([0.5, 0.9, 0.99]), "E": E, "R": R}
