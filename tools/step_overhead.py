"""What a training step through the framework costs beside a bare PyTorch loop.

    python tools/step_overhead.py                 # width 128, L = 4096, and a tiny network
    python tools/step_overhead.py --only tiny --json
    python tools/step_overhead.py --accelerator gpu

A run is trained as ``ssmbench run`` trains it, with gain monitoring, logging and checkpoints at
their defaults. After every step it stands still, while a bare loop (batch, forward, backward,
optimizer, scheduler) makes one with a copy of the network. Both read the same data. On the CPU,
the processor time of this process is compared in one thread, so that what else runs on the machine
affects neither; on a GPU, the elapsed time, after waiting for the device.

``ratio``: that of the medians, within an epoch. ``whole ratio``: with all that happens at the end
of an epoch but the validation, over the number of steps that an epoch of the task has by default.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import lightning.pytorch as pl
import torch

from ssmbench import jsonio, registry
from ssmbench.build.optimizer import build_optimizer
from ssmbench.config import merge, resolve, typed
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.probes.base import ProbeConfig
from ssmbench.training.module import SequenceModule
from ssmbench.training.monitor import gain_figures
from ssmbench.training.trainer import train

#: The share that a step may cost beside the bare loop's, at width 128 and L = 4096.
ALLOWED = 0.05
_CASES: dict[str, dict[str, Any]] = {
    "d_model 128, L 4096": {
        "model": {"d_model": 128, "n_layers": 4},
        "task": {"length": 4096, "train_sequences": 88},
        "trainer": {"max_epochs": 4},
    },
    "d_model 16, L 64": {
        "model": {"d_model": 16, "n_layers": 4},
        "task": {"length": 64, "train_sequences": 648},
        "trainer": {"max_epochs": 6},
    },
}
_BASE = {
    "task": {"name": "delay", "lag": 16, "test_sequences": 8},
    "model": {"parametrization": "s4d", "discretizer": "zoh"},
    "batch_size": 8,
    "trainer": {"devices": 1},
}


@dataclass
class Measured:
    """Milliseconds: medians of a step, of the end of an epoch, and of a pass of the monitor.

    ``epoch``: steps of an epoch of the task with its default number of sequences.
    """

    case: str
    bare: float
    framework: float
    epoch_end: float
    monitor: float
    epoch: int
    monitor_every: int
    step_ratio: float = field(init=False)
    whole_ratio: float = field(init=False)

    def __post_init__(self) -> None:
        self.step_ratio = self.framework / self.bare
        at_end = self.epoch_end + self.monitor / self.monitor_every
        self.whole_ratio = (self.framework * self.epoch + at_end) / (self.bare * self.epoch)


class Turns(pl.Callback):
    """Times some steps of the run, then as many of a bare loop, and so on."""

    def __init__(self, chunk: int, device: torch.device):
        self.chunk, self.device = chunk, device
        self.framework: list[float] = []
        self.bare: list[float] = []
        self.epoch_ends: list[float] = []
        self._mark = self._validation = 0.0
        self._since = -1
        self._loop: Iterator[None] | None = None

    def now(self) -> float:
        """Seconds of processor time; on a GPU, elapsed when it has nothing more to do."""
        if self.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: SequenceModule, batch: Batch, batch_idx: int
    ) -> None:
        """Between two steps; within an epoch only, whose end is timed apart."""
        self._since += 1
        if batch_idx == 0:
            self._restart()
        elif self._since == self.chunk:
            self.framework.append((self.now() - self._mark) / self.chunk)
            self.bare.append(self._bare_steps(pl_module))
            self._restart()

    def _restart(self) -> None:
        self._since, self._mark = 0, self.now()

    def _bare_steps(self, module: SequenceModule) -> float:
        if self._loop is None:
            self._loop = bare_loop(module, self.device)
            for _ in range(3):  # its first steps are slower
                next(self._loop)
        started = self.now()
        for _ in range(self.chunk):
            next(self._loop)
        return (self.now() - started) / self.chunk

    def on_train_batch_end(self, *_: Any) -> None:
        """The end of an epoch is what follows its last batch."""
        self._epoch_end = self.now()
        self._validation = 0.0

    def on_validation_start(self, *_: Any) -> None:
        """Validation is not counted."""
        self._validation -= self.now()

    def on_validation_end(self, *_: Any) -> None:
        """See :meth:`on_validation_start`."""
        self._validation += self.now()

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """All callbacks have seen the end of the epoch before."""
        if trainer.current_epoch:
            self.epoch_ends.append(self.now() - self._epoch_end - self._validation)


def bare_loop(module: SequenceModule, device: torch.device) -> Iterator[None]:
    """Training steps of a copy of the network, without the framework; one for each ``next``."""
    model, task = copy.deepcopy(module.model), module.task
    optimizer = build_optimizer(model, module.optimizer)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    while True:
        for batch in task.train_dataloader():
            batch = batch.to(device)
            optimizer.zero_grad()
            loss = task.training_loss(model(batch.u, batch.lengths, batch.dt), batch)
            loss.backward()
            optimizer.step()
            scheduler.step()
            yield


def measured(case: str, accelerator: str, chunk: int) -> Measured:
    """Train a case in a temporary folder, in turns with the bare loop."""
    device = torch.device("cuda" if accelerator == "gpu" else "cpu")
    turns = Turns(chunk, device)
    over = {"trainer": {"accelerator": accelerator}, "callbacks": ["turns"]}
    with registry.isolated(), tempfile.TemporaryDirectory() as folder:
        registry.callbacks.register("turns")(lambda config, **context: turns)
        run = typed(resolve(merge(merge(_BASE, _CASES[case]), over)))
        trained = train(run, Path(folder), case)
    model = trained.module.model.to(device)
    passes = []
    for _ in range(5):
        started = turns.now()
        gain_figures(model)
        passes.append(turns.now() - started)
    return Measured(
        case,
        *(1e3 * median(part) for part in (turns.bare, turns.framework, turns.epoch_ends, passes)),
        epoch=ProbeConfig().train_sequences // run.batch_size,
        monitor_every=run.analysis.every_n_epochs,
    )


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; exit code 1 where a step of the first case costs more than allowed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("large", "tiny"), help="one of the two networks")
    parser.add_argument("--accelerator", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--chunk", type=int, default=1, help="steps of each in a turn")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cases = dict(zip(("large", "tiny"), _CASES, strict=True))
    rows = []
    for case in [cases[options.only]] if options.only else _CASES:
        rows.append(measured(case, options.accelerator, options.chunk))
        print(
            "{case}: bare {bare:.2f} ms, framework {framework:.2f} ms, ratio {step_ratio:.3f}; end "
            "of an epoch {epoch_end:.1f} ms, monitor {monitor:.1f} ms every {monitor_every} epochs "
            "of {epoch} steps, whole ratio {whole_ratio:.3f}".format(**asdict(rows[-1])),
            file=sys.stderr if options.json else sys.stdout,
        )
    if options.json:
        print(jsonio.dumps([asdict(row) for row in rows], indent=2))
    large = [row for row in rows if row.case == cases["large"]]
    return 0 if all(row.whole_ratio <= 1 + ALLOWED for row in large) else 1


if __name__ == "__main__":
    sys.exit(main())
