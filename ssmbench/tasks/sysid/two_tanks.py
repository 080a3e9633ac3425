"""Two tanks that do not overflow: nonlinear, with proved bounds on the incremental gain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from ssmbench.errors import require
from ssmbench.options import POSITIVE, POSITIVE_COUNT, option
from ssmbench.registry import tasks
from ssmbench.tasks.sysid.record import Description, Experiments, Record, Signal
from ssmbench.tasks.sysid.simulated import KnownGain, Simulated, SimulatedConfig
from ssmbench.tasks.sysid.tanks_simulation import SAMPLE_TIME, Tanks, simulate


@dataclass
class TwoTanksConfig(SimulatedConfig):
    """The pump's range, and the records; lengths in samples of 4 s."""

    window: int = 256
    stride: int = 16
    washout: int = 64
    validation: int = 1024
    samples: int = option(8192, POSITIVE_COUNT)
    test_samples: int = option(4096, POSITIVE_COUNT)
    #: The lowest voltage of the pump, in V.
    lowest: float = option(1.0, POSITIVE)
    #: The highest voltage of the pump, in V; from 3.64 V on, the upper tank would overflow.
    highest: float = option(3.5, POSITIVE)
    #: Samples for which a voltage is kept.
    hold: int = option(25, POSITIVE_COUNT)


@tasks.register(
    "two_tanks",
    config=TwoTanksConfig,
    citation="simulation of this project; the tanks are those of M. Schoukens and J.P. Noel, "
    "IFAC-PapersOnLine 50(1), 2017, without overflow",
    summary="Two tanks, simulated: level of the lower one from the pump's voltage; with proved "
    "bounds on its incremental gain; RMSE in V",
)
class TwoTanks(Simulated):
    """One input, the pump's voltage, and one output, the level of the lower tank, both in volts.

    The tanks of ``cascaded_tanks`` (:class:`~ssmbench.tasks.sysid.tanks_simulation.Tanks`) without
    overflow, saturation and process noise. The voltage is drawn uniformly from ``lowest`` to
    ``highest`` and kept for ``hold`` samples; both records start in equilibrium with their mean.
    """

    config: TwoTanksConfig
    tanks = Tanks()

    def __init__(self, config: TwoTanksConfig, *, batch_size: int, seed: int):
        self.description = Description(
            "two_tanks",
            inputs=[Signal("the pump's voltage", "V")],
            outputs=[Signal("the lower tank's level", "V")],
            sampling_time=SAMPLE_TIME,
            samples=config.samples,
        )
        super().__init__(config, batch_size=batch_size, seed=seed)

    def check(self) -> None:
        """Refuse a range in which a tank overflows, for which no gain is known. Raises
        UsageError."""
        super().check()
        low, high = self.config.lowest, self.config.highest
        require(low < high, f"two_tanks: lowest {low} must be below highest {high}")
        upper, lower = equilibrium(self.tanks, high)
        fits = upper < self.tanks.upper_height and lower < self.tanks.lower_height
        require(fits, f"two_tanks: highest {high} V makes a tank overflow: choose less than 3.64 V")

    @cached_property
    def known_gain(self) -> KnownGain:
        """Of two inputs in the range of the pump's voltage: :func:`incremental_gain`."""
        return incremental_gain(self.tanks, self.config.lowest, self.config.highest)

    @classmethod
    def tiny(cls, folder: Path) -> dict[str, Any]:
        """Short records."""
        lengths = {"window": 50, "stride": 10, "washout": 5, "validation": 100}
        return {"samples": 400, "test_samples": 200, "hold": 5} | lengths

    def experiments(self) -> Experiments:
        random = np.random.default_rng(self.config.simulation_seed)
        lengths = self.config.samples, self.config.test_samples
        estimation, test = (self.record(length, random) for length in lengths)
        return Experiments(estimation, test)

    def record(self, length: int, random: np.random.Generator) -> Record:
        """From the equilibrium of the middle voltage, under random levels of it."""
        config = self.config
        levels = random.uniform(config.lowest, config.highest, size=-(-length // config.hold))
        u = np.repeat(levels, config.hold)[:length]
        start = equilibrium(self.tanks, (config.lowest + config.highest) / 2)

        def lower_level() -> Float64[np.ndarray, " L"]:
            return simulate(self.tanks, u, start)[:, 1]

        return self.measured(u, self.kept(u, {"start": start}, lower_level), random)


def equilibrium(tanks: Tanks, u: float) -> tuple[float, float]:
    """The levels in V of both tanks at a constant voltage, without overflow."""
    root = tanks.pump * u / tanks.upper_out
    return root**2, (tanks.lower_in * root / tanks.lower_out) ** 2


def incremental_gain(tanks: Tanks, lowest: float, highest: float) -> KnownGain:
    """Bounds on the l2 gain between differences of two voltages in [lowest, highest] and of the
    sampled levels of the lower tank, from one initial state between the equilibria; in V/V.

    With d for differences, w = upper_out sqrt(x1) and r = lower_in/upper_out:

        d1' = pump du - dw,  dw = alpha d1;    d2' = r dw - beta d2,

    where alpha = upper_out/(sqrt(x1) + sqrt(~x1)) and beta likewise. Levels stay between the
    equilibria, whose roots are proportional to u, so that alpha and beta lie in known ranges
    [a, A] and [b, B], with A/a = B/b = highest/lowest. The storage functions (a + A) d1^2/2 and
    d2^2/2 prove ||dw|| <= pump g ||du|| with g = (a + A)/(2 sqrt(a A)), and ||d2|| <= r/b ||dw||.

    Samples T apart: T sum d2_k^2 <= ||d2||^2 + T ||d2|| ||d2'|| by the error of the trapezoidal
    rule, and ||d2'|| <= r ||dw|| + B ||d2||.

    Below: the tanks at rest near ``highest``, where the gain of slow, small changes is the slope of
    the equilibrium.
    """
    ratio = highest / lowest
    root = math.sqrt(equilibrium(tanks, highest)[1])
    slowest = tanks.lower_out / (2 * root)  # b
    flow = tanks.lower_in / tanks.upper_out * tanks.pump * (1 + ratio) / (2 * math.sqrt(ratio))
    level, rate = flow / slowest, flow * (1 + ratio)
    most = math.sqrt(level**2 + SAMPLE_TIME * level * rate)
    return KnownGain(2 * root**2 / highest, most, incremental=True, unit="V/V")
