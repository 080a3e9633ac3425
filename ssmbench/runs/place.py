"""Where this process runs: host, boot, process and Slurm job."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


def place() -> dict[str, Any]:
    """``host``, ``boot`` and ``pid`` of this process, and its ``job`` if it runs in one."""
    job = slurm_job()
    return {"host": host(), "boot": boot_id(), "pid": os.getpid()} | ({"job": job} if job else {})


def host() -> str:
    return socket.gethostname()


@cache
def boot_id() -> str:
    """What identifies the running kernel: processes with the same one share its file locks.

    Containers on a machine share the kernel, although their host names differ.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # not Linux
        return host()


def slurm_job(environment: Mapping[str, str] = os.environ) -> str | None:
    """The Slurm job of a process, as submitit writes it: ``123``, or ``123_0`` in an array."""
    array, task = (environment.get(f"SLURM_ARRAY_{key}_ID") for key in ("JOB", "TASK"))
    return f"{array}_{task}" if array and task else environment.get("SLURM_JOB_ID") or None
