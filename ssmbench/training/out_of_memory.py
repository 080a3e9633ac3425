"""When memory runs out: one line that says what was computed, and which setting to lower."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ssmbench.config import RunConfig
from ssmbench.errors import OutOfMemoryError

#: What a run does outside of the steps of training and evaluation, as its errors name it.
BUILDING = "building the network"
LOADING = "loading the data"
MONITORING = "analysing the layers during training"
GAINS = "measuring the gains"
ROBUSTNESS = "measuring the robustness"
FURTHER = "measuring the states on further test sets"

#: Settings that leave a part of a run out.
_OFF = {ROBUSTNESS: "analysis.robustness=false", MONITORING: "analysis.every_n_epochs=0"}

#: How PyTorch says it on the CPU ("DefaultCPUAllocator: can't allocate memory", "[enforce fail at
#: alloc_cpu.cpp] ... not enough memory") and in libraries of CUDA, whose errors have no own type.
_SENTENCES = re.compile(
    r"can't allocate memory|not enough memory|out of memory|ALLOC_FAILED|Cannot allocate memory"
)
_ASKED = re.compile(r"allocate (\d[\d.]*) ?(bytes|[KMGT]i?B)\b", re.IGNORECASE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or the one that caused it, says that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if isinstance(error, RuntimeError) and _SENTENCES.search(str(error)):
        return True
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)


@contextmanager
def memory_named(run: RunConfig, doing: str | Callable[[], str]) -> Iterator[None]:
    """Within: an error because memory ran out says so in one line.

    ``doing``: what is computed, as a noun phrase; called where it is known only then.

    Raises:
        OutOfMemoryError: memory ran out.
    """
    try:
        yield
    except OutOfMemoryError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        what = doing if isinstance(doing, str) else doing()
        raise OutOfMemoryError(
            f"out of memory in {what}{_asked_for(error)}; lower {settings_to_lower(run, what)}"
        ) from error


def _asked_for(error: BaseException) -> str:
    """The amount that was not there, where the error gives it."""
    found = _ASKED.search(str(error))
    if found is None:
        return ""
    number, unit = found.groups()
    if unit.lower() == "bytes":
        return f" ({shown_bytes(float(number))} more were asked for)"
    return f" ({number} {unit} more were asked for)"


def shown_bytes(number: float | int) -> str:
    """A number of bytes, for a reader."""
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.3g} {unit}"
        number /= 1024
    return f"{number:.3g} GiB"


def settings_to_lower(run: RunConfig, doing: str) -> str:
    """The settings on which the memory of a part of a run depends, with their values."""
    settings = []
    if doing == LOADING:
        settings += [_of_task(run, name) for name in ("train_sequences", "test_sequences")]
    elif doing == GAINS:
        settings.append(f"analysis.attack_restarts ({run.analysis.attack_restarts})")
    elif run.batch_size > 1 and doing not in (BUILDING, FURTHER, MONITORING):
        settings.append(_batch_size(run))
    if doing != LOADING:
        settings.append(f"model.d_model ({run.model.d_model})")
    if doing not in (BUILDING, MONITORING):
        settings.append(_of_task(run, "length") or "the length of the sequences")
    settings += [f"leave it out with {_OFF[doing]}"] if doing in _OFF else []
    *most, last = [setting for setting in settings if setting]
    return f"{', '.join(most)} or {last}" if most else last


def _batch_size(run: RunConfig) -> str:
    if run.effective_batch is not None:
        return f"batch_size ({run.batch_size}; a step keeps its {run.effective_batch} sequences)"
    return f"batch_size ({run.batch_size}; with effective_batch a step keeps its sequences)"


def _of_task(run: RunConfig, option: str) -> str:
    return f"task.{option} ({run.task[option]})" if run.task.get(option) else ""
