"""neural-ssm: torch parameters of DeepSSM, DecodEPFL's package on PyPI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ssmbench.errors import UsageError
from ssmbench.importers.base import Imported, Importer
from ssmbench.importers.neural_ssm_cells import Branch, Cell, capped, take_branch, take_cell
from ssmbench.importers.parts import State, one_component, prefixed
from ssmbench.importers.weights import Weights
from ssmbench.options import POSITIVE, option
from ssmbench.registry import importers
from ssmbench.spec import Channels


@dataclass
class NeuralSSMImportConfig:
    """``cert_scale_temperature``: as in the published config; it matters to networks with a
    prescribed gain."""

    cert_scale_temperature: float = option(0.05, POSITIVE)


@importers.register(
    "neural-ssm",
    config=NeuralSSMImportConfig,
    citation="neural-ssm 0.44.0 (PyPI), ssm/layers.py, ssm/cells and static_layers; Massai, "
    "Zakwan, Ferrari-Trecate 2025, arXiv 2503.23818",
)
class NeuralSSMImporter(Importer):
    """DeepSSM of neural-ssm, with the cells lru, l2n or l2ru and the branches MLP, GLU or LGLU2.

    A block is ``z = x + a cell(x)``, ``y = z + b f(z)``: here the first half is a discrete-time
    system whose D contains the residual connection, and the second a ``residual_branch``. Of a
    network with a prescribed gain, encoder and decoder are imported as they act. What the cells
    declare is not taken over: their gains are verified.
    """

    mark = r"blocks\.0\.(ssm_res_logit|res_logit)"

    def read(self, weights: Weights) -> Imported:
        count = weights.numbered("blocks.")
        certified = weights.has("encoder_w")
        names = ("encoder_w", "decoder_w") if certified else ("encoder.weight", "decoder.weight")
        encoder = weights.take(names[0], "H", "inputs")
        decoder = weights.take(names[1], "outputs", "H")
        cells, branches, state = [], [], State()
        log_gain = torch.zeros((), dtype=torch.float64)
        for index in range(count):
            block = weights.under(f"blocks.{index}.")
            gates = [_gate(block, name) for name in ("ssm_res_logit", "ff_res_logit")]
            cell, branch = take_cell(block.under("lru.")), take_branch(block.under("ff."), gates[1])
            cells.append(cell.component)
            branches.append(branch.component)
            place = f"blocks.{index}."
            state |= prefixed(f"{place}layer.parametrization.", cell.with_skip(gates[0]))
            state |= prefixed(f"{place}nonlinearity.", branch.state)
            log_gain = log_gain + (_log_factor(weights, cell, branch, gates) if certified else 0)
        if certified:
            encoder, decoder = capped(encoder), capped(decoder) * self._scale(weights, log_gain)
        for end, weight in (("encoder", encoder), ("decoder", decoder)):
            state |= {f"{end}.weight": weight, f"{end}.bias": torch.zeros(len(weight)).double()}
        model = {
            "d_model": weights.size("H"),
            "n_layers": count,
            "parametrization": one_component(weights, cells, "cells"),
            "discretizer": None,
            "norm": "none",
            "nonlinearity": one_component(weights, branches, "static branches"),
            "mix": False,
            "residual": "none",
            "readout": "before",
        }
        reads, outputs = Channels(weights.size("inputs")), weights.size("outputs")
        return Imported(model, reads, outputs, state, per_step=True)

    def _scale(self, weights: Weights, log_gain: Tensor) -> Tensor:
        """The decoder's factor: a smooth form of min(1, gamma / the blocks' declared gain)."""
        excess = log_gain - weights.take("gamma_t").abs().log()
        tau = max(self.config.cert_scale_temperature, 1e-6)
        return torch.exp(-tau * F.softplus(excess / tau))

    @classmethod
    def example(cls) -> Mapping[str, np.ndarray]:
        random, N, H, hidden = np.random.default_rng(0), 3, 4, 5
        modulus = random.uniform(0.5, 0.95, N)

        def pairs(*shape: int) -> np.ndarray:
            return random.standard_normal(shape) + 1j * random.standard_normal(shape)

        block = {
            "lru.D": random.standard_normal((H, H)),
            "lru.nu_log": np.log(-np.log(modulus)),
            "lru.theta_log": np.log(random.uniform(0.1, 3.0, N)),
            "lru.gamma_log": np.log(np.sqrt(1 - modulus**2)),
            "lru.Bp": pairs(N, H),
            "lru.C": pairs(H, N),
            "ff.net.0.weight": random.standard_normal((hidden, H)) / 2,
            "ff.net.1.weight": random.standard_normal((hidden, hidden)) / 2,
            "ff.net.3.weight": random.standard_normal((H, hidden)) / 2,
            "ssm_res_logit": np.array(-1.0),
            "ff_res_logit": np.array(-1.0),
        }
        return {
            "encoder.weight": random.standard_normal((H, 2)),
            "decoder.weight": random.standard_normal((3, H)),
            **{f"blocks.0.{name}": array for name, array in block.items()},
        }


def _gate(block: Weights, name: str) -> Float[Tensor, " H"]:
    """A residual gate for each channel; one number stands for all, and earlier versions had one
    gate for both branches."""
    key = "res_logit" if block.has("res_logit") and not block.has(name) else name
    shape = block.shape(key)
    logit = block.take(key, *(("H",) if shape not in ((), (1,)) else shape))
    return torch.sigmoid(logit).expand(block.size("H"))


def _log_factor(weights: Weights, cell: Cell, branch: Branch, gates: list[Tensor]) -> Tensor:
    """log of the gain that a block declares."""
    if cell.gain is None or branch.lipschitz is None:
        raise UsageError(
            f"{weights.source}: a network with a prescribed gain (encoder_w), whose blocks have a "
            "cell or a branch without one; of these, l2n and l2ru with LGLU2 are imported"
        )
    return torch.log1p(gates[0].max() * cell.gain) + torch.log1p(gates[1].max() * branch.lipschitz)
