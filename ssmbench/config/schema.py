"""The typed run config: one dataclass for each of its sections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ssmbench.config.places import component_fields
from ssmbench.options import (
    COUNT,
    POSITIVE,
    POSITIVE_COUNT,
    PROPER_FRACTION,
    SEED,
    SIZE,
    Allowed,
    one_of,
    option,
)

_LAYERS = (POSITIVE, Allowed("at most 10000", lambda v: v <= 10_000))


@dataclass
class ModelConfig(component_fields("model")):
    """The network: its components, and what is not one.

    ``norm`` is none or layer; ``pooling`` (for pooled tasks) mean, last or unit (sum / sqrt(L));
    ``residual`` add, convex or none. ``gamma`` prescribes the incremental gain of the whole.
    ``bidirectional`` adds to each SSM layer's output that of a second one in reversed time;
    ``initial_state`` is zero or learned. ``encoder`` and ``decoder``: null for those that fit the
    task's input and outputs, and ``gamma``.
    """

    d_model: int = option(32, SIZE)
    n_layers: int = option(2, _LAYERS)
    norm: str = option("none", one_of("none", "layer"))
    pooling: str = option("mean", one_of("mean", "last", "unit"))
    mix: bool = True
    residual: str = option("add", one_of("add", "convex", "none"))
    dropout: float = option(0.0, PROPER_FRACTION)
    gamma: float | None = None
    bidirectional: bool = False
    initial_state: str = option("zero", one_of("zero", "learned"))


@dataclass
class AnalysisConfig:
    """Gains: how often layers are measured in training, and the adversary's budget at the end.

    ``robustness``: also the score under disturbances, of up to ``robustness_sequences`` test
    sequences, for which the adversary has ``robustness_steps`` at each energy.
    """

    every_n_epochs: int = option(5, COUNT)
    attack_steps: int = option(40, POSITIVE_COUNT)
    attack_restarts: int = option(8, POSITIVE_COUNT)
    attack_seed: int = option(0, SEED)
    robustness: bool = True
    robustness_steps: int = option(5, POSITIVE_COUNT)
    robustness_sequences: int = option(256, POSITIVE_COUNT)


@dataclass
class RunConfig(component_fields("")):
    """One run. ``variant`` is a label for reports; ``trainer`` goes to Lightning's Trainer."""

    variant: str = ""
    model: ModelConfig = field(default_factory=ModelConfig)
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
    trainer: dict[str, Any] = field(default_factory=lambda: {"max_epochs": 20, "devices": 1})
    batch_size: int = option(64, POSITIVE_COUNT)
    #: Ranks that share each sequence, a segment each; divides trainer.devices x num_nodes.
    sequence_parallel: int = option(1, POSITIVE_COUNT)
    seed: int = option(0, SEED)
    #: Digest of the data that the task reads; found by :func:`resolve`, "" where they are missing.
    data_digest: str = ""
    #: Digest of the source of each component that is not built in, by the component's path; found
    #: by :func:`resolve`. Runs of built-in components alone have none.
    sources: dict[str, str] = field(default_factory=dict)


def ranks(trainer: Mapping[str, Any]) -> int | None:
    """Processes of a run with these Trainer arguments; None where the machine decides."""
    given = [str(trainer.get("devices", "auto")), str(trainer.get("num_nodes", 1))]
    return int(given[0]) * int(given[1]) if all(map(str.isdecimal, given)) else None
