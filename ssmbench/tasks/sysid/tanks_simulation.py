"""A simulation of the cascaded tanks, in place of the published measurements."""

from __future__ import annotations

import copy
import functools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ssmbench.tasks.sysid.record import Record

#: Samples of each record, and seconds between them, as published.
SAMPLES = 1024
SAMPLE_TIME = 4.0


@dataclass(frozen=True)
class Tanks:
    """Constants of two tanks whose levels are in volts; rates in V/s.

    Upper tank: x1' = pump u - upper_out sqrt(x1). Lower: x2' = lower_in sqrt(x1) - lower_out
    sqrt(x2) + spill o, where o is the rate at which a full upper tank overflows. What the lower
    tank spills is lost. The values are rounded from a fit to the published records.
    """

    pump: float = 0.039
    upper_out: float = 0.044
    lower_in: float = 0.052
    lower_out: float = 0.051
    spill: float = 1.5
    upper_height: float = 10.4
    lower_height: float = 11.1

    def rates(self, upper: float, lower: float, u: float) -> tuple[float, float]:
        """(x1', x2') in V/s for levels and pump voltage in V."""
        root = math.sqrt(max(upper, 0.0))
        net = self.pump * u - self.upper_out * root
        overflow = net if upper >= self.upper_height and net > 0.0 else 0.0
        into_lower = self.lower_in * root + self.spill * overflow
        net_lower = into_lower - self.lower_out * math.sqrt(max(lower, 0.0))
        if lower >= self.lower_height:
            net_lower = min(net_lower, 0.0)
        return net - overflow, net_lower


# Spectrum of the published inputs, exact to three digits: sines at every multiple of 1/4096 Hz.
MEAN_INPUT = 2.8
STRONG_LINES, STRONG_AMPLITUDE = 19, 0.321
ALL_LINES, WEAK_AMPLITUDE = 59, 0.0321
# Number of random phase vectors, of which the one with the largest sum of maximum and minimum is
# taken: few random phases make the tanks overflow, as the published inputs do.
PHASE_DRAWS = 100
# The level sensor reads zero at this level of the lower tank, and saturates at its limit.
SENSOR_ZERO = 1.0
SENSOR_LIMIT = 10.0
# About 40 dB below the levels' deviation of 2.1 V, as in the published records.
MEASUREMENT_NOISE = 0.02
# Standard deviation of the disturbance of the levels' rates, V/s, constant between samples.
PROCESS_NOISE = 0.001
SUBSTEPS = 8


def simulated_records(seed: int) -> tuple[Record, Record]:
    """Estimation and test records of 1,024 samples at 4 s, which depend only on ``seed``.

    As in the published experiment, both start from the same initial state, which is not given, and
    the level sensor saturates at 10 V.
    """
    return copy.deepcopy(_records(seed))  # to be changed as one likes


@functools.lru_cache(maxsize=4)  # a second each
def _records(seed: int) -> tuple[Record, Record]:
    random = np.random.default_rng(seed)
    start = _levels(random)
    estimation, test = (_experiment(random, start) for _ in range(2))
    return estimation, test


def longer_record(seed: int, periods: int) -> Record:
    """A test record of so many multisines one after another, from the initial state of
    :func:`simulated_records`."""
    start = _levels(np.random.default_rng(seed))
    return _experiment(np.random.default_rng((seed, periods)), start, periods)


def _levels(random: np.random.Generator) -> tuple[float, float]:
    upper, lower = random.uniform(5.0, 7.0, size=2)
    return upper, lower


def _experiment(
    random: np.random.Generator, start: tuple[float, float], periods: int = 1
) -> Record:
    u = np.concatenate([_multisine(random) for _ in range(periods)])
    disturbance = PROCESS_NOISE * random.standard_normal((len(u), 2))
    tanks = Tanks()
    level = simulate(tanks, u, start, disturbance)[:, 1]
    measured = level - SENSOR_ZERO + MEASUREMENT_NOISE * random.standard_normal(len(u))
    return Record.single(u, np.clip(measured, 0.0, SENSOR_LIMIT))


def _multisine(random: np.random.Generator) -> Float64[np.ndarray, " L"]:
    """Pump voltage: mean 2.8 V, deviation 1 V, random phases, lines from 1/4096 to 0.0144 Hz."""
    line = np.arange(1, ALL_LINES + 1)
    amplitude = np.where(line <= STRONG_LINES, STRONG_AMPLITUDE, WEAK_AMPLITUDE)
    phase = random.uniform(0.0, 2 * np.pi, size=(PHASE_DRAWS, ALL_LINES))
    spectrum = np.zeros((PHASE_DRAWS, SAMPLES // 2 + 1), dtype=complex)
    spectrum[:, 0] = MEAN_INPUT * SAMPLES
    spectrum[:, line] = amplitude * np.exp(1j * phase) * SAMPLES / 2
    draws = np.fft.irfft(spectrum, n=SAMPLES)
    u = draws[np.argmax(draws.max(axis=1) + draws.min(axis=1))]
    # A pump does not run backwards.
    return np.maximum(u, 0.0)


def simulate(
    tanks: Tanks,
    u: Float64[np.ndarray, " L"],
    start: tuple[float, float],
    disturbance: Float64[np.ndarray, "L 2"] | None = None,
) -> Float64[np.ndarray, "L 2"]:
    """Levels of both tanks in V at the samples, by Runge-Kutta 4 with a zero-order hold.

    ``u`` in V every 4 s; ``start``: the levels at the first sample; ``disturbance`` in V/s is
    added to the rates (None: zero). Source: Schoukens and Noel 2017, section on the tanks.
    """
    shift = np.zeros((len(u), 2)) if disturbance is None else disturbance
    levels = np.empty((len(u), 2))
    state = start
    for k, (voltage, added) in enumerate(zip(u.tolist(), shift.tolist(), strict=True)):
        levels[k] = state
        for _ in range(SUBSTEPS):
            state = _substep(tanks, state, voltage, added)
    return levels


def _substep(
    tanks: Tanks, state: tuple[float, float], u: float, added: list[float]
) -> tuple[float, float]:
    h = SAMPLE_TIME / SUBSTEPS
    rates: list[tuple[float, float]] = []
    for step in (0.0, h / 2, h / 2, h):
        slope = rates[-1] if rates else (0.0, 0.0)
        rate = tanks.rates(state[0] + step * slope[0], state[1] + step * slope[1], u)
        rates.append((rate[0] + added[0], rate[1] + added[1]))
    means = ((a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(*rates, strict=True))
    heights = tanks.upper_height, tanks.lower_height
    upper, lower = (
        min(max(level + h * mean, 0.0), height)
        for level, mean, height in zip(state, means, heights, strict=True)
    )
    return upper, lower
