"""The typed run config: one dataclass for each of its sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ssmbench.config.compilation import COMPILE
from ssmbench.config.durations import DURATION
from ssmbench.config.places import component_fields
from ssmbench.config.selection import SELECTION
from ssmbench.options import (
    COUNT,
    FOLDER,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    POSITIVE_COUNT,
    PROPER_FRACTION,
    SEED,
    SIZE,
    Allowed,
    metadata,
    one_of,
    option,
)

_SHARES = Allowed("each in [0, 1)", lambda v: all(0 <= share < 1 for share in v))
_FACTORS = Allowed("each from 2 to 1024", lambda v: all(2 <= factor <= 1024 for factor in v))
_STATES = Allowed("each positive", lambda v: all(0 < states <= 2**20 for states in v))
_EPOCHS = Allowed("positive, each larger than the one before", lambda v: _increases([0, *v]))
_LAYERS = (POSITIVE, Allowed("at most 10000", lambda v: v <= 10_000))


@dataclass
class ModelConfig(component_fields("model")):
    """The network: its components and further options.

    ``encoder`` and ``decoder``: null selects those that match the task and ``gamma``.
    """

    #: Width of the network: channels between the blocks.
    d_model: int = option(32, SIZE)
    #: Number of blocks, each with one SSM layer.
    n_layers: int = option(2, _LAYERS)
    #: Number of states of each block's SSM layers, first to last, in place of the parametrization's
    #: d_state; empty for the same in all.
    layer_states: list[int] = field(default_factory=list, metadata=metadata(_STATES, added=2))
    #: How often these blocks are applied, one after another, each time with the same parameters.
    repeats: int = option(1, _LAYERS, added=2)
    #: Whether a block normalises its branch's input (pre) or its output (post).
    norm_position: str = option("pre", one_of("pre", "post"), added=2)
    #: Number of samples that are read together as one step, for inputs of channels and predictions
    #: for whole sequences.
    frame: int = option(1, SIZE, added=2)
    #: Pooling over the steps, for tasks with one prediction per sequence; unit is sum / sqrt(L).
    pooling: str = option("mean", one_of("mean", "last", "unit"))
    #: Whether a linear map mixes the channels after the nonlinearity.
    mix: bool = True
    #: Residual connection of a block f: add is x + f(x), convex (1 - a) x + a f(x), a learned.
    residual: str = option("add", one_of("add", "convex", "none"))
    #: Dropout probability in the branch of each block.
    dropout: float = option(0.0, PROPER_FRACTION)
    #: Dropout probability of the SSM layers' outputs, before the nonlinearity, never tied.
    ssm_dropout: float = option(0.0, PROPER_FRACTION, added=2)
    #: Whether dropout has the same mask at every step of a sequence.
    dropout_tied: bool = option(False, added=2)
    #: Prescribed incremental gain of the whole network; null for none.
    gamma: float | None = None
    #: What keeps it: the product of the gains of the network's parts, for all parameter values; or
    #: network_bound, a tighter bound that is proved for the parameters before each validation and
    #: at the end, for sequences of the task's lengths; the product where that is not larger.
    gamma_by: str = option("product", one_of("product", "network_bound"), added=2)
    #: Whether each SSM layer adds the output of a second one in reversed time.
    bidirectional: bool = False
    #: Whether that second layer shares all parameters of the first but C, and has no direct term D.
    tied: bool = option(False, added=2)
    #: The state from which every sequence starts.
    initial_state: str = option("zero", one_of("zero", "learned"))
    #: The state that outputs read: before the input of their step, or after it, as published.
    readout: str = option("before", one_of("before", "after"), added=2)
    #: The same for the layers in reversed time; null for that of readout. Before: an input's own
    #: step is read in one direction only, as in the published S4.
    reverse_readout: str | None = option(None, one_of("before", "after"), added=2)


@dataclass
class AnalysisConfig(component_fields("analysis")):
    """Gains: how often layers are analysed in training, and the budget of the attack at the end.

    ``measures``: further measures of each SSM layer, beside its gain; by default those that its
    parametrization declares.
    """

    #: Epochs between two analyses of the layers during training; 0 for none.
    every_n_epochs: int = option(5, COUNT)
    #: Gradient ascent steps of the attack from each start.
    attack_steps: int = option(40, POSITIVE_COUNT)
    #: Number of random starts of the attack.
    attack_restarts: int = option(8, POSITIVE_COUNT)
    #: Seed of the random starts.
    attack_seed: int = option(0, SEED)
    #: Billions of multiplications that a tighter bound of the network's gain may take at the end, 1
    #: to 4 in a second; 0 for the product of the bounds of its parts only.
    network_bound: float = option(10.0, NOT_NEGATIVE, added=2)
    #: Share of the time of a run that may pass with drawing figures for TensorBoard, at the end and
    #: before it at some moments of the training; 0 for none, 1 for all whatever time they take.
    figures: float = option(0.02, FRACTION, added=2)
    #: Whether to measure the score under disturbances of increasing norm.
    robustness: bool = True
    #: Gradient ascent steps at each norm of the disturbance.
    robustness_steps: int = option(5, POSITIVE_COUNT)
    #: Largest number of test sequences on which that score is measured.
    robustness_sequences: int = option(256, POSITIVE_COUNT)


@dataclass
class SamplingConfig:
    """Irregular sampling: samples that are dropped at random, for tasks whose input is a signal.

    The time from each kept sample to the next is handed to the network, whose layers must be
    diagonal systems in continuous time. Baselines see all samples.
    """

    #: Share of each sequence's samples that is dropped: in training others in every epoch, in
    #: validation and test always the same.
    dropped: float = option(0.0, PROPER_FRACTION, added=2)
    #: Further test sets with these shares of the samples dropped.
    test_dropped: list[float] = field(default_factory=list, metadata=metadata(_SHARES, added=2))
    #: Draws the samples that are dropped in validation and tests.
    seed: int = option(0, SEED, added=2)


@dataclass
class TruncationConfig(component_fields("truncation")):
    """Truncation in training: at the end of some epochs every SSM layer is reduced, and the layers
    that are left, which are those of ``discrete_matrices``, are trained further.

    ``reducer``: null for balanced_truncation. One of share, order and tolerance says what is kept.
    """

    #: Numbers of the epochs, from 1, all before the last one; empty for no truncation.
    epochs: list[int] = field(default_factory=list, metadata=metadata(_EPOCHS, added=2))
    #: Least share that is removed of the order that a layer stores then, that of its largest head.
    share: float | None = option(None, PROPER_FRACTION, added=2)
    #: Largest order of each head, conjugate modes counted.
    order: int | None = option(None, COUNT, added=2)
    #: Largest bound on the H-infinity error of each head.
    tolerance: float | None = option(None, NOT_NEGATIVE, added=2)
    #: Whether the tolerance is a share of the largest Hankel singular value of the layer.
    relative: bool = option(False, added=2)
    #: Whether the tolerance limits the measured error in place of the bound.
    measured: bool = option(False, added=2)


@dataclass
class RunConfig(component_fields("")):
    """One run."""

    #: Label in reports; not part of the run's identity.
    variant: str = ""
    model: ModelConfig = field(default_factory=ModelConfig)
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
    #: Arguments of Lightning's Trainer; and timeout, for example 00:00:30:00 or {minutes: 30}: how
    #: long the processes of a run wait for each other, by default 10 minutes.
    trainer: dict[str, Any] = field(default_factory=lambda: {"max_epochs": 20, "devices": 1})
    #: Training time, for example 30 min or 1.5 h, in place of the trainer's max_epochs and
    #: max_steps; the warm-up and the decay of the learning rates run over it.
    budget: str | None = option(None, DURATION, added=2)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    #: Further test sets whose sequences are so many times as long as those of the test set.
    length_factors: list[int] = field(default_factory=list, metadata=metadata(_FACTORS, added=2))
    #: Number of sequences in a batch of one rank, or of the ranks that share each sequence.
    batch_size: int = option(64, POSITIVE_COUNT)
    #: Number of sequences of one optimizer step, over all ranks: so many batches are accumulated;
    #: null for what batch_size, the ranks and trainer.accumulate_grad_batches make.
    effective_batch: int | None = option(None, POSITIVE_COUNT, added=2)
    #: Share of each class's probability that the training loss asks of all classes alike, of tasks
    #: whose targets are classes; validation and test are scored without it.
    label_smoothing: float = option(0.0, PROPER_FRACTION, added=2)
    #: Energy of a disturbance, relative to a typical training input, under which the training loss
    #: asks for the right class: wrong logits are raised by what the declared gain lets it raise
    #: them. For classes, inputs of channels and networks with model.gamma; validation and test are
    #: scored without it.
    margin: float = option(0.0, NOT_NEGATIVE, added=2)
    #: Weight in the training loss of the Hankel singular values of the SSM layers: of their sum,
    #: averaged over the heads of a layer and added over the layers, so that fewer states matter. In
    #: networks without time-varying layers; validation and test are scored without it.
    hankel_penalty: float = option(0.0, NOT_NEGATIVE, added=2)
    #: Whether training steps run the network through torch.compile, which takes a minute or more at
    #: the start, and a C++ compiler on the CPU; validation, tests and measurements do not. Also the
    #: name of one of its modes: reduce-overhead and max-autotune capture CUDA graphs on a GPU; true
    #: means default. Not with sequence_parallel.
    compile: bool | str = option(False, COMPILE, added=2)
    truncation: TruncationConfig = field(default_factory=TruncationConfig)
    #: Which validation score chooses among the weights of the training: score, or certified@E, for
    #: example certified@0.03: the share that is certified under disturbances of energy E.
    select: str = option("score", SELECTION, added=2)
    #: Number of ranks that share each sequence, in segments; divides trainer.devices x num_nodes.
    sequence_parallel: int = option(1, POSITIVE_COUNT)
    #: Seed of the parameters, the order of the training sequences, augmentation and dropout.
    seed: int = option(0, SEED)
    #: Folder of a run whose weights the training starts from, in place of new ones; null for none.
    start: str | None = option(None, FOLDER, added=2)
    #: Digest of these weights, which identifies them; set by :func:`resolve`.
    start_digest: str = option("", added=2)
    #: Digest of the data that the task reads; set by :func:`resolve`, "" if they are missing.
    data_digest: str = ""
    #: Digest of the source of each component that is not built in, by the component's path; set by
    #: :func:`resolve`. Empty for runs with built-in components only.
    sources: dict[str, str] = field(default_factory=dict)


#: The sections of a run config that are mappings of options.
SECTIONS = {
    "model": ModelConfig,
    "analysis": AnalysisConfig,
    "sampling": SamplingConfig,
    "truncation": TruncationConfig,
}


def _increases(numbers: Sequence[int]) -> bool:
    return all(one < next_ for one, next_ in pairwise(numbers))


def ranks(trainer: Mapping[str, Any]) -> int | None:
    """The number of processes of a run with these Trainer arguments; None if it depends on the
    machine.
    """
    given = [str(trainer.get("devices", "auto")), str(trainer.get("num_nodes", 1))]
    return int(given[0]) * int(given[1]) if all(map(str.isdecimal, given)) else None
