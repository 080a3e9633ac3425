"""How much memory the training of a run will take, estimated before its first step."""

from __future__ import annotations

import sys
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from ssmbench.config import RunConfig
from ssmbench.tasks.base import Task
from ssmbench.training.environment import is_main_process
from ssmbench.training.module import SequenceModule
from ssmbench.training.out_of_memory import is_out_of_memory, settings_to_lower, shown_bytes

#: Copies of the parameters: themselves, their gradients, and the two moments of Adam.
_COPIES = 4
#: What a pass needs beside the tensors that it keeps, in units of the largest of them: gradients
#: that flow back, results that are used at once, and workspace of the scans.
_IN_FLIGHT = 6
#: An estimate below this is not printed.
_NOTEWORTHY = 2**30


class MemoryEstimate(pl.Callback):
    """Warns where the estimate is more than what is free, and prints it where it is large.

    ``label`` begins the line, None for none. No estimate is made where ranks share sequences.
    """

    def __init__(self, run: RunConfig, label: str | None):
        self._run, self._label = run, label
        #: Bytes on this rank; None if there is no estimate.
        self.needed: int | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        model, task, device = pl_module.model, pl_module.task, pl_module.device
        if task.ranks_per_sequence > 1:
            return
        pl_module.doing = "estimating the memory of a training step"
        with trainer.precision_plugin.forward_context():
            self.needed = estimated_bytes(model, task, device)
        free = free_bytes(device)
        if self.needed is None or free is None or not is_main_process():
            return
        ranks = trainer.num_devices if device.type == "cpu" else 1
        self._say(self.needed * ranks, free, device)

    def _say(self, needed: int, free: int, device: torch.device) -> None:
        amounts = f"about {shown_bytes(needed)} of memory, and {shown_bytes(free)} are free"
        if needed > free:
            lower = settings_to_lower(self._run, "training")
            line = f"warning: training takes {amounts} ({device}); lower {lower}"
            print(line, file=sys.stderr, flush=True)
        elif self._label is not None and needed >= _NOTEWORTHY:
            print(f"{self._label}: training takes {amounts}", file=sys.stderr, flush=True)


def estimated_bytes(model: nn.Module, task: Task, device: torch.device) -> int | None:
    """Bytes that a training step needs beside the data: parameters, gradients, moments of the
    optimizer, and what the forward pass keeps for the backward pass.

    The last is measured in a forward pass of one and of two sequences, the longest there are, and
    grows in proportion. Without dropout and augmentation. None where the pass fails, which the
    training will say better.

    Raises:
        RuntimeError: memory ran out already.
    """
    parameters = sum(p.numel() * p.element_size() for p in model.parameters())
    try:
        one, largest = _kept_bytes(model, task, device, 1)
        two, _ = _kept_bytes(model, task, device, 2) if task.batch_size > 1 else (one, 0)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return None
    kept = one + (task.batch_size - 1) * (two - one)
    return _COPIES * parameters + kept + _IN_FLIGHT * largest * task.batch_size


def _kept_bytes(model: nn.Module, task: Task, device: torch.device, number: int) -> tuple[int, int]:
    """Bytes of the tensors that are kept for the backward pass of so many sequences, and of the
    largest of them."""
    data = task.split("train")
    longest = 0 if data.lengths is None else int(data.lengths.argmax())
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    batch = data.batch([longest] * number).to(device, next(model.parameters()).real.dtype)
    kept: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no storage is used twice

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    training = model.training
    model.eval()  # so that nothing in it changes
    try:
        hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
        with torch.random.fork_rng(devices=[]), torch.enable_grad(), hooks:
            task.training_loss(model(batch.u, batch.lengths, batch.dt), batch)
    finally:
        model.train(training)
    return sum(kept.values()), max(kept.values(), default=0)


def free_bytes(device: torch.device) -> int | None:
    """Bytes that this process can still have on a device; None where they are not known."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type != "cpu":
        return None
    known = [_available(), _left_in_group()]
    return min((free for free in known if free is not None), default=None)


def _available() -> int | None:
    """What Linux says that programs can have without swapping."""
    lines = _text(Path("/proc/meminfo")).splitlines()
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def _left_in_group() -> int | None:
    """Of the limit of this process's control group (version 2), as containers and Slurm set it."""
    lines = _text(Path("/proc/self/cgroup")).splitlines()
    names = [line.removeprefix("0::/") for line in lines if line.startswith("0::/")]
    if not names:
        return None
    folder = Path("/sys/fs/cgroup") / names[0]
    limit, used = (_text(folder / name).strip() for name in ("memory.max", "memory.current"))
    return int(limit) - int(used) if limit.isdecimal() and used.isdecimal() else None


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
