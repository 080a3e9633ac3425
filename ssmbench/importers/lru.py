"""LRU: flax parameters of NicolasZucchet/minimal-LRU (Orvieto et al. 2023, arXiv 2303.06349)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from ssmbench.importers.base import Imported, Importer
from ssmbench.importers.flax import flax_network, network_example
from ssmbench.importers.parts import (
    State,
    as_pairs,
    discrete_pairs,
    discrete_pairs_component,
    prefixed,
)
from ssmbench.importers.weights import Weights
from ssmbench.options import one_of, option
from ssmbench.parametrizations.lru import GAP
from ssmbench.registry import importers

_LARGEST_LOG = 40.0


@dataclass
class LRUImportConfig:
    """Arguments of the published code: ``norm``, ``prenorm`` and ``pooling`` (none: a prediction at
    each step)."""

    norm: str = option("batch", one_of("batch", "layer"))
    prenorm: bool = True
    pooling: str = option("mean", one_of("mean", "last", "none"))


@dataclass(frozen=True)
class _Layer:
    nu_log: Float[Tensor, " N"]
    theta_log: Float[Tensor, " N"]
    gamma_log: Float[Tensor, " N"]
    B: Complex[Tensor, "N H"]
    C: Complex[Tensor, "H N"]
    D: Float[Tensor, " H"]

    @property
    def fits(self) -> bool:
        """Whether our lru can hold it: its poles keep a distance to the unit circle."""
        logs = torch.cat([self.nu_log, self.theta_log, self.gamma_log])
        return bool((self.nu_log > math.log(GAP)).all()) and bool((logs.abs() < _LARGEST_LOG).all())


@importers.register(
    "lru",
    config=LRUImportConfig,
    citation="NicolasZucchet/minimal-LRU at bbd71b1, lru/model.py",
)
class LRUImporter(Importer):
    """LRU networks: flax parameters, with the running statistics of batch norms beside them.

    ``y = Re(C x) + D u`` is here ``2 Re((C / 2) x) + D u`` with the conjugates of the states. A
    network with poles nearer to the unit circle than 2^-22 becomes one of ``discrete_matrices``.
    """

    mark = r"(.*\.)?seq\.nu_log"

    def read(self, weights: Weights) -> Imported:
        options: LRUImportConfig = self.config
        layers: list[_Layer] = []
        network = flax_network(
            weights,
            norm_name="normalization",
            norm=options.norm,
            prenorm=options.prenorm,
            pooling=options.pooling,
            activation="full_glu",
            take_layer=lambda block: layers.append(_taken(block.under("seq."))),
        )
        fits, modes = all(layer.fits for layer in layers), len(layers[0].nu_log)
        lru = {"name": "lru", "d_state": 2 * modes, "learn_gamma": True}
        model = {
            **network.model,
            "parametrization": lru if fits else discrete_pairs_component(modes),
            "discretizer": None,
        }
        state = dict(network.state)
        for index, layer in enumerate(layers):
            own = _parameters(layer) if fits else _matrices(layer)
            state |= prefixed(f"blocks.{index}.layer.parametrization.", own)
        return Imported(
            model, network.input, network.outputs, state, network.per_step, network.notes
        )

    @classmethod
    def example(cls) -> Mapping[str, np.ndarray]:
        random, N, H = np.random.default_rng(0), 3, 4
        modulus = random.uniform(0.5, 0.95, N)
        layer = {
            "nu_log": np.log(-np.log(modulus)),
            "theta_log": np.log(random.uniform(0.1, 3.0, N)),
            "gamma_log": np.log(np.sqrt(1 - modulus**2)),
            "B_re": random.standard_normal((N, H)),
            "B_im": random.standard_normal((N, H)),
            "C_re": random.standard_normal((H, N)),
            "C_im": random.standard_normal((H, N)),
            "D": random.standard_normal(H),
        }
        return network_example(layer, norm_name="normalization", glu=("out1", "out2"), width=H)


def _taken(layer: Weights) -> _Layer:
    return _Layer(
        layer.take("nu_log", "N"),
        layer.take("theta_log", "N"),
        layer.take("gamma_log", "N"),
        torch.complex(layer.take("B_re", "N", "H"), layer.take("B_im", "N", "H")),
        torch.complex(layer.take("C_re", "H", "N"), layer.take("C_im", "H", "N")),
        layer.take("D", "H"),
    )


def _parameters(layer: _Layer) -> State:
    return {
        "nu": torch.log(layer.nu_log.exp() - GAP),
        "theta": layer.theta_log,
        "log_gamma": layer.gamma_log,
        "B": as_pairs(layer.B),
        "C": as_pairs(layer.C / 2),
        "D": layer.D,
    }


def _matrices(layer: _Layer) -> State:
    lam = torch.polar(torch.exp(-layer.nu_log.exp()), layer.theta_log.exp())
    B = layer.gamma_log.exp()[:, None] * layer.B
    return discrete_pairs(lam, B, layer.C / 2, torch.diag(layer.D))
