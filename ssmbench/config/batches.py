"""The effective batch of a run: the sequences of one optimizer step, over all ranks."""

from __future__ import annotations

from ssmbench.config.schema import RunConfig, ranks
from ssmbench.errors import UsageError, require

#: How many values of a setting an error message names.
_NAMED = 4


def accumulation(run: RunConfig) -> int:
    """Batches whose gradients are added up before a step of the optimizer.

    Raises:
        UsageError: ``effective_batch`` cannot be reached; the message gives the values that can.
    """
    given = run.trainer.get("accumulate_grad_batches", 1)
    wanted = run.effective_batch
    if wanted is None:
        return given
    require(
        given == 1,
        f"effective_batch: {wanted} decides how many batches are accumulated; leave "
        f"trainer.accumulate_grad_batches={given} out",
    )
    processes = ranks(run.trainer)
    if processes is None:
        devices = run.trainer.get("devices", "auto")
        raise UsageError(
            f"effective_batch: depends on the number of ranks, which trainer.devices={devices} "
            "does not say; set it to a number"
        )
    groups = max(1, processes // run.sequence_parallel)
    joint = run.batch_size * groups
    require(wanted % joint == 0, f"effective_batch: {_refusal(run, wanted, groups)}")
    return wanted // joint


def _refusal(run: RunConfig, wanted: int, groups: int) -> str:
    joint, of_ranks = run.batch_size * groups, "" if groups == 1 else f" on {groups} ranks"
    below = wanted // joint * joint
    near = " or ".join(str(size) for size in (below, below + joint) if size)
    said = f"{wanted} is not a multiple of batch_size {run.batch_size}{of_ranks}; take {near}"
    share = wanted // groups
    sizes = [size for size in range(min(share, run.batch_size), 0, -1) if share % size == 0]
    if wanted % groups or not sizes:
        return said
    return f"{said}, or batch_size {', '.join(map(str, sizes[:_NAMED]))}"


def batch_words(batch_size: int, groups: int, accumulated: int) -> str:
    """The effective batch and what it is made of, for a reader."""
    parts = [f"batch_size {batch_size}"]
    parts += [f"{groups} ranks"] if groups > 1 else []
    parts += [f"{accumulated} accumulated"] if accumulated > 1 else []
    total = batch_size * groups * accumulated
    return f"{total} sequences a step" + (f": {' x '.join(parts)}" if len(parts) > 1 else "")
