"""The launcher that started this process (torchrun, Slurm or none), from its environment."""

from __future__ import annotations

import os

from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.utilities import rank_zero_only

from ssmbench.errors import require
from ssmbench.ranks import NODE_RANK, RANK_VARIABLES, whole_number

#: Launchers beside Slurm that start the processes of all nodes.
_STARTING = (TorchElasticEnvironment, LSFEnvironment, MPIEnvironment)
#: What tells a process that was started by hand where the others are, and which node it is.
_BY_HAND = ("MASTER_ADDR", "MASTER_PORT", NODE_RANK)


def cluster_environment(ranks: int | None) -> ClusterEnvironment | None:
    """The cluster environment of a run of ``ranks`` processes; None lets Lightning detect it.

    A run of one process ignores an allocation of Slurm. In a run of several, either ``srun`` has
    started one task per rank, or Lightning starts the ranks itself, on one node. By itself,
    Lightning would assume ``srun`` in every allocation, and wait for ranks that were never started.

    Raises:
        UsageError: a launcher started another number of processes.
    """
    if ranks == 1:
        _require_first_process()
        return LightningEnvironment()
    if TorchElasticEnvironment.detect() or "SLURM_NTASKS" not in os.environ:
        return None
    tasks = whole_number("SLURM_STEP_NUM_TASKS", 1)
    require(
        ranks is None or tasks in (1, ranks),
        f"srun started {tasks} tasks, but trainer.devices x num_nodes is {ranks}: make them equal",
    )
    return LightningEnvironment() if tasks == 1 else SLURMEnvironment(auto_requeue=False)


def require_peers(nodes: int) -> None:
    """Check that somebody starts the processes of all nodes of a run, before it waits for them.

    Raises:
        UsageError: nobody does.
    """
    if nodes == 1 or any(kind.detect() for kind in _STARTING):
        return
    if "SLURM_NTASKS" in os.environ and whole_number("SLURM_STEP_NUM_TASKS", 1) > 1:
        return
    missing = [name for name in _BY_HAND if name not in os.environ]
    require(
        not missing,
        f"trainer.num_nodes={nodes}: nothing has started the processes of the other nodes; start "
        "this command with srun or torchrun, or on each node with MASTER_ADDR, MASTER_PORT and "
        f"NODE_RANK set (not set: {', '.join(missing)})",
    )


def is_main_process() -> bool:
    """Whether this is rank 0, before or after a trainer exists.

    Without a launcher, the first process of each node has no rank in its environment but NODE_RANK.
    """
    return rank_zero_only.rank == 0 and whole_number(NODE_RANK) == 0


def check_node_rank(nodes: int) -> None:
    """Check the number of this node among those of a run.

    Raises:
        UsageError: the run has no such node: its ranks would wait for others for ever.
    """
    node = whole_number(NODE_RANK)
    require(
        node < nodes,
        f"{NODE_RANK}={node}: trainer.num_nodes={nodes} has the nodes 0 to {nodes - 1}; set them "
        f"right or unset {NODE_RANK}",
    )


def own_rank() -> int:
    """The rank of this process, once its trainer exists."""
    return rank_zero_only.rank


def _require_first_process() -> None:
    name = next((name for name in RANK_VARIABLES if name in os.environ), "RANK")
    rank = whole_number(name)
    require(
        rank == 0,
        f"{name}={rank}: a launcher started several processes, but trainer.devices=1 is one: start "
        f"one process, set trainer.devices x num_nodes to their number, or unset {name}",
    )
