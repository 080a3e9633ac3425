"""Environment variables through which a launcher gives a process its rank."""

from __future__ import annotations

import os

from ssmbench.errors import require

#: The variables of common launchers, in the order in which Lightning reads them.
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
#: The number of this node, where one process or launcher was started by hand on each.
NODE_RANK = "NODE_RANK"


def whole_number(variable: str, default: int = 0) -> int:
    """The integer value of an environment variable; ``default`` if it is not set.

    Raises:
        UsageError: the value is not a non-negative integer.
    """
    text = os.environ.get(variable, str(default))
    require(text.isdecimal(), f"environment variable {variable}={text!r}: must be a whole number")
    return int(text)


def check_rank_variables() -> None:
    """Check the rank variables before Lightning reads them, which it does on import and without a
    readable error.

    Raises:
        UsageError: one of them is not a non-negative integer.
    """
    for variable in (*RANK_VARIABLES, NODE_RANK):
        whole_number(variable)
