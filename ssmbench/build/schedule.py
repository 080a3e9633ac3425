"""The factor of the learning rates from step to step: warm-up, then decay."""

from __future__ import annotations

import math
from collections.abc import Callable

from ssmbench.optimizers.base import OptimizerConfig

#: The least factor of a warm-up over time, whose first step begins when no time has passed.
_LEAST_WARM_UP = 0.01


class Schedule:
    """Factor of the learning rates at each optimizer step: linear warm-up, then decay.

    Over steps, warm-up ends after ``warmup`` of the ``total`` steps, and the decay runs over the
    others. Over time (``total`` is None), both run over ``share``, the elapsed share of the run's
    budget, which the trainer sets before each step; a warm-up counted in steps is then a factor of
    its own.

    When a share s of the decay is over, the factor is, with f = ``final_fraction``,

    * cosine: f + (1 - f) (1 + cos(pi s)) / 2;
    * linear: f + (1 - f) (1 - s);
    * step: max(f, d^k), d = ``decay_factor``, k the whole part of s / ``decay_every``;
    * plateau: max(f, d^k), k the number of calls of :meth:`reduce`;
    * constant: 1.

    torch stores the attributes in a checkpoint, so they are plain numbers and text.
    """

    def __init__(self, config: OptimizerConfig, total: int | None):
        self.kind, self.final = config.schedule, config.final_fraction
        self.factor, self.every = config.decay_factor, config.decay_every
        #: How often a plateau lowered the rates.
        self.reductions = 0
        #: Elapsed share of the budget, from 0 to 1; it never falls.
        self.share = 0.0
        self.timed = total is None
        self.warmup_share = config.warmup_fraction if config.warmup_steps is None else 0.0
        self.warmup = config.warmup_steps or 0
        if config.warmup_steps is None and total is not None:
            self.warmup = max(1, round(config.warmup_fraction * total))
        self.decay = max(1, (total or 0) - self.warmup)

    def advance_to(self, share: float) -> None:
        """Note the elapsed share of the budget; the share so far if that is larger."""
        self.share = max(self.share, min(1.0, share))

    def reduce(self) -> None:
        """Lower the rates of the schedule ``plateau`` once more."""
        self.reductions += 1

    def __call__(self, step: int) -> float:
        rising = (step + 1) / self.warmup if step < self.warmup else None
        if self.timed:
            return (1.0 if rising is None else rising) * self._over_time()
        if rising is not None:
            return rising
        return self._decayed(min(1.0, (step - self.warmup) / self.decay))

    def _over_time(self) -> float:
        if self.share < self.warmup_share:
            return max(_LEAST_WARM_UP, self.share / self.warmup_share)
        rest = 1 - self.warmup_share
        return self._decayed((self.share - self.warmup_share) / rest if rest else 1.0)

    def _decayed(self, done: float) -> float:
        return _DECAYS[self.kind](self, done)

    def _cosine(self, done: float) -> float:
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * done)) / 2

    def _linear(self, done: float) -> float:
        return self.final + (1 - self.final) * (1 - done)

    def _step(self, done: float) -> float:
        stages = math.floor(done / self.every + 1e-9)  # 0.3 / 0.1 is less than 3 in floating point
        return max(self.final, self.factor**stages)

    def _plateau(self, done: float) -> float:
        return max(self.final, self.factor**self.reductions)

    def _constant(self, done: float) -> float:
        return 1.0


_DECAYS: dict[str, Callable[[Schedule, float], float]] = {
    "cosine": Schedule._cosine,
    "linear": Schedule._linear,
    "step": Schedule._step,
    "plateau": Schedule._plateau,
    "constant": Schedule._constant,
}
