"""LinOSS: Equinox parameters of tk-rusch/linoss (Rusch and Rus 2024, arXiv 2410.03943)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ssmbench.importers.base import Imported, Importer
from ssmbench.importers.parts import State, identity, prefixed, stacked, torch_linear
from ssmbench.importers.weights import Weights
from ssmbench.options import one_of, option
from ssmbench.registry import importers
from ssmbench.spec import Channels

#: Of Equinox's BatchNorm.
_EPS = 1e-5
_NO_HEAD = "a checkpoint without linear_layer: the identity takes the decoder's place"


@dataclass
class LinOSSImportConfig:
    """``discretization``: that of the published code; ``pooling``: mean where the code classifies,
    none for a prediction at each step."""

    discretization: str = option("IM", one_of("IM", "IMEX"))
    pooling: str = option("mean", one_of("mean", "none"))


@importers.register(
    "linoss",
    config=LinOSSImportConfig,
    citation="tk-rusch/linoss at 83e6318, models/LinOSS.py",
)
class LinOSSImporter(Importer):
    """LinOSS networks: the parameters, and below ``blocks.0.norm`` the running mean and variance.

    The code's B and C are complex and its output is Re(C x): here that is a real layer with twice
    as many oscillators, one driven by Re B and one by Im B, whose outputs are Re C and -Im C times
    their positions. The prediction is that before the softmax or the tanh. Equinox keeps running
    statistics outside the network, in its ``State``: ``state.get(block.norm.state_index)``.
    """

    mark = r"(.*\.)?ssm\.A_diag"

    def read(self, weights: Weights) -> Imported:
        options: LinOSSImportConfig = self.config
        count = weights.numbered("blocks.")
        state = prefixed("encoder.", torch_linear(weights, "linear_encoder", "H", "inputs"))
        for index in range(count):
            own = _block(weights.under(f"blocks.{index}."))
            state |= prefixed(f"blocks.{index}.", own)
        width = weights.size("H")
        headless = weights.partial and not weights.under("linear_layer.").has_any()
        state |= prefixed("decoder.", _head(weights, headless, width))
        imex = options.discretization == "IMEX"
        model = {
            "d_model": width,
            "n_layers": count,
            "parametrization": {
                "name": "linoss",
                "d_state": 4 * weights.size("P"),
                "constraint": "relu",
            },
            "discretizer": "symplectic_euler" if imex else "backward_euler",
            "norm": {"name": "batch", "eps": _EPS},
            "norm_position": "pre",
            "nonlinearity": {"name": "glu", "form": "full", "gelu": "tanh"},
            "mix": False,
            "residual": "add",
            "readout": "after",
            "pooling": "mean",
        }
        per_step = headless or options.pooling == "none"
        outputs = width if headless else weights.size("outputs")
        notes = (_NO_HEAD,) if headless else ()
        return Imported(model, Channels(weights.size("inputs")), outputs, state, per_step, notes)

    @classmethod
    def example(cls) -> Mapping[str, np.ndarray]:
        random, P, H = np.random.default_rng(0), 3, 4
        block = {
            "ssm.A_diag": random.uniform(0.1, 1.0, P),
            "ssm.B": random.standard_normal((P, H, 2)),
            "ssm.C": random.standard_normal((H, P, 2)),
            "ssm.D": random.standard_normal(H),
            "ssm.steps": random.standard_normal(P),
            "norm.mean": random.standard_normal(H),
            "norm.var": random.uniform(0.5, 2.0, H),
        }
        for name in ("w1", "w2"):
            block[f"glu.{name}.weight"] = random.standard_normal((H, H)) / 2
            block[f"glu.{name}.bias"] = random.standard_normal(H)
        return {
            "linear_encoder.weight": random.standard_normal((H, 2)),
            "linear_encoder.bias": random.standard_normal(H),
            **{f"blocks.0.{name}": array for name, array in block.items()},
            "linear_layer.weight": random.standard_normal((3, H)),
            "linear_layer.bias": random.standard_normal(3),
        }


def _block(block: Weights) -> State:
    glu = stacked(torch_linear(block, "glu.w1", "H", "H"), torch_linear(block, "glu.w2", "H", "H"))
    mean = block.take("norm.mean", "H")
    norm = {
        "mean": mean,
        "variance": block.take("norm.var", "H"),
        "weight": torch.ones_like(mean),
        "bias": torch.zeros_like(mean),
    }
    return {
        **prefixed("norm.", norm),
        **prefixed("layer.parametrization.", _layer(block.under("ssm."))),
        **prefixed("nonlinearity.linear.", glu),
    }


def _layer(layer: Weights) -> State:
    a, steps = layer.take("A_diag", "P"), layer.take("steps", "P")
    B, C = layer.take_complex("B", "P", "H"), layer.take_complex("C", "H", "P")
    return {
        "stiffness": torch.cat([a, a]),
        "step": torch.cat([steps, steps]),
        "B": torch.cat([B.real, B.imag]),
        "C": torch.cat([C.real, -C.imag], dim=1),
        "D": layer.take("D", "H"),
    }


def _head(weights: Weights, headless: bool, width: int) -> State:
    return identity(width) if headless else torch_linear(weights, "linear_layer", "outputs", "H")
