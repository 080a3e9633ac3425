"""The Duffing oscillator: a mass on a spring that hardens, with proved bounds on its gain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from ssmbench.analysis.hinf import hinf_norm
from ssmbench.errors import UsageError
from ssmbench.options import NOT_NEGATIVE, POSITIVE, option
from ssmbench.registry import tasks
from ssmbench.tasks.sysid.mass_chain import MassChainConfig, chain
from ssmbench.tasks.sysid.record import Description, Experiments, Record, Signal
from ssmbench.tasks.sysid.simulated import KnownGain, Simulated, SimulatedConfig

#: The largest change of the positions, relative to their deviation, when the steps are halved.
TOLERANCE = 1e-6
_FEWEST, _MOST = 4, 256


@dataclass
class DuffingConfig(SimulatedConfig):
    """The oscillator of 1 kg, its sampling and its records; lengths in samples."""

    window: int = 512
    stride: int = 64
    washout: int = 128
    validation: int = 2048
    #: Of the spring at rest, in N/m.
    stiffness: float = option(1.0, POSITIVE)
    #: Of the spring's cubic part, in N/m^3; 0 for a linear spring.
    cubic_stiffness: float = option(1.0, NOT_NEGATIVE)
    #: In N s/m.
    damping: float = option(0.2, POSITIVE)
    #: In seconds; the force is constant in between.
    sampling_time: float = option(0.1, POSITIVE)
    #: Standard deviation of the force, in N.
    amplitude: float = option(1.0, POSITIVE)


@tasks.register(
    "duffing",
    config=DuffingConfig,
    citation="G. Duffing, Erzwungene Schwingungen bei veraenderlicher Eigenfrequenz, Vieweg, 1918; "
    "simulation of this project",
    summary="Duffing oscillator, simulated: position of a mass on a hardening spring from the "
    "force; with proved bounds on its gain; RMSE in m",
)
class Duffing(Simulated):
    """q'' + damping q' + stiffness q + cubic_stiffness q^3 = u, from rest.

    One input, the force u in N, white and constant between samples, and one output, the position q
    in m. ``twice the amplitude`` is a further test record, whose force is twice as large.
    """

    config: DuffingConfig

    def __init__(self, config: DuffingConfig, *, batch_size: int, seed: int):
        self.description = Description(
            "duffing",
            inputs=[Signal("the force", "N")],
            outputs=[Signal("the position", "m")],
            sampling_time=config.sampling_time,
            samples=config.samples,
        )
        super().__init__(config, batch_size=batch_size, seed=seed)

    @cached_property
    def known_gain(self) -> KnownGain:
        """From that of the linear oscillator to :func:`gain_bound`.

        Small forces see the linear oscillator, so that the gain is not below its H-infinity norm.
        An incremental gain is not known: where a force has two steady responses, the smallest
        difference of two forces decides between them.
        """
        config = self.config
        linear = MassChainConfig(
            masses=1,
            stiffness=config.stiffness,
            damping=config.damping,
            sampling_time=config.sampling_time,
        )
        least = float(hinf_norm(chain(linear)).norm[0])
        return KnownGain(least, gain_bound(config), incremental=False, unit="m/N")

    @classmethod
    def tiny(cls, folder: Path) -> dict[str, Any]:
        """Short records."""
        lengths = {"window": 50, "stride": 10, "washout": 5, "validation": 100}
        return {"samples": 400, "test_samples": 200} | lengths

    def experiments(self) -> Experiments:
        """Raises UsageError where the motion cannot be computed accurately."""
        config, random = self.config, np.random.default_rng(self.config.simulation_seed)
        estimation, test, twice = (
            self._record(amplitude, length, random)
            for amplitude, length in (
                (config.amplitude, config.samples),
                (config.amplitude, config.test_samples),
                (2 * config.amplitude, config.test_samples),
            )
        )
        return Experiments(estimation, test, {"twice the amplitude": twice})

    def record(self, length: int, random: np.random.Generator) -> Record:
        """From rest, under white force of the amplitude that is trained on."""
        return self._record(self.config.amplitude, length, random)

    def _record(self, amplitude: float, length: int, random: np.random.Generator) -> Record:
        u = amplitude * random.standard_normal(length)
        names = ("stiffness", "cubic_stiffness", "damping", "sampling_time")
        constants = {name: getattr(self.config, name) for name in names}
        return self.measured(u, self.kept(u, constants, lambda: positions(self.config, u)), random)


def gain_bound(config: DuffingConfig) -> float:
    """A bound on the l2 gain from the force to the sampled position from rest, in m/N.

    With k, c and h for stiffness, damping and cubic stiffness, the storage function
    V = v^2/2 + k q^2/2 + h q^4/4 + e (q v + c q^2/2) with e = c/2 is not negative, and
    V' = u v - (c - e) v^2 + e q u - e k q^2 - e h q^4. For every h >= 0, V' <= s u^2 - r q^2 where
    s = 1/(4 (c - e)) + e^2/(4 (e k - r)), by completing squares; the best r in (0, e k) gives
    ||q|| <= g ||u||, g = sqrt(1/(k c^2) + 1/(4 k^2)) + 1/(2 k). With e = 0, ||v|| <= ||u||/c.
    Source of the method: J.C. Willems, Dissipative dynamical systems, Arch. Rational Mech. Anal.
    45, 1972.

    Samples T apart: the trapezoidal rule for q^2 has an error below T ||q|| ||v||, as (q^2)' = 2 q
    v, so that T sum q_k^2 <= (g^2 + T g/c) ||u||^2, and ||u||^2 = T sum u_k^2.
    """
    k, c = config.stiffness, config.damping
    g = math.sqrt(1 / (k * c**2) + 1 / (4 * k**2)) + 1 / (2 * k)
    return math.sqrt(g**2 + config.sampling_time * g / c)


def positions(config: DuffingConfig, u: Float64[np.ndarray, " L"]) -> Float64[np.ndarray, " L"]:
    """The positions at the samples in m, accurate to TOLERANCE: steps are halved until this
    changes them by less.

    Raises:
        UsageError: they would have to be shorter than 1/256 of the sampling time.
    """
    substeps = _FEWEST
    coarse = runge_kutta(config, u, substeps)
    while substeps < _MOST:
        substeps *= 2
        fine = runge_kutta(config, u, substeps)
        if np.abs(fine - coarse).max() <= TOLERANCE * fine.std():
            return fine
        coarse = fine
    raise UsageError(
        f"duffing: {_MOST} steps in a sample do not give the motion to {TOLERANCE:g}: it is too "
        "fast or chaotic; choose a shorter sampling_time, a smaller amplitude, or more damping"
    )


def runge_kutta(
    config: DuffingConfig, u: Float64[np.ndarray, " L"], substeps: int
) -> Float64[np.ndarray, " L"]:
    """The positions at the samples by the classical method with so many steps in each."""
    k, cubic, c = config.stiffness, config.cubic_stiffness, config.damping
    h = config.sampling_time / substeps
    q = v = 0.0
    found = np.empty(len(u))
    for sample, force in enumerate(u.tolist()):
        found[sample] = q
        for _ in range(substeps):
            a1 = force - c * v - (k + cubic * q * q) * q
            q2, v2 = q + h / 2 * v, v + h / 2 * a1
            a2 = force - c * v2 - (k + cubic * q2 * q2) * q2
            q3, v3 = q + h / 2 * v2, v + h / 2 * a2
            a3 = force - c * v3 - (k + cubic * q3 * q3) * q3
            q4, v4 = q + h * v3, v + h * a3
            a4 = force - c * v4 - (k + cubic * q4 * q4) * q4
            q += h / 6 * (v + 2 * v2 + 2 * v3 + v4)
            v += h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
    return found
