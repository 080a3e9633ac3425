"""Environment variables by which a launcher tells a process its rank."""

from __future__ import annotations

import os

from ssmbench.errors import require

#: In the order in which Lightning reads them.
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


def whole_number(variable: str, default: int = 0) -> int:
    """The value of an environment variable, ``default`` where it is not set.

    Raises:
        UsageError: it is no whole number from 0.
    """
    text = os.environ.get(variable, str(default))
    require(text.isdecimal(), f"environment variable {variable}={text!r}: must be a whole number")
    return int(text)


def check_rank_variables() -> None:
    """Lightning reads them as it is imported, where an error has no place to be reported.

    Raises:
        UsageError: one of them is no whole number from 0.
    """
    for variable in RANK_VARIABLES:
        whole_number(variable)
