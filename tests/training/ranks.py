"""Two ranks on this machine as forks of the test's process, which has imported everything."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence

from lightning.fabric.utilities import rank_zero_only as of_fabric
from lightning.pytorch.utilities import rank_zero_only

from ssmbench.errors import InterruptedRunError
from ssmbench.runs.execute import execute
from ssmbench.runs.run import Run
from tests.ports import rendezvous

#: Seconds after which a rank hangs, on any machine.
_FOREVER = 120.0


def on_two_ranks(run: Run, started: Sequence[int] = (0, 1), **environment: str) -> list[int | None]:
    """The exit codes of the ranks, as of the command line's; None of one that hangs."""
    context = multiprocessing.get_context("fork")
    with rendezvous() as port:
        environment |= {"MASTER_ADDR": "127.0.0.1", "NODE_RANK": "0", **port}
        ranks = [context.Process(target=_rank, args=(r, run, environment)) for r in started]
        for rank in ranks:
            rank.start()
        for rank in ranks:
            rank.join(_FOREVER)
    codes = [rank.exitcode for rank in ranks]
    for rank in ranks:
        rank.kill()
    return codes


def _rank(rank: int, run: Run, environment: dict[str, str]) -> None:
    os.environ.update(environment, LOCAL_RANK=str(rank))
    of_fabric.rank = rank_zero_only.rank = rank
    try:
        state = execute(run)
    except InterruptedRunError as error:
        os._exit(error.exit_code)
    except BaseException as error:
        print(f"rank {rank}: {error!r}", flush=True)
        os._exit(1)
    os._exit(0 if state in ("finished", "running") else 1)
