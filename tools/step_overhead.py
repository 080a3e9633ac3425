"""What a training step through the framework costs beside a bare PyTorch loop.

    python tools/step_overhead.py                 # every network: width 128, L = 4096, ...
    python tools/step_overhead.py --only tiny --json
    python tools/step_overhead.py --accelerator gpu
    python tools/step_overhead.py --fit --only digits   # a whole run, several times

A run is trained as ``ssmbench run`` trains it, with gain monitoring, logging and checkpoints at
their defaults. After every step it stands still, while a bare loop (batch, forward, backward,
optimizer, scheduler) makes one with a copy of the network. Both read the same data. On the CPU,
the processor time of this process is compared in one thread, so that what else runs on the machine
affects neither; on a GPU, the elapsed time, after waiting for the device.

``ratio``: that of the medians, within an epoch. ``whole ratio``: with all that happens at the end
of an epoch but the validation, over the number of steps that an epoch of the task has by default.
``Lightning alone``: the ratio of a LightningModule that does the bare loop's step and nothing else.

``--fit``: whole runs of a few epochs in turns with a loop that builds, trains, validates, saves
both checkpoints and monitors the gains as often, and tests.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TextIO, cast

import lightning.pytorch as pl
import torch
from torch.utils.data.distributed import DistributedSampler
from torch.utils.tensorboard import SummaryWriter

from ssmbench import jsonio, registry
from ssmbench.build.network import build_network
from ssmbench.build.optimizer import build_optimizer
from ssmbench.build.task import build_task
from ssmbench.config import RunConfig, merge, resolve, typed
from ssmbench.library.configs import read_run
from ssmbench.nn.model import SequenceModel
from ssmbench.tasks.base import Task
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.probes.base import ProbeConfig
from ssmbench.training.layer_analysis import FROZEN_SEQUENCES
from ssmbench.training.lightning_trainer import quiet_lightning
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
#: Runs that come with the package, and how many epochs of them are enough.
_RUNS = {"digits": ("digits_s4d", 6), "certified digits": ("digits_certified", 4)}
_NAMES = {"large": "d_model 128, L 4096", "tiny": "d_model 16, L 64"}
_NAMES |= {"digits": "digits", "certified": "certified digits"}
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
    lightning_ratio: float
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
            self._loop = bare_loop(module.model, module.task, module.optimizer, self.device)
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


def bare_loop(
    network: SequenceModel, task: Task, chosen: Mapping[str, Any], device: torch.device
) -> Iterator[None]:
    """Training steps of a copy of the network, without the framework; one for each ``next``."""
    model = copy.deepcopy(network)
    optimizer = build_optimizer(model, chosen)
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


class Plain(pl.LightningModule):
    """The bare loop's step as a LightningModule."""

    def __init__(self, network: SequenceModel, task: Task, optimizer: Mapping[str, Any]):
        super().__init__()
        self.model, self.task, self.optimizer = network, task, optimizer

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        return self.task.training_loss(self.model(batch.u, batch.lengths, batch.dt), batch)

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.model, self.optimizer)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        scheduled = {"scheduler": scheduler, "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": scheduled}


@quiet_lightning()
def lightning_ratio(run: RunConfig, accelerator: str, turns: Turns) -> float:
    """The ratio of a step of Lightning, without what ssmbench adds to it, to the bare loop's."""
    task = build_task(run)
    module = Plain(build_network(run, task.sizes), task, run.optimizer)
    names = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    options: dict[str, Any] = dict.fromkeys((*names, "use_distributed_sampler"), False)
    epochs = run.trainer["max_epochs"]
    trainer = pl.Trainer(
        accelerator=accelerator,
        devices=1,
        max_epochs=epochs,
        callbacks=[turns],
        **options,
    )
    trainer.fit(module, train_dataloaders=task.train_dataloader())
    return median(turns.framework) / median(turns.bare)


def config_of(case: str, accelerator: str) -> dict[str, Any]:
    """The config of a case."""
    over: dict[str, Any] = {"trainer": {"accelerator": accelerator, "devices": 1}}
    if case in _RUNS:
        name, epochs = _RUNS[case]
        return merge(merge(read_run(name).config, over), {"trainer": {"max_epochs": epochs}})
    return resolve(merge(merge(_BASE, _CASES[case]), over))


def measured(case: str, accelerator: str, chunk: int) -> Measured:
    """Train a case in a temporary folder, in turns with the bare loop."""
    device = torch.device("cuda" if accelerator == "gpu" else "cpu")
    turns = Turns(chunk, device)
    config = config_of(case, accelerator)
    with registry.isolated(), tempfile.TemporaryDirectory() as folder:
        registry.callbacks.register("turns")(lambda config, **context: turns)
        run = typed(resolve(merge(config, {"callbacks": ["turns"]})))
        trained = train(run, Path(folder), case)
    model = trained.module.model.to(device)
    passes = []
    for _ in range(5):
        started = turns.now()
        gain_figures(model)
        passes.append(turns.now() - started)
    steps = len(trained.task.train_dataloader())
    return Measured(
        case,
        *(1e3 * median(part) for part in (turns.bare, turns.framework, turns.epoch_ends, passes)),
        epoch=steps if case in _RUNS else ProbeConfig().train_sequences // run.batch_size,
        monitor_every=run.analysis.every_n_epochs,
        lightning_ratio=lightning_ratio(typed(config), accelerator, Turns(chunk, device)),
    )


# --- whole runs ---------------------------------------------------------------------------------


@dataclass
class Fit:
    """Seconds of processor time of whole runs, medians; ``epochs`` of each."""

    case: str
    epochs: int
    bare: float
    framework: float
    ratio: float = field(init=False)

    def __post_init__(self) -> None:
        self.ratio = self.framework / self.bare


def bare_fit(run: RunConfig, folder: Path) -> dict[str, float]:
    """Build, train, validate, save, monitor and test as a run does, in a plain loop; scores."""
    torch.manual_seed(run.seed)
    task = build_task(run)
    model = build_network(run, task.sizes)
    optimizer = build_optimizer(model, run.optimizer)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    best, score, every = -math.inf, -math.inf, run.analysis.every_n_epochs
    loader, step = task.train_dataloader(), 0
    with (folder / "metrics.jsonl").open("w") as log, SummaryWriter(str(folder)) as board:
        for epoch in range(run.trainer["max_epochs"]):
            cast("DistributedSampler", loader.sampler).set_epoch(epoch)
            for batch in loader:
                optimizer.zero_grad()
                loss = task.training_loss(model(batch.u, batch.lengths, batch.dt), batch)
                loss.backward()
                optimizer.step()
                scheduler.step()
                step += 1
                if step % run.trainer.get("log_every_n_steps", 50) == 0:
                    _write(log, board, {"train/loss": loss.item()}, step)
            figures = bare_scores(model, task, "val")
            if every and epoch % every == 0:
                sample = task.sample("val", FROZEN_SEQUENCES)
                figures |= gain_figures(model, sample.u, sample.lengths)
            _write(log, board, figures, step)
            score = figures[task.score] * (1 if task.higher_is_better else -1)
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            if score > best:
                best = score
                torch.save(state, folder / "best.ckpt")
            torch.save(state, folder / "last.ckpt")
    if best > score:  # the last weights are not the best ones
        bare_scores(model, task, "val")
        bare_scores(model, task, "test")
    model.load_state_dict(torch.load(folder / "best.ckpt", weights_only=True)["model"])
    return bare_scores(model, task, "val") | bare_scores(model, task, "test")


def _write(log: TextIO, board: SummaryWriter, figures: Mapping[str, float], step: int) -> None:
    log.write(jsonio.dumps({"step": step, **figures}) + "\n")
    for name, value in figures.items():
        board.add_scalar(name, value, step)


@torch.no_grad()
def bare_scores(model: SequenceModel, task: Task, split: str) -> dict[str, float]:
    """The loss and the metrics over a split."""
    model.eval()
    metrics, loss, weights = task.metrics(), torch.tensor(0.0), 0
    for batch in task.loader(split):
        prediction = model(batch.u, batch.lengths, batch.dt)
        loss += task.batch_loss(prediction, batch) * batch.size
        weights += batch.size
        metrics.update(*task.batch_metric(prediction, batch))
    model.train()
    return {"loss": loss.item() / weights} | {k: float(v) for k, v in metrics.compute().items()}


def whole_fits(case: str, accelerator: str, repeats: int) -> Fit:
    """Runs of a case and bare ones in turns, after one of each that is not counted."""
    run = typed(config_of(case, accelerator))
    times: dict[str, list[float]] = {"bare": [], "framework": []}
    for _ in range(repeats + 1):
        for kind, fit in (("bare", bare_fit), ("framework", train)):
            with tempfile.TemporaryDirectory() as folder:
                started = time.process_time()
                fit(run, Path(folder))
                times[kind].append(time.process_time() - started)
    found = {kind: median(seconds[1:]) for kind, seconds in times.items()}
    return Fit(case, run.trainer["max_epochs"], **found)


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; exit code 1 where a step of the first case costs more than allowed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=_NAMES, help="one of the networks")
    parser.add_argument("--fit", type=int, nargs="?", const=5, metavar="N", help="N whole runs")
    parser.add_argument("--accelerator", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--chunk", type=int, default=1, help="steps of each in a turn")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    chosen = [_NAMES[options.only]] if options.only else list(_NAMES.values())
    if options.fit is not None:
        fits = [whole_fits(case, options.accelerator, options.fit) for case in chosen]
        print(jsonio.dumps([asdict(fit) for fit in fits], indent=2))
        return 0
    rows = []
    for case in chosen:
        rows.append(measured(case, options.accelerator, options.chunk))
        print(
            "{case}: bare {bare:.2f} ms, framework {framework:.2f} ms, ratio {step_ratio:.3f}, "
            "Lightning alone {lightning_ratio:.3f}; end "
            "of an epoch {epoch_end:.1f} ms, monitor {monitor:.1f} ms every {monitor_every} epochs "
            "of {epoch} steps, whole ratio {whole_ratio:.3f}".format(**asdict(rows[-1])),
            file=sys.stderr if options.json else sys.stdout,
        )
    if options.json:
        print(jsonio.dumps([asdict(row) for row in rows], indent=2))
    large = [row for row in rows if row.case == _NAMES["large"]]
    return 0 if all(row.whole_ratio <= 1 + ALLOWED for row in large) else 1


if __name__ == "__main__":
    sys.exit(main())
