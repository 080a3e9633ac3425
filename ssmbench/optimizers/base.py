"""What an optimizer is: a ``torch.optim.Optimizer`` built as ``factory(config, groups=...)``.

``groups`` are torch's parameter groups, each with ``lr`` and ``weight_decay``; the schedule changes
``lr`` from step to step, so a step must read it from its group. What a step needs to remember
stands in ``state`` and ``param_groups``, so that a resumed run goes on as if it had not stopped.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ssmbench.errors import UsageError, require
from ssmbench.options import COUNT, FRACTION, NOT_NEGATIVE, POSITIVE, Allowed, one_of, option

#: Evaluates the loss at the present parameters and leaves its gradient in them.
Closure = Callable[[], Tensor]

#: How learning rates fall after the warm-up.
SCHEDULES = ("cosine", "linear", "step", "plateau", "constant")


def _is_groups(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_group, value))


def _is_group(value: Any) -> bool:
    if not (isinstance(value, Mapping) and isinstance(value.get("pattern"), str)):
        return False
    numbers = {key: number for key, number in value.items() if key != "pattern"}
    valid = (type(number) in (int, float) and number >= 0 for number in numbers.values())
    return bool(numbers) and set(numbers) <= {"lr", "weight_decay"} and all(valid)


GROUPS = Allowed(
    "a list of mappings with a pattern, and lr or weight_decay or both, none of them negative",
    _is_groups,
)


@dataclass
class OptimizerConfig:
    """What every optimizer has: SSM parameters have a learning rate of their own and no weight
    decay.

    An optimizer with options of its own derives its config from this one.
    """

    #: Learning rate of all parameters but those of the parametrizations.
    lr: float = option(4e-3, NOT_NEGATIVE)
    #: Learning rate of the parametrizations' parameters.
    ssm_lr: float = option(1e-3, NOT_NEGATIVE)
    #: Of the parameters with the rate lr.
    weight_decay: float = option(0.01, NOT_NEGATIVE)
    #: Share of the steps, or of a budget of time, over which both rates rise linearly.
    warmup_fraction: float = option(0.1, FRACTION)
    #: Share of the rates below which they do not fall; a cosine and a line end there.
    final_fraction: float = option(0.01, FRACTION)
    #: How the rates fall after the warm-up; by stages every decay_every, or where the validation
    #: score stays as it is (plateau).
    schedule: str = option("cosine", one_of(*SCHEDULES), added=2)
    #: Steps of the warm-up, in place of warmup_fraction.
    warmup_steps: int | None = option(None, COUNT, added=2)
    #: Share of what follows the warm-up after which the rates of the schedule step fall again.
    decay_every: float = option(0.25, (POSITIVE, FRACTION), added=2)
    #: Factor by which the rates of the schedules step and plateau fall each time.
    decay_factor: float = option(0.1, (POSITIVE, FRACTION), added=2)
    #: Validations in a row without a better score that the schedule plateau accepts.
    plateau_patience: int = option(5, COUNT, added=2)
    #: Parameters with a learning rate or weight decay of their own, by patterns of their names; the
    #: last entry that matches counts: [{pattern: "*.log_dt", lr: 0.001, weight_decay: 0}].
    groups: Any = option(None, GROUPS, added=2)  # noqa: RUF009 - null cannot be changed


class ClosureOptimizer(torch.optim.Optimizer):
    """An optimizer that evaluates the loss and its gradient several times in one step.

    Every evaluation of a step is of the same batch, with the same dropout.

    Raises:
        UsageError: :meth:`step` is called without a closure, as under ``precision: 16-mixed``.
    """

    #: Whether what it does depends on the loss itself, which differs from rank to rank.
    one_process: ClassVar[bool] = False

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> float:
        """One step; the loss from before it."""
        if closure is None:
            raise UsageError(
                f"optimizer: {type(self).__name__} evaluates the loss several times per step, "
                "which trainer.precision=16-mixed cannot do; take 32-true or bf16-mixed"
            )
        return self.advance(closure)

    def evaluate(self, closure: Closure) -> float:
        """The loss at the parameters' present values, whose gradient then stands in them."""
        with torch.enable_grad():
            return closure().detach().item()

    @abstractmethod
    def advance(self, closure: Closure) -> float:
        """Move the parameters by one step (without autograd); the loss from before it."""

    def check_trainer(self, processes: int, accumulated: int) -> None:
        """Raise a UsageError where the trainer's settings would make the closure mean less.

        ``accumulated`` batches per step: the closure evaluates only the last of them.
        """
        name = type(self).__name__
        require(
            accumulated == 1,
            f"trainer.accumulate_grad_batches: {name} evaluates a whole batch several times a "
            "step; raise batch_size instead",
        )
        require(
            processes == 1 or not self.one_process,
            f"trainer.devices: {name} compares losses, which differ from rank to rank; give it 1",
        )
