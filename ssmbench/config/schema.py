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

    ``encoder`` and ``decoder``: null for those that fit the task's input and outputs, and
    ``gamma``.
    """

    #: Channels between the blocks, the width of the network.
    d_model: int = option(32, SIZE)
    #: Blocks, each with one SSM layer.
    n_layers: int = option(2, _LAYERS)
    #: Normalisation before each block: none, or layer (LayerNorm, which has no finite gain).
    norm: str = option("none", one_of("none", "layer"))
    #: Of tasks with one prediction for a sequence, over its steps; unit is sum / sqrt(L).
    pooling: str = option("mean", one_of("mean", "last", "unit"))
    #: Whether a linear map mixes the channels after the nonlinearity.
    mix: bool = True
    #: Around each block: add is x + f(x), convex is (1 - a) x + a f(x) with a learned.
    residual: str = option("add", one_of("add", "convex", "none"))
    #: Probability with which a number in a block's branch is set to zero in training.
    dropout: float = option(0.0, PROPER_FRACTION)
    #: Prescribes the incremental gain of the whole network; null prescribes nothing.
    gamma: float | None = None
    #: Adds to each SSM layer's output that of a second one in reversed time.
    bidirectional: bool = False
    #: The state from which every sequence starts.
    initial_state: str = option("zero", one_of("zero", "learned"))


@dataclass
class AnalysisConfig:
    """Gains: how often layers are measured in training, and the adversary's budget at the end."""

    #: Epochs between two measurements of the layers in training; 0 for none.
    every_n_epochs: int = option(5, COUNT)
    #: Steps of the adversary's ascent from each start.
    attack_steps: int = option(40, POSITIVE_COUNT)
    #: Starts of the adversary.
    attack_restarts: int = option(8, POSITIVE_COUNT)
    #: Draws the adversary's starts.
    attack_seed: int = option(0, SEED)
    #: Whether the score under disturbances of growing norm is measured.
    robustness: bool = True
    #: Steps of the adversary's ascent at each norm of the disturbance.
    robustness_steps: int = option(5, POSITIVE_COUNT)
    #: Test sequences, at most, on which that score is measured.
    robustness_sequences: int = option(256, POSITIVE_COUNT)


@dataclass
class RunConfig(component_fields("")):
    """One run."""

    #: A label for reports, which does not change the run's identity.
    variant: str = ""
    model: ModelConfig = field(default_factory=ModelConfig)
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
    #: Arguments of Lightning's Trainer.
    trainer: dict[str, Any] = field(default_factory=lambda: {"max_epochs": 20, "devices": 1})
    #: Sequences of one rank's batch.
    batch_size: int = option(64, POSITIVE_COUNT)
    #: Ranks that share each sequence, a segment each; divides trainer.devices x num_nodes.
    sequence_parallel: int = option(1, POSITIVE_COUNT)
    #: Draws the parameters, the order of the training sequences, and dropout.
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
