"""A plugin for the tests: a task learnt in milliseconds, and parametrizations that misbehave."""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import mse_loss
from torchmetrics import MeanSquaredError, MetricCollection

from ssmbench.parametrizations.s4d import S4D, S4DConfig
from ssmbench.registry import parametrizations, tasks
from ssmbench.spec import Channels, TaskSizes
from ssmbench.tasks.base import Task
from ssmbench.tasks.sequences import Sequences, Splits

#: Begins the names of files, one for each rank, to which the process appends the files that it
#: opens for writing, moves or removes.
WRITES = "TOY_WRITES"


def _note_writes(event: str, arguments: tuple) -> None:
    flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & flags
    if writes or event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"):
        os.write(_noted, f"{arguments[0]}\n".encode())


if WRITES in os.environ:
    _rank = os.environ.get("LOCAL_RANK", "0")
    _noted = os.open(os.environ[WRITES] + _rank, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sys.addaudithook(_note_writes)

#: The rank that does not end: its exit waits for ever, and holds Python's lock meanwhile.
HANGS = "TOY_HANGS"

if os.environ.get(HANGS) == os.environ.get("LOCAL_RANK", "0"):
    atexit.register(ctypes.PyDLL(None).pause)

#: Training forward pass, counted from 0, at which a "mortal" run dies, on which rank (all if not
#: set), and how: raise, exit, or the name of a signal; several after each other.
DIE_AT, DIE_RANK, DIE_HOW = "TOY_DIE_AT", "TOY_DIE_RANK", "TOY_DIE_HOW"


@dataclass
class ToyConfig:
    """``misled``: validation punishes what training teaches, so that the first epoch is the best.
    ``overflow_in``: a split whose first sequence holds NaN."""

    length: int = 16
    train: int = 16
    evaluation: int = 7
    per_step: bool = False
    misled: bool = False
    overflow_in: str = ""


@tasks.register("toy", config=ToyConfig)
class Toy(Task):
    """The sum of a leaky memory of noise, at the end or at each step."""

    score = "rmse"
    higher_is_better = False

    @property
    def sizes(self) -> TaskSizes:
        return TaskSizes(Channels(1), 1, self.config.length, self.config.per_step)

    @property
    def source(self) -> str:
        return "noise"

    def load(self) -> Splits:
        generator = torch.Generator().manual_seed(0)
        return Splits(*(self._part(name, generator) for name in ("train", "val", "test")))

    def _part(self, name: str, generator: torch.Generator) -> Sequences:
        size = self.config.train if name == "train" else self.config.evaluation
        u = torch.randn(size, self.config.length, 1, generator=generator)
        memory = 0.7 ** torch.arange(self.config.length).flip(0)
        y = torch.cumsum(u * memory[:, None], 1) / memory[:, None]
        if self.config.misled and name != "train":
            y = -5 * y
        if self.config.overflow_in == name:
            u[0] = torch.finfo(u.dtype).max  # finite, as data must be; what it leads to is not
        return Sequences(u, y if self.config.per_step else y[:, -1])

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return mse_loss(prediction, target)

    def metrics(self) -> MetricCollection:
        return MetricCollection({"rmse": MeanSquaredError(squared=False)})


class Counting(S4D):
    """S4D that counts its training forward passes."""

    def __init__(self, config: S4DConfig, *, d_model: int):
        super().__init__(config, d_model=d_model)
        self.passes = 0

    def forward(self):
        system = super().forward()
        if self.training and torch.is_grad_enabled():
            self.passes += 1
            return self.fate(self.passes - 1, system)
        return system

    def fate(self, number: int, system):
        return system


@parametrizations.register("mortal", config=S4DConfig)
class Mortal(Counting):
    """S4D whose process ends at the forward pass that the environment names."""

    def fate(self, number: int, system):
        rank = os.environ.get("LOCAL_RANK", "0")
        mine = os.environ.get(DIE_RANK, rank) == rank
        if mine and number == int(os.environ.get(DIE_AT, -1)):
            for how in os.environ.get(DIE_HOW, "raise").split():
                die(how)
        return system


def die(how: str) -> None:
    """A signal that the run handles, or that is ignored, lets it go on."""
    if how == "raise":
        raise RuntimeError("killed by the test")
    if how == "exit":
        sys.exit(0)
    os.kill(os.getpid(), signal.Signals[how])


@dataclass
class FuseConfig(S4DConfig):
    """``at``: forward pass from which the system is infinite. ``rank``: where, -1 for all."""

    at: int = 0
    rank: int = -1


@parametrizations.register("fuse", config=FuseConfig)
class Fuse(Counting):
    """S4D that becomes infinite at a known step, on a known rank."""

    def __init__(self, config: FuseConfig, *, d_model: int):
        super().__init__(config, d_model=d_model)
        self.at, self.rank = config.at, config.rank

    def fate(self, number: int, system):
        mine = self.rank in (-1, int(os.environ.get("LOCAL_RANK", 0)))
        return system.map(lambda t: t * torch.inf) if mine and number >= self.at else system


@parametrizations.register("overflow_in_eval", config=S4DConfig)
class NaNInEvaluation(Counting):
    """S4D that is well in training and broken in evaluation."""

    def forward(self):
        system = super().forward()
        return system if self.training else system.map(lambda t: t * torch.nan)


@dataclass
class LiarConfig(S4DConfig):
    """``gain`` is what it declares."""

    gain: float = 1e-3


@parametrizations.register("liar", config=LiarConfig)
class Liar(S4D):
    """S4D that declares any gain."""

    def __init__(self, config: LiarConfig, *, d_model: int):
        super().__init__(config, d_model=d_model)
        self.gain = config.gain

    def declared_gain(self) -> float:
        return self.gain
