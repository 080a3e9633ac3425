"""How often a training step waits for a GPU, for every registered variant, counted without one.

    python tools/synchronisations.py            # a table
    python tools/synchronisations.py --json

Each variant is trained as ``ssmbench run`` trains it, on noise; the third step is counted, with
clipping and schedule. Copies of the batch to the device are not part of a step.
:data:`REASONS` says of each wait that is left why it is there.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import lightning.pytorch as pl
import torch

from ssmbench import jsonio, registry, transforms
from ssmbench.bench.synchronising import SynchronisationCount, Wait
from ssmbench.build.network import build_network
from ssmbench.build.task import build_task
from ssmbench.config import merge, resolve, typed
from ssmbench.spec import Channels, Pair, Reading, TaskSizes, Tokens
from ssmbench.systems import ContinuousDense
from ssmbench.tasks.classification import Classification
from ssmbench.tasks.sequences import PaddedSequences, Sequences, Splits
from ssmbench.training.data_module import DataModule
from ssmbench.training.lightning_trainer import quiet_lightning
from ssmbench.training.module import SequenceModule

#: Why a wait is left, by its file and function.
REASONS = {
    ("ssmbench/training/devices.py", "__bool__"): (
        "whether the loss is finite: one answer a step, read on a GPU when the backward pass has "
        "been handed over, so that the device has work; on a CPU also before that pass"
    ),
    ("ssmbench/discretizers/matrix_phi.py", "matrix_phi"): (
        "how often the exponential of a dense A is squared follows from its norm: one number"
    ),
    ("ssmbench/discretizers/base.py", "by_kind"): (
        "whether all oscillators are conjugate pairs decides the form of the system: one answer"
    ),
    ("ssmbench/discretizers/runge_kutta.py", "_on_device"): (
        "two small constant matrices of a method of coupled stages, copied without waiting"
    ),
    ("ssmbench/training/module.py", "backward"): "the gradient of those steps (tasks/batch.py)",
    ("ssmbench/scans/chunked.py", "_fits"): (
        "whether the chunked scan's powers are finite; dense systems ask inside their operators"
    ),
    ("ssmbench/nn/bounds.py", "weight_bound"): (
        "the decoder of a network of certified blocks has what the norms of Q1 and Q2 leave of "
        "gamma, and these are measured, since rounding moves them from 1"
    ),
    ("ssmbench/nn/blocks/base.py", "_joined_bound"): (
        "the decoder of a certified network has what the convex residual connection leaves of "
        "gamma: one number a block"
    ),
    ("ssmbench/nn/norms/base.py", "largest"): (
        "the decoder of a certified network has what batch normalisation leaves of gamma"
    ),
    ("ssmbench/nn/nonlinearities/pair_sort.py", "_ties"): (
        "whether two channels are equal, on a CPU only, where it saves work"
    ),
    ("ssmbench/tasks/batch.py", "scored"): (
        "sequences of different lengths with a prediction at each step: how many steps the loss "
        "is of follows from the lengths"
    ),
}
#: Of these files every wait is left.
OF_FILES = {
    "torch.optim": "PyTorch's optimizers count their steps in tensors on the CPU: no wait",
    "ssmbench/optimizers/base.py": "an optimizer that compares losses reads them",
    "ssmbench/analysis": (
        "a normaliser by a proved bound searches until there is one, and scales by exponents that "
        "it looks at"
    ),
}
_BASE: dict[str, Any] = {
    "task": "shapes",
    "model": {"d_model": 8, "n_layers": 1, "discretizer": "zoh"},
    "batch_size": 4,
    "trainer": {"devices": 1, "accelerator": "cpu"},
}
_CERTIFIED = {"parametrization": "contraction", "discretizer": None, "gamma": 1.0, "norm": "none"}
_STEP = 3


@dataclass
class ShapesConfig:
    """``input``: channels, tokens or pair. ``ragged``: whether lengths differ."""

    input: str = "channels"
    per_step: bool = False
    ragged: bool = False


class Shapes(Classification):
    """Noise of any shape, of three classes."""

    @property
    def sizes(self) -> TaskSizes:
        kinds = {"channels": Channels(2), "tokens": Tokens(5), "pair": Pair(Tokens(5))}
        return TaskSizes(kinds[self.config.input], 3, 32, self.config.per_step)

    @property
    def source(self) -> str:
        return "noise"

    def load(self) -> Splits:
        return Splits(*(self._split(size) for size in (4 * _STEP, 4, 4)))

    def _split(self, size: int) -> Any:
        pair = (2,) if self.config.input == "pair" else ()
        tokens = self.config.input != "channels"
        u = torch.randint(5, (size, *pair, 32)) if tokens else torch.randn(size, 32, 2)
        target = torch.randint(3, (size, 32) if self.config.per_step else (size,))
        if not self.config.ragged:
            return Sequences(u, target)
        kept = [32 - index % 4 for index in range(size)]
        parts = [row[:n] for row, n in zip(u, kept, strict=True)]
        each = [row[:n] for row, n in zip(target, kept, strict=True)] if target.ndim > 1 else target
        return PaddedSequences.of(parts, each, per_step=self.config.per_step)


class _Turn(pl.Callback):
    """Counts one step."""

    def __init__(self) -> None:
        self.count, self._steps = SynchronisationCount(), 0

    def on_train_batch_start(self, *_: Any) -> None:
        self._steps += 1
        if self._steps == _STEP:
            self.count.__enter__()

    def on_train_batch_end(self, *_: Any) -> None:
        if self._steps == _STEP:
            self.count.__exit__(None, None, None)


@quiet_lightning()
def waits(over: dict[str, Any]) -> Counter[Wait]:
    """The waits of a training step of a run."""
    with registry.isolated():
        registry.tasks.register("shapes", config=ShapesConfig)(Shapes)
        run = typed(resolve(merge(_BASE, over)))
        torch.manual_seed(0)
        task = build_task(run)
        module = SequenceModule(build_network(run, task.sizes), task, run.optimizer, _STEP)
        module.logs_every_loss = False
        turn = _Turn()
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
            gradient_clip_val=1.0,
            callbacks=[turn],
        )
        with patch.object(transforms, "_is_read_at_once", lambda tensor: False):  # as on a GPU
            trainer.fit(module, datamodule=DataModule(task))
    return turn.count.waits


def reason(wait: Wait) -> str | None:
    """Why a wait is left; None where there is no reason."""
    named = REASONS.get((wait.file, wait.function))
    return named or next((r for file, r in OF_FILES.items() if wait.file.startswith(file)), None)


def variants() -> Iterator[tuple[str, dict[str, Any]]]:
    """What is counted: a name and the settings, for every entry of every kind."""
    for entry in registry.parametrizations:
        yield f"parametrization {entry.name}", {"model": _parametrization(entry)}
    for entry in registry.discretizers:
        name = "unconstrained_dense" if _samples_dense(entry.factory) else "linoss"
        model = {"parametrization": name, "discretizer": entry.name}
        yield (
            f"discretizer {entry.name}, dense"
            if name != "linoss"
            else (f"discretizer {entry.name}"),
            {"model": model},
        )
    for entry in registry.normalisers:
        yield f"normaliser {entry.name}", {"model": {"normaliser": entry.name}}
    for entry in registry.blocks:
        model = (
            {"parametrization": "selective", "discretizer": "zoh"}
            if entry.name == "mamba"
            else _CERTIFIED
        )
        model = {k: v for k, v in model.items() if k != "gamma"} | {"block": entry.name}
        yield f"block {entry.name}", {"model": model}
    for kind in ("nonlinearity", "norm"):
        for entry in registry.KINDS[kind]:
            yield f"{kind} {entry.name}", {"model": {kind: entry.name}}
    for entry in registry.encoders:
        tokens = Tokens in entry.factory.accepts
        over = {"task": {"input": "tokens" if tokens else "channels"}}
        yield f"encoder {entry.name}", {**over, "model": {"encoder": entry.name}}
    for entry in registry.decoders:
        reads = entry.factory.reads
        kind = "pair" if reads is Reading.pair else "channels"
        task = {"input": kind, "per_step": reads is Reading.steps}
        yield f"decoder {entry.name}", {"task": task, "model": {"decoder": entry.name}}
    for entry in registry.optimizers:
        yield f"optimizer {entry.name}", {"optimizer": _optimizer(entry), "model": _FEW}
    yield from _networks()


def _networks() -> Iterator[tuple[str, dict[str, Any]]]:
    estimated = {"name": "hinf", "training": "estimated"}
    yield "normaliser hinf, estimated in training", {"model": {"normaliser": estimated}}
    yield "certified network", {"model": _CERTIFIED}
    yield "certified network with margins", {"model": _CERTIFIED, "margin": 0.05}
    convex = {"residual": "convex", "norm": "batch"}
    yield "certified network, convex, batch norm", {"model": _CERTIFIED | convex}
    blocks = {"block": {"name": "certified", "gate": False}}
    yield "certified network of certified blocks", {"model": _CERTIFIED | blocks}
    yield "sequences of different lengths", {"task": {"ragged": True}}
    yield "the same, a prediction at each step", {"task": {"ragged": True, "per_step": True}}


def _parametrization(entry: registry.Entry) -> dict[str, Any]:
    continuous = entry.factory.is_continuous()
    return {"parametrization": entry.name, "discretizer": "zoh" if continuous else None}


def _optimizer(entry: registry.Entry) -> dict[str, Any]:
    known = {one.name for one in dataclasses.fields(entry.config)}
    limit = {"max_parameters": 10_000} if "max_parameters" in known else {}
    return {"name": entry.name, **limit}


#: Few parameters, since some optimizers move one after the other.
_FEW = {"d_model": 1, "parametrization": {"name": "s4d", "d_state": 2}}


def _samples_dense(method: Any) -> bool:
    return method.samples(ContinuousDense)


def rows() -> list[dict[str, Any]]:
    """Of each variant: its waits, with their reasons."""
    found = []
    for name, over in variants():
        counted = [(w, n) for w, n in waits(over).items() if w.file != "torch.optim"]
        left = [
            {"operator": w.operator, "where": f"{w.file}: {w.function}", "count": n}
            for w, n in counted
        ]
        found.append({"variant": name, "waits": left})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Waits of a training step.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = rows()
    if options.json:
        print(jsonio.dumps(found, indent=1))
        return
    print("| variant | waits | where |\n| --- | ---: | --- |")
    for row in found:
        places = "; ".join(f"{w['count']} x `{w['operator']}` {w['where']}" for w in row["waits"])
        print(f"| {row['variant']} | {sum(w['count'] for w in row['waits'])} | {places} |")


if __name__ == "__main__":
    main()
