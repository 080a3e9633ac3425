"""Load the trained network of a run from its folder, and attack it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from ssmbench.build.network import build_network
from ssmbench.build.task import build_task
from ssmbench.config import AnalysisConfig, RunConfig
from ssmbench.errors import UsageError, WriteError, one_line
from ssmbench.files import write_atomically
from ssmbench.nn.model import SequenceModel
from ssmbench.results import Gains, Record, Truncation
from ssmbench.runs.folder import RunFolder
from ssmbench.runs.poles import npz
from ssmbench.runs.run import Run
from ssmbench.spec import TaskSizes
from ssmbench.tasks.base import Task
from ssmbench.training.checkpoints import BEST, FOLDER, LAST, load_checkpoint
from ssmbench.training.gains import Measurement, measure_gains
from ssmbench.training.recorded_truncations import check_recorded
from ssmbench.training.relaxing import promised_lengths
from ssmbench.training.start import PREFIX
from ssmbench.training.trainer_options import DOUBLE
from ssmbench.training.truncation import as_truncated, truncations_in

WORST_INPUT = "worst_input.npz"
#: The weights of a run in a published folder, which has no checkpoints.
PUBLISHED_WEIGHTS = "model.safetensors"
#: Sequences of the validation split from which the adversary starts.
ATTACK_INPUTS = 8


@dataclass(frozen=True)
class TrainedRun:
    """A run loaded from its folder: its config, with the model as a truncation in training has left
    it, its task (data not yet read), its network (on the CPU, in evaluation mode), and the
    checkpoint that the weights are from."""

    config: RunConfig
    task: Task
    model: SequenceModel
    checkpoint: Path


@dataclass(frozen=True, repr=False)
class AttackReport(Record):
    """Result of an attack on a run's trained network, with the checkpoint, rate and budget used.

    ``worst_input`` is the file of the most amplified input; None if no finite one was found.
    """

    folder: str
    checkpoint: str
    rate: float
    attack_steps: int
    attack_restarts: int
    attack_seed: int
    gain: Gains
    worst_input: str | None

    def __repr__(self) -> str:
        network = self.gain.network
        return (
            f"AttackReport of {Path(self.folder).name}: layers attacked {self.gain.attacked:.6g}, "
            f"verified {_figure(self.gain.verified)}; network attacked {network.attacked:.6g}, "
            f"bound {network.bound:.6g}"
        )


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def load_trained(folder: Path, rate: float = 1.0) -> TrainedRun:
    """The network of a run, with the weights of the best validation score, or else the last ones.

    ``rate`` multiplies the step sizes of its layers: use 0.5 for signals that are sampled twice as
    fast as in training (:meth:`SequenceModel.set_rate`).

    Raises:
        UsageError: the folder is not that of a run, there is no usable checkpoint, its layers
            cannot be those of truncations in training, or ``rate`` is not 1 and the
            parametrization has no sampling rate.
    """
    given = Run.load(folder).typed
    checkpoint = _checkpoint(folder)
    done = _truncations(checkpoint)
    task = build_task(given)
    if done and checkpoint.name == PUBLISHED_WEIGHTS:  # whose result anybody may have written
        check_recorded(given, untrained(given, task.sizes), done)
    config = as_truncated(given, done)
    model = untrained(config, task.sizes)
    _load_weights(model, checkpoint)
    if rate != 1:
        model.set_rate(rate)
    return TrainedRun(config, task, model.eval(), checkpoint)


def load_task(folder: Path) -> Task:
    """The task of a run, trained or not; its data are not read yet. Raises as
    :meth:`ssmbench.runs.run.Run.load`."""
    return build_task(Run.load(folder).typed)


def untrained(config: RunConfig, sizes: TaskSizes) -> SequenceModel:
    """The network of a run before its weights are loaded, in the precision of its parameters;
    torch's global generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        model = build_network(config, sizes)
    return model.double() if str(config.trainer.get("precision")) in DOUBLE else model


def trained_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of a run's network by name, of the best validation score or else the last ones.

    Raises:
        UsageError: there is no usable checkpoint.
    """
    return dict(_weights(_checkpoint(folder)))


def _checkpoint(folder: Path) -> Path:
    for file in (folder / FOLDER / BEST, folder / FOLDER / LAST, folder / PUBLISHED_WEIGHTS):
        if file.exists():
            return file
    raise UsageError(f"{folder}: no checkpoint in it (checkpoints/best.ckpt or last.ckpt)")


def _load_weights(model: SequenceModel, checkpoint: Path) -> None:
    try:
        model.load_state_dict(_weights(checkpoint))
    except RuntimeError as error:
        raise UsageError(
            f"{checkpoint}: does not fit the network of config.yaml: {one_line(error)}"
        ) from None


def _truncations(checkpoint: Path) -> tuple[Truncation, ...]:
    """Those before the weights were saved; of a published run, of which the result alone tells."""
    if checkpoint.name == PUBLISHED_WEIGHTS:
        return RunFolder(checkpoint.parent).read_result().truncations
    return truncations_in(load_checkpoint(checkpoint), str(checkpoint))


def _weights(checkpoint: Path) -> Mapping[str, Tensor]:
    if checkpoint.name == PUBLISHED_WEIGHTS:
        return read_safetensors(checkpoint)
    state = load_checkpoint(checkpoint)["state_dict"]
    return {k.removeprefix(PREFIX): v for k, v in state.items() if k.startswith(PREFIX)}


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """The arrays in a safetensors file, on the CPU; nothing in it is executed.

    Raises:
        UsageError: it is not such a file.
    """
    try:
        return load_file(file)
    except Exception as error:  # of many types, depending on where the damage is
        raise UsageError(f"{file}: not a safetensors file: {one_line(error)}") from None


def measure_task_gains(model: SequenceModel, task: Task, config: AnalysisConfig) -> Measurement:
    """The gains of a task's network; the adversary starts from the validation split."""
    batch = task.sample("val", ATTACK_INPUTS)
    by_bound = model.relaxation is not None
    promised = promised_lengths(task, per_step=model.pooling is None) if by_bound else ()
    return measure_gains(model, batch.u, config, batch.lengths, promised)


def attack_run(folder: Path, rate: float = 1.0, **budget: int | None) -> AttackReport:
    """Attack a run's network again, and write the worst input found to the run's folder.

    ``budget``: ``attack_steps``, ``attack_restarts``, ``attack_seed``; None stands for the run's
    setting. A ``rate`` other than 1 (see :func:`load_trained`) becomes part of the file's name:
    ``worst_input_rate0.5.npz``.

    Raises:
        UsageError: as in :func:`load_trained`, the task's data are missing, or the file cannot be
            written.
    """
    run = load_trained(folder, rate)
    analysis = replace(run.config.analysis, **{k: v for k, v in budget.items() if v is not None})
    found = measure_task_gains(run.model, run.task, analysis)
    name = WORST_INPUT if rate == 1 else f"worst_input_rate{rate:g}.npz"
    try:
        file = save_worst_input(folder, found, name)
    except WriteError as error:
        raise UsageError(str(error)) from None
    return AttackReport(
        folder=str(folder),
        checkpoint=str(run.checkpoint),
        rate=rate,
        attack_steps=analysis.attack_steps,
        attack_restarts=analysis.attack_restarts,
        attack_seed=analysis.attack_seed,
        gain=found.gain,
        worst_input=file and str(file),
    )


def save_worst_input(folder: Path, found: Measurement, name: str = WORST_INPUT) -> Path | None:
    """Write the worst input to the file ``name``; None, and no file, if none was found.

    Its arrays: base and disturbance (L, m), gain, amplitude (the l2 norm of the disturbance), and
    gains_from, which says whether base and disturbance are the input or the encoded input.

    Raises:
        WriteError: the file cannot be written.
    """
    worst = found.worst
    if worst is None:
        return None
    base, disturbance = (x.cpu().numpy() for x in (worst.base, worst.disturbance))
    amplitude = np.linalg.norm(disturbance.astype(np.float64))
    content = {"base": base, "disturbance": disturbance, "gain": worst.gain, "amplitude": amplitude}
    content["gains_from"] = found.gain.network.gains_from
    file = folder / name
    write_atomically(file, npz(content))
    return file
