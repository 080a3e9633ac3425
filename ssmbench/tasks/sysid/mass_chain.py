"""A chain of masses, springs and dampers: linear, so that its gain is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from ssmbench.analysis.hinf import hinf_norm
from ssmbench.options import POSITIVE, POSITIVE_COUNT, Allowed, option
from ssmbench.registry import tasks
from ssmbench.systems import DiscreteDense
from ssmbench.tasks.sysid.record import Description, Experiments, Record, Signal
from ssmbench.tasks.sysid.simulated import KnownGain, Simulated, SimulatedConfig

_MASSES = (POSITIVE_COUNT[0], Allowed("at most 1000", lambda v: v <= 1000))


@dataclass
class MassChainConfig(SimulatedConfig):
    """The chain, its sampling and its records; lengths in samples."""

    window: int = 512
    stride: int = 64
    washout: int = 64
    validation: int = 2048
    #: Number of masses of 1 kg.
    masses: int = option(4, _MASSES)
    #: Of the springs, one between each mass and the next, and one to the wall, in N/m.
    stiffness: float = option(1.0, POSITIVE)
    #: Of the dampers beside the springs, in N s/m.
    damping: float = option(0.1, POSITIVE)
    #: In seconds; the force is constant in between.
    sampling_time: float = option(0.5, POSITIVE)


@tasks.register(
    "mass_chain",
    config=MassChainConfig,
    citation="simulation of this project",
    summary="Mass-spring-damper chain, simulated: position of the last mass from the force on it; "
    "linear, with a known gain; RMSE in m",
)
class MassChain(Simulated):
    """One input, the force on the last mass in N, white with unit deviation and constant between
    samples, and one output, the position of that mass in m, from rest.

    The first mass is tied to the wall. The discrete system is exact, so that its l2 gain
    (:attr:`true_gain`) is known, and a model's can be compared with it.
    """

    config: MassChainConfig

    def __init__(self, config: MassChainConfig, *, batch_size: int, seed: int):
        self.description = Description(
            "mass_chain",
            inputs=[Signal("the force", "N")],
            outputs=[Signal("the position", "m")],
            sampling_time=config.sampling_time,
            samples=config.samples,
        )
        super().__init__(config, batch_size=batch_size, seed=seed)

    @cached_property
    def system(self) -> DiscreteDense:
        """Force to position, one head of 2 x masses states, in physical units."""
        return chain(self.config)

    @cached_property
    def true_gain(self) -> float:
        """The l2 gain (H-infinity norm) in m/N."""
        return float(hinf_norm(self.system).norm[0])

    @property
    def known_gain(self) -> KnownGain:
        """The H-infinity norm; the system is linear, so that differences have it too."""
        return KnownGain(self.true_gain, self.true_gain, incremental=False, unit="m/N")

    @property
    def true_normalised_gain(self) -> float:
        """The l2 gain between a model's normalised input and output. Loads the data."""
        return self.normalised_gain.most

    @classmethod
    def tiny(cls, folder: Path) -> dict[str, Any]:
        """Two masses and short records."""
        lengths = {"window": 50, "stride": 10, "washout": 5, "validation": 100}
        return {"masses": 2, "samples": 400, "test_samples": 200} | lengths

    def experiments(self) -> Experiments:
        random = np.random.default_rng(self.config.simulation_seed)
        lengths = self.config.samples, self.config.test_samples
        estimation, test = (self.record(length, random) for length in lengths)
        return Experiments(estimation, test)

    def record(self, length: int, random: np.random.Generator) -> Record:
        """From rest, under white force."""
        u = random.standard_normal(length)
        return self.measured(u, respond(self.system, u), random)


def chain(config: MassChainConfig) -> DiscreteDense:
    """The chain, sampled with a zero-order hold; float64."""
    from scipy.signal import cont2discrete

    n = config.masses
    # Each mass is pulled towards its neighbours; the last has only one, and the first the wall.
    coupling = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    coupling[-1, -1] = 1.0
    A = np.block(
        [[np.zeros((n, n)), np.eye(n)], [-config.stiffness * coupling, -config.damping * coupling]]
    )
    B, C = np.zeros((2 * n, 1)), np.zeros((1, 2 * n))
    B[-1, 0] = C[0, n - 1] = 1.0
    sampled: Any = cont2discrete((A, B, C, np.zeros((1, 1))), config.sampling_time, method="zoh")
    A, B, C, D = (torch.from_numpy(np.asarray(part))[None] for part in sampled[:4])
    return DiscreteDense(A=A, B=B, C=C, D=D)


def respond(system: DiscreteDense, u: Float64[np.ndarray, " L"]) -> Float64[np.ndarray, " L"]:
    """The output from rest, step by step."""
    A, B, C, D = (part[0].numpy() for part in (system.A, system.B, system.C, system.D))
    x, y = np.zeros(len(A)), np.empty(len(u))
    for k, force in enumerate(u.tolist()):
        y[k] = C[0] @ x + D[0, 0] * force
        x = A @ x + B[:, 0] * force
    return y
