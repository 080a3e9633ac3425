"""S5: flax parameters of lindermanlab/S5 (Smith, Warrington, Linderman 2023, arXiv 2208.04933)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from ssmbench.errors import require
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
from ssmbench.registry import importers

#: -log of the fastest and the slowest decay that a parametrization of ours holds.
_LARGEST_LOG = 40.0
#: What ``clip_eigs`` cuts real parts off at.
_CLIP = -1e-4


@dataclass
class S5ImportConfig:
    """Arguments of the published code: ``discretization``; ``norm`` (its ``batchnorm``) and
    ``prenorm``; ``clip_eigs`` (real parts are cut off at -1e-4); ``conj_sym`` (a state stands for a
    conjugate pair); ``activation`` (half GLUs have the same keys; ``auto`` takes half_glu1, the
    code's default); ``pooling`` (its ``mode``; none: a prediction at each step).
    """

    discretization: str = option("zoh", one_of("zoh", "bilinear"))
    norm: str = option("batch", one_of("batch", "layer"))
    prenorm: bool = True
    conj_sym: bool = True
    clip_eigs: bool = False
    activation: str = option("auto", one_of("auto", "full_glu", "half_glu1", "half_glu2", "gelu"))
    pooling: str = option("mean", one_of("mean", "last", "none"))


@dataclass(frozen=True)
class _Layer:
    lam: Complex[Tensor, " P"]
    log_step: Float[Tensor, " P"]
    B: Complex[Tensor, "P H"]
    C: list[Complex[Tensor, "H P"]]  # forward, and reverse if there is one
    D: Float[Tensor, " H"]

    @property
    def fits(self) -> bool:
        """Whether our s5 can hold the poles: their real parts are negative."""
        decay, steps = -self.lam.real, self.log_step.abs()
        inside = (decay > math.exp(-_LARGEST_LOG)) & (decay < math.exp(_LARGEST_LOG))
        return bool(inside.all()) and bool((steps < _LARGEST_LOG).all())


@importers.register(
    "s5",
    config=S5ImportConfig,
    citation="lindermanlab/S5 at 3c18fdb, s5/ssm.py, s5/layers.py, s5/seq_model.py",
)
class S5Importer(Importer):
    """S5 networks: flax parameters, with the running statistics of batch norms beside them.

    A network whose poles do not all have negative real parts, which the code allows, becomes one of
    sampled matrices, ``discrete_matrices``: its gain is infinite, and that is what is verified.
    """

    mark = r"(.*\.)?seq\.Lambda_re"

    def read(self, weights: Weights) -> Imported:
        options: S5ImportConfig = self.config
        layers: list[_Layer] = []
        network = flax_network(
            weights,
            norm_name="norm",
            norm=options.norm,
            prenorm=options.prenorm,
            pooling=options.pooling,
            activation=options.activation,
            take_layer=lambda block: layers.append(self._layer(block)),
        )
        fits = all(layer.fits for layer in layers)
        bidirectional = len(layers[0].C) == 2
        same = all(len(layer.C) == len(layers[0].C) for layer in layers)
        require(same, f"{weights.source}: some layers are bidirectional and some are not")
        state, component = dict(network.state), self._component(layers[0], fits)
        for index, layer in enumerate(layers):
            state |= self._states(index, layer, fits)
        model = {
            **network.model,
            "parametrization": component,
            "discretizer": self._discretizer() if fits else None,
            "bidirectional": bidirectional,
            "tied": bidirectional,
        }
        notes = () if fits else ("some poles have no negative real part: the sampled matrices",)
        return Imported(
            model, network.input, network.outputs, state, network.per_step, network.notes + notes
        )

    def _layer(self, block: Weights) -> _Layer:
        options: S5ImportConfig = self.config
        layer = block.under("seq.")
        real, imaginary = layer.take("Lambda_re", "P"), layer.take("Lambda_im", "P")
        real = real.clamp_max(_CLIP) if options.clip_eigs else real
        C = self._outputs(layer)
        return _Layer(
            torch.complex(real, imaginary),
            layer.take("log_step", "P", 1)[:, 0],
            layer.take_complex("B", "P", "H"),
            C if options.conj_sym else [c / 2 for c in C],
            layer.take("D", "H"),
        )

    def _outputs(self, layer: Weights) -> list[Complex[Tensor, "H P"]]:
        """C, or those of both directions; with C_init=complex_normal these are one array."""
        if layer.has("C1"):
            return [layer.take_complex(name, "H", "P") for name in ("C1", "C2")]
        if layer.shape("C")[1:2] == (2 * layer.size("P"),):
            return list(layer.take_complex("C", "H", 2 * layer.size("P")).chunk(2, dim=1))
        return [layer.take_complex("C", "H", "P")]

    def _discretizer(self) -> str:
        return str(self.config.discretization)  # bilinear is the one that keeps C and D

    def _component(self, layer: _Layer, fits: bool) -> dict[str, Any]:
        modes = len(layer.lam)
        return {"name": "s5", "d_state": 2 * modes} if fits else discrete_pairs_component(modes)

    def _states(self, index: int, layer: _Layer, fits: bool) -> State:
        """The parameters of a layer, and of the reverse one, which has no D and shares the rest."""
        make = _continuous if fits else self._sampled
        found: State = {}
        for name, C in zip(("layer", "reverse_layer"), layer.C, strict=False):
            own = make(layer, C)
            if name == "reverse_layer":
                del own["D"]
            found |= prefixed(f"blocks.{index}.{name}.parametrization.", own)
        return found

    def _sampled(self, layer: _Layer, C: Tensor) -> State:
        z = layer.log_step.exp() * layer.lam
        if self.config.discretization == "zoh":
            lam, factor = (
                z.exp(),
                torch.where(z == 0, 1, torch.expm1(z) / torch.where(z == 0, 1, z)),
            )
        else:
            lam, factor = (1 + z / 2) / (1 - z / 2), 1 / (1 - z / 2)
        B = (factor * layer.log_step.exp())[:, None] * layer.B
        return discrete_pairs(lam, B, C, torch.diag(layer.D))

    @classmethod
    def example(cls) -> Mapping[str, np.ndarray]:
        random, P, H = np.random.default_rng(0), 3, 4
        layer = {
            "Lambda_re": -random.uniform(0.1, 1.0, P),
            "Lambda_im": random.uniform(0.0, 3.0, P),
            "B": random.standard_normal((P, H, 2)),
            "C": random.standard_normal((H, P, 2)),
            "D": random.standard_normal(H),
            "log_step": random.uniform(-5.0, -1.0, (P, 1)),
        }
        return network_example(layer, norm_name="norm", glu=("out2",), width=H)


def _continuous(layer: _Layer, C: Tensor) -> State:
    return {
        "log_decay": torch.log(-layer.lam.real),
        "frequency": layer.lam.imag,
        "B": as_pairs(layer.B),
        "C": as_pairs(C),
        "D": layer.D,
        "log_dt": layer.log_step,
    }
