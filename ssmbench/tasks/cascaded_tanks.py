"""The Cascaded Tanks benchmark: from a pump's voltage to the level of the lower of two tanks.

The published measurements are read where a data folder is given; otherwise a simulation of the
same tanks, overflow included, stands in for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.functional import mse_loss
from torchmetrics import MeanSquaredError, MetricCollection

from ssmbench.errors import UsageError
from ssmbench.options import FOLDER, SEED, option
from ssmbench.registry import tasks
from ssmbench.spec import Channels, TaskSizes
from ssmbench.tasks.base import Task
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.data import DATA_VARIABLE, find_data, read_columns
from ssmbench.tasks.sequences import Sequences, Splits

SAMPLES = 1024
SAMPLE_TIME = 4.0
FILES = ("sysid/dataBenchmark.csv", "dataBenchmark.csv")
COLUMNS = ("uEst", "yEst", "uVal", "yVal")


class Records(Enum):
    """Which records: ``auto`` takes the published ones where a data folder is given."""

    auto = "auto"
    published = "published"
    simulation = "simulation"


@dataclass
class CascadedTanksConfig:
    """Where the records come from and how the estimation record is cut; lengths in samples.

    ``records``, ``data_dir``: folder with the published file (else SSMBENCH_DATA).
    ``window``, ``stride``: of the training sequences. ``washout``: steps at a training sequence's
    start that are not scored, since its initial state is unknown. ``validation``: the estimation
    record's last samples, held out; with ``refit`` they are trained on too, and validation only
    chooses among weights that have seen it. ``input_noise``: standard deviation of white noise
    on the training inputs, in units of theirs. ``simulation_seed``: of simulated records only.
    """

    records: Records = Records.auto
    data_dir: str | None = option(None, FOLDER)
    window: int = 256
    stride: int = 4
    washout: int = 32
    validation: int = 256
    refit: bool = False
    input_noise: float = 0.0
    # Both records overflow with this seed, the estimation record twice before its held-out end.
    simulation_seed: int = option(2, SEED)

    def resolve_auto(self) -> None:
        """Decide what ``auto`` means here, so that a run's name tells which data it saw.

        Raises:
            UsageError: published records are asked for, or a folder is given, without the file.
        """
        if self.records is Records.auto:
            found = find_data(self.data_dir, *FILES)
            self.records = Records.published if found else Records.simulation
        elif self.records is Records.published and find_data(self.data_dir, *FILES) is None:
            raise UsageError(
                "cascaded_tanks: records=published needs the data folder: set data_dir or"
                f" {DATA_VARIABLE} to one that holds {FILES[0]}"
            )


@tasks.register(
    "cascaded_tanks",
    config=CascadedTanksConfig,
    citation=(
        "M. Schoukens and J.P. Noel, Three benchmarks addressing open challenges in nonlinear"
        " system identification, IFAC-PapersOnLine 50(1), 2017; nonlinearbenchmark.org"
    ),
    summary="Level of the lower of two overflowing tanks from the pump's voltage; RMSE in volts",
)
class CascadedTanks(Task):
    """u (B, L, 1) float32 and target (B, S, 1) float32, the level at the *last* S <= L steps.

    Both are normalised by the training part. Steps before the last S are washout: they warm the
    model up and are not scored. Training: windows. Validation: the whole estimation record, of
    which the held-out end is scored. Test: the whole validation record from an unknown initial
    state, all of it scored, as the benchmark prescribes.
    """

    score = "rmse"
    higher_is_better = False
    unit = "V"

    config: CascadedTanksConfig
    _level_scale: Scale

    def check(self) -> None:
        """Refuse settings that no data can satisfy. Raises UsageError."""
        _check(self.config)

    @property
    def sizes(self) -> TaskSizes:
        """One channel in, one out at every step; the length is that of a training window."""
        return TaskSizes(Channels(1), outputs=1, length=self.config.window, per_step=True)

    @property
    def source(self) -> str:
        """Where the data come from. Raises UsageError where :meth:`load` would not find them."""
        return "simulation" if self._file() is None else "published CSV"

    def data_files(self) -> tuple[Path, ...]:
        """The published file; none of a simulation."""
        file = self._file()
        return () if file is None else (file,)

    def _file(self) -> Path | None:
        if self.config.records is Records.simulation:
            return None
        return find_data(self.config.data_dir, *FILES)

    def load(self) -> Splits:
        """Both records, cut and normalised.

        Raises:
            UsageError: the data folder or its file is not right, or lengths do not fit the record.
        """
        config = self.config
        estimation, validation = self._records()
        held_out = SAMPLES - config.validation
        training_end = SAMPLES if config.refit else held_out
        self._level_scale = Scale.of(estimation.y[:training_end])
        scales = Scale.of(estimation.u[:training_end]), self._level_scale
        u, y = _normalised(estimation, scales)
        test_u, test_y = _normalised(validation, scales)
        starts = range(0, training_end - config.window + 1, config.stride)
        windows = torch.tensor(starts)[:, None] + torch.arange(config.window)
        return Splits(
            train=Sequences(u[windows], y[windows[:, config.washout :]]),
            val=Sequences(u[None], y[None, held_out:]),
            test=Sequences(test_u[None], test_y[None]),
        )

    def augment(self, batch: Batch) -> Batch:
        """The pump's voltage with white noise: a record this short invites learning it by heart."""
        noise = self.config.input_noise
        return batch._replace(u=batch.u + noise * torch.randn_like(batch.u)) if noise else batch

    def _records(self) -> tuple[Record, Record]:
        file = self._file()
        if file is None:
            return simulated_records(self.config.simulation_seed)
        u_est, y_est, u_val, y_val = read_columns(file, COLUMNS, SAMPLES).T
        return Record(u_est, y_est), Record(u_val, y_val)

    def loss(
        self, prediction: Float[Tensor, "n 1"], target: Float[Tensor, "n 1"]
    ) -> Float[Tensor, ""]:
        """Mean squared error of the scored steps, in normalised units."""
        return mse_loss(prediction, target)

    def metrics(self) -> MetricCollection:
        """The root mean square error over all scored steps."""
        return MetricCollection({"rmse": MeanSquaredError(squared=False)})

    def to_metric(
        self, prediction: Float[Tensor, "n 1"], target: Float[Tensor, "n 1"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """The scored steps of all sequences, in volts."""
        self.setup()
        return self._in_volts(prediction), self._in_volts(target)

    def _in_volts(self, level: Tensor) -> Tensor:
        # Half precision would round volts to hundredths, near the score of a good model.
        return level.float().flatten() * self._level_scale.deviation + self._level_scale.mean


def _check(config: CascadedTanksConfig) -> None:
    longest = SAMPLES - (0 if config.refit else config.validation)
    rules = {
        f"validation must be in 1..{SAMPLES - 1}": 1 <= config.validation < SAMPLES,
        f"window must be in 1..{longest}, the samples trained on": 1 <= config.window <= longest,
        "washout must be in 0..window - 1": 0 <= config.washout < config.window,
        "stride must be at least 1": config.stride >= 1,
        "input_noise must be finite and not negative": 0 <= config.input_noise < math.inf,
        "simulation_seed must not be negative": config.simulation_seed >= 0,
    }
    for rule, kept in rules.items():
        if not kept:
            raise UsageError(f"cascaded_tanks: {rule} ({config})")


@dataclass(frozen=True)
class Record:
    """One experiment: pump voltage u (L,) and measured level y (L,), in volts, float64."""

    u: Float64[np.ndarray, " L"]
    y: Float64[np.ndarray, " L"]


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation, in volts."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, signal: Float64[np.ndarray, " L"]) -> Scale:
        """Those of a signal.

        Raises:
            UsageError: the signal is constant, so that nothing can be learned from it.
        """
        deviation = float(signal.std())
        if deviation == 0.0:
            raise UsageError("cascaded_tanks: a signal is constant over the training part")
        return cls(float(signal.mean()), deviation)

    def apply(self, signal: Float64[np.ndarray, " L"]) -> Float[Tensor, "L 1"]:
        """The signal with zero mean and unit deviation, float32."""
        return torch.from_numpy((signal - self.mean) / self.deviation).float().unsqueeze(-1)


def _normalised(record: Record, scales: tuple[Scale, Scale]) -> tuple[Tensor, Tensor]:
    return scales[0].apply(record.u), scales[1].apply(record.y)


# --- simulation -----------------------------------------------------------------------------------


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
# Draws of the phases, of which the one with the highest peaks and shallowest troughs is taken: the
# published inputs are so, and one draw in many makes the tanks overflow.
PHASE_DRAWS = 100
# The level sensor reads zero with the lower tank this high, and no more than its limit.
SENSOR_ZERO = 1.0
SENSOR_LIMIT = 10.0
# About 40 dB below the levels' deviation of 2.1 V, as in the published records.
MEASUREMENT_NOISE = 0.02
# Disturbance of the levels' rates, V/s, held for a sample.
PROCESS_NOISE = 0.001
SUBSTEPS = 8


def simulated_records(seed: int) -> tuple[Record, Record]:
    """Estimation and validation records of 1,024 samples at 4 s, a function of ``seed`` alone.

    As in the published experiment both start from one initial state, which is not given, and the
    level sensor saturates at 10 V.
    """
    random = np.random.default_rng(seed)
    start = tuple(random.uniform(5.0, 7.0, size=2))
    estimation, validation = (_experiment(random, start) for _ in range(2))
    return estimation, validation


def _experiment(random: np.random.Generator, start: tuple[float, float]) -> Record:
    u = _multisine(random)
    disturbance = PROCESS_NOISE * random.standard_normal((SAMPLES, 2))
    tanks = Tanks()
    level = simulate(tanks, u, start, disturbance)[:, 1]
    measured = level - SENSOR_ZERO + MEASUREMENT_NOISE * random.standard_normal(SAMPLES)
    return Record(u, np.clip(measured, 0.0, SENSOR_LIMIT))


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
    """Levels of both tanks in V at the samples, by Runge-Kutta 4 with the input held.

    ``u`` in V every 4 s; ``start`` the levels at the first sample; ``disturbance`` in V/s is
    added to the rates (none where None). Source: Schoukens and Noel 2017, section on the tanks.
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
